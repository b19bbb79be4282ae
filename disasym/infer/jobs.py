"""Which pairs a source holds, and what became of every file that is in none of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from disasym.data.manifest import ImageRow, PairRow, read_manifest
from disasym.dicom import DicomPair, Fate, Header, scan
from disasym.errors import InputError
from disasym.spec import View

Source = Header | ImageRow  # one breast: a DICOM file that was found, or a row of a manifest


@dataclass(frozen=True)
class Job:
    """One pair to be scored. Whatever is written about it stands here; nothing in it names the woman."""

    pair_id: str
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
) -> Work:
    """Look for pairs in a folder of DICOM files, one DICOM file, or a manifest (`.csv`, `.parquet`).

    Args:
        out: where results will be written, if any are; if it lies in `source`, nothing in it is read.
        include_processing: accept images FOR PROCESSING too.
        on_file: called with each file of a folder whose header was read.

    Raises:
        InputError: `source` does not exist, or results written to `out` would mix with it.
        ManifestError: the manifest is not a readable table.
    """
    if not source.exists():
        raise InputError(
            f"{source} does not exist: name a folder of DICOM files, one file, or a manifest .csv or .parquet"
        )
    if out is not None:
        _refuse_mixing(source, out)
    if source.suffix.lower() in (".csv", ".parquet") and source.is_file():
        return _from_manifest(source)
    found = scan(source, include_processing, exclude=out, on_file=on_file)
    return Work(
        root=source if source.is_dir() else source.parent,
        jobs=tuple(_of_films(pair) for pair in found.pairs),
        fates=tuple(fate for fate in found.fates if fate.fate != "used"),
    )


def _refuse_mixing(source: Path, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: name a folder for the results")
    if source.resolve() == out.resolve():
        raise InputError(f"{out} is the folder that is read: name another folder for the results")
    if source.is_file() and source.parent.resolve() == out.resolve():
        raise InputError(f"{out} is the folder of {source.name}: name another folder, so that nothing is overwritten")


def _of_films(pair: DicomPair) -> Job:
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
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
