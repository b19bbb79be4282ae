"""One file's header: is it a usable screening mammogram, of which breast, in which view?"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from disasym.dicom.laterality import ChestWall, read_chest_wall, read_laterality, read_view
from disasym.dicom.matrix import Matrix, frame_of, read_matrix
from disasym.dicom.patient import Patient, read_patient
from disasym.dicom.reader import DicomFile, open_dicom, quiet
from disasym.dicom.selection import Kind, check_object, read_kind
from disasym.dicom.tags import Tags
from disasym.errors import ImageError
from disasym.spec import Laterality, View

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_ASPECT_LIMIT = 4.0


@dataclass(frozen=True, slots=True)
class Header:
    """A usable mammogram. Nothing that identifies the woman is in its repr; `patient_key` is for output."""

    path: Path
    sop_uid: str
    study_uid: str
    series_uid: str
    patient: Patient = field(repr=False)
    study_date: str = field(repr=False)
    laterality: Laterality
    view: View
    kind: Kind
    rows: int
    columns: int
    chest_wall: ChestWall | None
    pixel_aspect: float  # height of a pixel / its width
    transfer_syntax: str

    @property
    def patient_key(self) -> str:
        """Hash that stands for the woman in outputs; see `Patient.key`."""
        return self.patient.key


def read_header(
    path: Path, include_processing: bool = False, otherwise: tuple[Laterality, View] | None = None
) -> Header:
    """Read the header of one file; its pixel data is measured, not read.

    Args:
        otherwise: side and view that a table gives; each stands where the file itself says nothing.

    Raises:
        Skip: not a usable screening mammogram, by rule; `reason` says which.
        ImageError: damaged, truncated, contradictory in its sizes or over the limits.
    """
    with open_dicom(path) as file:
        with quiet():
            header, matrix = _header(path, file, include_processing, otherwise or (None, None))
        frame_of(file, matrix)
        return header


def _header(
    path: Path, file: DicomFile, include_processing: bool, otherwise: tuple[Laterality | None, View | None]
) -> tuple[Header, Matrix]:
    tags = file.tags
    check_object(tags, include_processing)
    patient = read_patient(tags)
    kind = read_kind(tags)
    view = read_view(tags, patient.stem, otherwise[1])
    laterality = read_laterality(tags, patient.stem, otherwise[0])
    matrix = read_matrix(file)
    header = Header(
        path=path,
        sop_uid=_uid(tags, "SOPInstanceUID"),
        study_uid=sys.intern(_uid(tags, "StudyInstanceUID")),  # an archive has thousands of headers: one copy a study
        series_uid=sys.intern(_uid(tags, "SeriesInstanceUID")),
        patient=patient,
        study_date=sys.intern(tags.first("StudyDate")),
        laterality=laterality,
        view=view,
        kind=kind,
        rows=matrix.rows,
        columns=matrix.columns,
        chest_wall=read_chest_wall(tags, view),
        pixel_aspect=_pixel_aspect(tags),
        transfer_syntax=sys.intern(file.transfer_syntax),
    )
    return header, matrix


def _uid(tags: Tags, keyword: str) -> str:
    value = tags.first(keyword)
    if not value:
        raise ImageError(f"damaged: {keyword} is absent, so a result could not be traced to its image")
    if len(value) > 64 or not set(value) <= set("0123456789."):
        raise ImageError(f"damaged: {keyword} is not a UID (PS3.5 9.1)")
    return value


def _pixel_aspect(tags: Tags) -> float:
    """Height / width of a pixel: PixelAspectRatio (vertical\\horizontal, PS3.3 C.7.6.3.1.7), else row / column spacing.

    Raises:
        ImageError: not a positive ratio of up to 4:1.
    """
    for keyword in ("PixelAspectRatio", *_SPACINGS):
        values = tags.numbers(keyword)
        if not values:
            continue
        if len(values) != 2 or min(values) <= 0 or not 1 / _ASPECT_LIMIT <= values[0] / values[1] <= _ASPECT_LIMIT:
            raise ImageError(f"damaged: {keyword} is no usable ratio of height to width")
        return values[0] / values[1]
    return 1.0
