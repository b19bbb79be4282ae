"""What a result repeats of its film: whose it is, which study, which image. Copied byte for byte, never interpreted.

A value that is odd in the film is as odd in the result, so that an archive files both under the same woman and study.
"""

import re
from dataclasses import dataclass, field
from io import BytesIO

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from disasym.dicom.header import Header
from disasym.dicom.reader import open_dicom, quiet, tags_of
from disasym.errors import ImageError
from disasym.spec import Laterality, View

# Of type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): there, if only empty.
ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
)
IF_PRESENT = (
    *("SpecificCharacterSet", "IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("StudyDescription", "PatientAge"),
)
IMAGE = ("PatientOrientation", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_ORIENTATION = re.compile(rb"[LRAPHF]{1,3} *\\[LRAPHF]{1,3} *")  # CBIS-DDSM writes its view there instead
LONGEST = 1024  # bytes of one value; the longest that the standard allows here is a name of 3 × 64 characters


@dataclass(frozen=True)
class Film:
    """One source image. Nothing that identifies the woman is in its repr."""

    sop_class_uid: str
    sop_uid: str
    study_uid: str
    series_uid: str
    laterality: Laterality
    view: View
    rows: int
    columns: int
    attributes: tuple[tuple[str, bytes], ...] = field(repr=False)  # whose it is: by keyword, as in the file
    image: tuple[tuple[str, bytes], ...]  # IMAGE, likewise: for objects with the film's own pixels

    @property
    def patient(self) -> tuple[bytes, ...]:
        """Equal for two films that an archive files under one patient."""
        found = dict(self.attributes)
        return tuple(found.get(keyword, b"").rstrip(b" \0") for keyword in ("PatientID", "IssuerOfPatientID"))


def read_film(header: Header) -> Film:
    """Read what results must repeat.

    Raises:
        ImageError: the file is no longer what `header` says, or a value is too long to be one.
    """
    with (
        open_dicom(header.path, tags_of("SOPClassUID", "SOPInstanceUID", *ALWAYS, *IF_PRESENT, *IMAGE)) as file,
        quiet(),
    ):
        if file.tags.first("SOPInstanceUID") != header.sop_uid:
            raise ImageError("another image than was read for its score: run again when nobody writes to the folder")
        values = {keyword: file.tags.raw(keyword) for keyword in (*ALWAYS, *IF_PRESENT, *IMAGE)}
        for keyword, value in values.items():
            if len(value) > LONGEST:
                raise ImageError(f"{keyword} has {len(value)} bytes, at most {LONGEST} can be copied into a result")
        if not _ORIENTATION.fullmatch(values["PatientOrientation"]):
            values["PatientOrientation"] = b""
        return Film(
            sop_class_uid=file.tags.first("SOPClassUID"),
            sop_uid=header.sop_uid,
            study_uid=header.study_uid,
            series_uid=header.series_uid,
            laterality=header.laterality,
            view=header.view,
            rows=header.rows,
            columns=header.columns,
            attributes=tuple((name, values[name]) for name in (*ALWAYS, *IF_PRESENT) if values[name] or name in ALWAYS),
            image=tuple((name, values[name]) for name in IMAGE if values[name]),
        )


def evidence_of(film: Film) -> Dataset:
    """The film as highdicom wants to see it, with nobody's name: `written` puts in whose it is."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = film.sop_class_uid, film.sop_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = film.study_uid, film.series_uid
    ds.Modality, ds.Rows, ds.Columns = "MG", film.rows, film.columns
    for keyword in ALWAYS:
        setattr(ds, keyword, None)
    return ds


def written(ds: Dataset, film: Film) -> bytes:
    """The object as a file, with the patient and study of `film`."""
    copy_into(ds, film.attributes)
    file = BytesIO()
    with quiet():  # what is odd in the film is not told with its values
        ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def copy_into(ds: Dataset, attributes: tuple[tuple[str, bytes], ...]) -> None:
    """Put text attributes into `ds` byte for byte, unseen by pydicom."""
    for keyword, value in attributes:
        tag = tag_for_keyword(keyword)
        assert tag is not None  # noqa: S101 - a keyword of this file's tables
        padded = value + b" " * (len(value) % 2)
        ds[tag] = RawDataElement(Tag(tag), dictionary_VR(tag), len(padded), padded, 0, False, True, True)
