"""Films that were received: SPOOL/EXAM/DIGEST.dcm, on the disk before the sender is told that they were taken.

EXAM is a digest of whose examination it is, so that everything that may be paired lies in one folder and two women
never do. DIGEST is one of the film's bytes: the same film sent twice is one file, and no name comes from a tag.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from disasym.dicom import Skip
from disasym.dicom.patient import Patient, identify
from disasym.dicom.reader import open_dicom, tags_of
from disasym.dicom.tags import Tags
from disasym.errors import ImageError

INCOMING = ".incoming"  # films that are being written; what is in it after a kill was never acknowledged
LEAST_FREE = 256 * 2**20  # bytes that stay free for results: a spool that fills the disk could never be emptied
_KEPT = tags_of(
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "StudyDate"),
    *("PatientID", "IssuerOfPatientID", "PatientBirthDate"),
)


@dataclass(frozen=True)
class Origin:
    """Where a film belongs. Only digests and UIDs."""

    sop_class: str
    sop_uid: str
    study_uid: str
    exam: str  # 16 hexadecimal digits
    patient_hash: str


class Spool:
    """The films that wait or were analysed, by examination. Any thread may use it."""

    def __init__(self, folder: Path, results: Path, least_free: int = LEAST_FREE) -> None:
        """Make or reopen `folder`.

        Args:
            results: where each examination has its folder of results; a name that has results and no films is not
                used again, so that films that come later never replace them.
        """
        self.folder, self._results, self._least_free = folder, results, least_free
        self._lock = threading.Lock()
        self._incoming = folder / INCOMING
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left in self._incoming.iterdir():
            left.unlink()

    def store(self, parts: Iterable[bytes], sop_class: str, sop_uid: str) -> tuple[str, bool]:
        """Keep a DICOM file, given as `parts`; the examination's folder, and whether the film is new.

        When this returns, the film has reached the disk under its final name.

        Raises:
            OSError: it cannot be written, or the disk is nearly full.
            ImageError: its header cannot be read, or is of another class or instance than the sender said.
        """
        content = list(parts)
        size = sum(map(len, content))
        if shutil.disk_usage(self.folder).free < size + self._least_free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(content)
        try:
            origin = read_origin(written)
            if (origin.sop_class, origin.sop_uid) != (sop_class, sop_uid):
                raise MismatchError("its SOP class or instance is another one than the sender said")
            return self._file(written, origin.exam, _digest(*content))
        finally:
            written.unlink(missing_ok=True)

    def exams(self) -> list[str]:
        """The names of all folders, in no order that means anything."""
        return [entry.name for entry in self.folder.iterdir() if entry.is_dir() and entry.name != INCOMING]

    def films(self, exam: str) -> tuple[Path, ...]:
        """The films of one examination, sorted."""
        folder = self.folder / exam
        return tuple(sorted(folder.glob("*.dcm"))) if folder.is_dir() else ()

    def state(self, exam: str) -> str:
        """A digest that changes when, and only when, films come or go."""
        return _digest(*(film.name.encode() for film in self.films(exam)))

    def remove(self, exam: str, state: str) -> bool:
        """Remove the films of an examination, unless others came since it was in `state`."""
        with self._lock:
            if self.state(exam) != state:
                return False
            shutil.rmtree(self.folder / exam)
            return True

    def _write(self, content: list[bytes]) -> Path:
        handle, name = tempfile.mkstemp(dir=self._incoming, suffix=".dcm")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)

    def _file(self, written: Path, exam: str, digest: str) -> tuple[str, bool]:
        with self._lock:
            folder = self.folder / self._name(exam)
            if (folder / f"{digest}.dcm").exists():
                return folder.name, False
            if not folder.exists():
                folder.mkdir()
                _sync(self.folder)
            written.rename(folder / f"{digest}.dcm")
            _sync(folder)
            return folder.name, True

    def _name(self, exam: str) -> str:
        """`exam`; after its films were removed `exam-2`, and so on."""
        number, name = 1, exam
        while not (self.folder / name).exists() and (self._results / name).exists():
            number += 1
            name = f"{exam}-{number}"
        return name


class MismatchError(ImageError):
    """A data set that is not what the command said it was."""


def read_origin(path: Path) -> Origin:
    """Where the film in `path` belongs. ImageError when its header does not say."""
    try:
        with open_dicom(path, _KEPT) as file:
            tags = file.tags
            study = tags.first("StudyInstanceUID")
            if not study:
                raise ImageError("damaged: StudyInstanceUID is absent")
            patient = _patient(tags)
            exam = exam_of(patient, study, tags.first("StudyDate"))
            return Origin(tags.first("SOPClassUID"), tags.first("SOPInstanceUID"), study, exam, patient.key)
    except Skip as skip:
        raise ImageError(skip.reason) from None


def _patient(tags: Tags) -> Patient:
    patient_id, issuer = tags.first("PatientID"), tags.first("IssuerOfPatientID")
    birth_date = tags.first("PatientBirthDate")
    try:
        return identify(patient_id, issuer, birth_date)
    except Skip:  # a crop of CBIS-DDSM, which is in no pair
        return Patient(patient_id, issuer, birth_date, None)


def exam_of(patient: Patient, study_uid: str, study_date: str) -> str:
    """The examination. All that `disasym.dicom.pairing` may pair is one; two women never are.

    One exception: a study that has two StudyDates is two here, so that an identifier that is used for everybody who was
    born on one day gathers the films of one day at most.
    """
    if patient.stem:
        when = ""
    elif patient.identifying and study_date:
        when = study_date
    else:
        when = study_uid
    return _digest(*(part.encode() for part in (*patient.identity, when)))[:16]


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.hexdigest()


def _sync(folder: Path) -> None:
    """Make the names in `folder` survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
