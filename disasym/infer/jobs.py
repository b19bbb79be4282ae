"""Which pairs a source holds, and what became of every file that is in none of them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from disasym.data.loading import Source
from disasym.data.manifest import ImageRow, PairRow, read_manifest
from disasym.dicom import DicomPair, Fate, Header, Scan, scan, scan_files
from disasym.errors import InputError
from disasym.spec import View


@dataclass(frozen=True, slots=True)
class Job:
    """One pair to be scored. Whatever is written about it stands here; nothing in it names the woman.

    It can be pickled: another process or machine that sees the same files can load and score it.
    """

    pair_id: str  # no two jobs of one source share it
    exam_id: str  # pairs of one examination of one woman share it
    study_uid: str  # "" for a manifest
    patient_hash: str
    view: View
    right: Source
    left: Source
    right_sop_uid: str  # "" for a manifest
    left_sop_uid: str
    paired_by: str


@dataclass(frozen=True)
class Work:
    """What a source holds: pairs in a fixed order, and the fates of the files that are in no pair."""

    root: Path  # paths are reported relative to it
    jobs: tuple[Job, ...]
    fates: tuple[Fate, ...]


def find_work(
    source: Path,
    out: Path | None = None,
    include_processing: bool = False,
    on_file: Callable[[Path], None] | None = None,
    on_header: Callable[[Header], None] | None = None,
) -> Work:
    """Look for pairs in a folder of DICOM files, one DICOM file, or a manifest (`.csv`, `.parquet`).

    Args:
        out: where results will be written, if any are; if it lies in `source`, nothing in it is read.
        include_processing: accept images FOR PROCESSING too.
        on_file: called with each file of a folder before its header is read.
        on_header: called with the header of each usable mammogram.

    Raises:
        InputError: `source` does not exist, or results written to `out` would mix with it.
        ManifestError: the manifest is not a readable table.
    """
    check_places(source, out)
    if is_manifest(source):
        return _from_manifest(source)
    found = scan(source, include_processing, exclude=out, on_file=on_file, on_header=on_header)
    return _of_scan(source if source.is_dir() else source.parent, found)


def find_films(files: Iterable[Path], root: Path, include_processing: bool = False) -> Work:
    """The pairs among these DICOM files, such as those of a study that has come; paths are told relative to `root`.

    Two `Work` of one root can be joined by their fields, if no study is in both.
    """
    return _of_scan(root, scan_files(files, include_processing))


def _of_scan(root: Path, found: Scan) -> Work:
    return Work(
        root=root,
        jobs=tuple(job_of(pair) for pair in found.pairs),
        fates=tuple(fate for fate in found.fates if fate.fate != "used"),
    )


def check_places(source: Path, out: Path | None = None) -> None:
    """Refuse, before anything is read, what `find_work` cannot read.

    Raises:
        InputError: as `find_work`.
    """
    if not source.exists():
        raise InputError(
            f"{source} does not exist: name a folder of DICOM files, one file, or a manifest .csv or .parquet"
        )
    if out is not None:
        _refuse_mixing(source, out)


def is_manifest(source: Path) -> bool:
    """A table of images, not films."""
    return source.suffix.lower() in (".csv", ".parquet") and source.is_file()


def inputs_of(job: Job) -> str:
    """A digest of all that the result of a pair depends on, besides model and settings: it changes when that does.

    For each breast what its header or row says, and the size and time of change of its file. The bytes are not read:
    films are large, and a DICOM file with other content has another SOPInstanceUID (PS3.3 C.12.1.1.1).
    """
    told = [str(getattr(job, each.name)) for each in fields(job) if each.name not in ("right", "left")]
    return _digest(*told, *_told(job.right), *_told(job.left))


def _told(source: Source) -> Iterator[str]:
    """What is known of one breast. Where a folder of films lies does not matter; an image has no name but its path."""
    known = [each.name for each in fields(source)] if isinstance(source, Header) else ["view", "laterality"]
    for name in known:
        if name not in ("path", "patient"):  # the woman is in the hashes of the job
            yield f"{name}={getattr(source, name)}"
    if isinstance(source, ImageRow):
        yield f"path={source.path}, aspect={source.pixel_aspect}"
    try:
        status = source.path.stat()
        yield f"{status.st_size} bytes, {status.st_mtime_ns}"
    except OSError as error:
        yield f"no file: {error.errno}"


def _refuse_mixing(source: Path, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: name a folder for the results")
    if source.resolve() == out.resolve():
        raise InputError(f"{out} is the folder that is read: name another folder for the results")
    if source.is_file() and source.parent.resolve() == out.resolve():
        raise InputError(f"{out} is the folder of {source.name}: name another folder, so that nothing is overwritten")


def job_of(pair: DicomPair) -> Job:
    """A pair of films as a job."""
    return Job(
        pair_id=_digest(pair.right.sop_uid, pair.left.sop_uid),
        exam_id=_exam(pair),
        study_uid=pair.right.study_uid,
        patient_hash=pair.right.patient_key,
        view=pair.view,
        right=pair.right,
        left=pair.left,
        right_sop_uid=pair.right.sop_uid,
        left_sop_uid=pair.left.sop_uid,
        paired_by=pair.paired_by,
    )


def _exam(pair: DicomPair) -> str:
    """What the rule that paired them calls one examination: a study, a woman of CBIS-DDSM, or a woman's day."""
    whose = pair.right.patient.identity
    when = {"study": pair.right.study_uid, "cbis-ddsm-stem": "", "patient-date": pair.right.study_date}
    return _digest(*whose, when[pair.paired_by])


def _from_manifest(path: Path) -> Work:
    manifest = read_manifest(path)
    unused = (Fate(path.parent / written, "skipped", reason) for written, reason in manifest.skipped)
    return Work(path.parent, tuple(_of_rows(pair) for pair in manifest.pairs), tuple(unused))


def _of_rows(pair: PairRow) -> Job:
    return Job(
        pair_id=pair.pair_id,
        exam_id=_digest(pair.dataset, pair.patient_id, pair.right.study_id),
        study_uid="",
        patient_hash=_digest(pair.patient_id, ""),  # as for DICOM without an issuer
        view=pair.view,
        right=pair.right,
        left=pair.left,
        right_sop_uid="",
        left_sop_uid="",
        paired_by="manifest",
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
