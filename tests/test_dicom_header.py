"""Which files are screening mammograms, of which breast and view; and that nothing says whose."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from dicom_files import lut, save, view_code, write_ct, write_film, write_mammogram
from disasym.dicom import Skip, read_header, read_pixels
from disasym.dicom.codes import MODIFIERS, VIEWS
from disasym.errors import ImageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


def test_a_digital_mammogram_is_read(path: Path) -> None:
    header = read_header(write_mammogram(path, laterality="L", view="MLO", PatientOrientation=["A", "F"]))
    assert (header.laterality, header.view, header.kind) == ("L", "MLO", "standard")
    assert (header.rows, header.columns, header.chest_wall, header.pixel_aspect) == (40, 24, "left", 1.0)
    assert header.study_uid.startswith("1.2.826.0.1.3680043.8.498.")


@pytest.mark.parametrize(
    "sop_class",
    [uid.SecondaryCaptureImageStorage, uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation],
)
def test_films_and_plates_are_read_if_their_modality_is_mammography(path: Path, sop_class: str) -> None:
    assert read_header(write_mammogram(path, SOPClassUID=sop_class)).view == "CC"


def test_a_cbis_ddsm_film_has_its_view_in_patient_orientation(path: Path) -> None:
    header = read_header(write_film(path, side="LEFT", view="MLO"))
    assert (header.laterality, header.view, header.chest_wall) == ("L", "MLO", None)


# Not a screening mammogram: skipped, with the reason


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Modality": "CT"}, "Modality is CT, not MG"),
        ({"Modality": "RG"}, "Modality is RG, not MG"),
        ({"Modality": "CANARY"}, "Modality is another value, not MG"),
        ({"SOPClassUID": uid.BreastTomosynthesisImageStorage}, "tomosynthesis"),
        ({"SOPClassUID": uid.MammographyCADSRStorage}, r"SOP class \(Mammography CAD SR Storage\)"),
        ({"SOPClassUID": uid.DigitalMammographyXRayImageStorageForProcessing}, "FOR PROCESSING"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
        ({"QualityControlImage": "YES"}, "quality control"),
        ({"ImageType": ["DERIVED", "PRIMARY", "STEREO", "LEFT"]}, "stereotactic or biopsy"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "PREFIRE_MINUS"]}, "stereotactic or biopsy"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO", "NONE"]}, "a tomosynthesis image"),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "SUBTRACTION"]}, "contrast subtraction"),
        ({"NumberOfFrames": "60"}, "60 frames"),
        ({"SpecimenDescriptionSequence": Sequence([Dataset()])}, "specimen"),
        ({"SeriesDescription": "Specimen left"}, "specimen"),
        ({"ViewCodeSequence": view_code("127457009"), "ViewPosition": None}, "view .specimen. is not one"),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, "magnified ×1.8"),
        ({"PartialView": "YES"}, "partial view"),
        ({"ViewCodeSequence": view_code("399162004", "399055006")}, "modifier: spot compression"),
        ({"ViewCodeSequence": view_code("R-10242", "R-102D6", scheme="SNM3")}, "modifier: magnification"),
        ({"ViewCodeSequence": view_code("R-10242", "R-102D3", scheme="SRT")}, "modifier: rolled lateral"),
        ({"ViewCodeSequence": view_code("399162004", "999")}, "modifier: unknown"),
        ({"ViewCodeSequence": view_code("399260004"), "ViewPosition": "ML"}, "view .ML. is not one of"),
        ({"ViewCodeSequence": None, "ViewPosition": "XCCL"}, "view .XCCL. is not one of"),
        ({"ViewCodeSequence": None, "ViewPosition": "YELLOW CANARY"}, "view in ViewPosition is a value that is not"),
        ({"ViewCodeSequence": None, "ViewPosition": None}, "no view in"),
        ({"ImageLaterality": None}, "no laterality in"),
        ({"ImageLaterality": "U"}, "no laterality in"),
        ({"ImageLaterality": "B"}, "both breasts"),
        ({"PatientOrientation": ["R", "P"]}, "turned by 90°"),
        ({"view": "MLO", "PatientOrientation": ["A", "H"]}, "on its head"),
        ({"patient": "Mass-Test_P_00001_RIGHT_CC_1"}, "lesion crop or mask"),
        ({"bits": 1}, "1 bits a pixel"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not a grey image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_screening_mammogram_is_skipped_with_its_reason(path: Path, tags: Any, words: str) -> None:
    with pytest.raises(Skip, match=words):
        read_header(write_mammogram(path, **tags))


def test_the_other_kinds_are_recognised(path: Path) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "synthetic": {"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]},
        "implant displaced": {"ViewCodeSequence": view_code("399162004", "399209000")},
        "nipple in profile": {"ViewCodeSequence": view_code("399162004", "442581004")},
        "standard": {"ImageType": ["ORIGINAL", "PRIMARY", "POST_CONTRAST", "", "LOW_ENERGY"]},
    }
    assert {kind: read_header(write_mammogram(path, **tags)).kind for kind, tags in kinds.items()} == {
        kind: kind for kind in kinds
    }
    word = write_mammogram(path, ViewCodeSequence=None, ViewPosition="CCID")
    assert read_header(word).kind == "implant displaced"


def test_raw_images_are_used_when_asked_for(path: Path) -> None:
    write_mammogram(path, SOPClassUID=uid.DigitalMammographyXRayImageStorageForProcessing)
    assert read_header(path, include_processing=True).kind == "for processing"


def test_other_objects_are_skipped(tmp_path: Path) -> None:
    with pytest.raises(Skip, match="Modality is CT"):
        read_header(write_ct(tmp_path / "ct.dcm"))
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID, report.Modality = uid.EnhancedSRStorage, "1.2.3", "SR"
    with pytest.raises(Skip, match="Modality is SR"):
        read_header(save(report, tmp_path / "sr.dcm", uid.ExplicitVRLittleEndian))
    index = Dataset()
    index.SOPClassUID, index.SOPInstanceUID = uid.MediaStorageDirectoryStorage, "1.2.3"
    with pytest.raises(Skip, match="DICOMDIR"):
        read_header(save(index, tmp_path / "DICOMDIR", uid.ExplicitVRLittleEndian))


def test_the_code_tables_are_those_of_the_standard() -> None:
    """CID 4014 and CID 4015, as pydicom carries them: no code of the standard is missing or has another meaning."""
    names = {"cranio-caudal": "CC", "medio-lateral oblique": "MLO", "medial-lateral": "ML", "latero-medial": "LM"}
    for concept in codes.cid4014.concepts.values():
        assert concept.value in VIEWS
        assert VIEWS[concept.value] == names.get(concept.meaning, VIEWS[concept.value])
    for concept in codes.cid4015.concepts.values():
        assert MODIFIERS[concept.value] == concept.meaning.lower()


# Damage


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"SOPInstanceUID": None}, "SOPInstanceUID is absent"),
        ({"StudyInstanceUID": None}, "StudyInstanceUID is absent"),
        ({"Rows": 40000, "Columns": 40000}, "over the limit"),
        ({"Rows": 39}, "the pixel data has 1920"),
        ({"PixelData": None}, "no pixel data"),
    ],
)
def test_a_damaged_header_is_an_image_error(path: Path, tags: dict[str, Any], words: str) -> None:
    write_mammogram(path, **tags)
    with pytest.raises(ImageError, match=words):
        read_header(path)


@pytest.mark.parametrize("uid_text", [b"../../etc/pass", b"1.2.3;DROP\0\0\0\0"])
def test_a_path_in_a_uid_is_refused(path: Path, uid_text: bytes) -> None:
    write_mammogram(path, StudyInstanceUID="1.2.3.4.5.6.78")
    path.write_bytes(path.read_bytes().replace(b"1.2.3.4.5.6.78", uid_text))
    with pytest.raises(ImageError, match="StudyInstanceUID is not a UID"):
        read_header(path)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.JPEGLSLossless, uid.DeflatedExplicitVRLittleEndian])
def test_a_truncated_file_is_damaged_wherever_it_was_cut(path: Path, share: float, syntax: str) -> None:
    write_mammogram(path, syntax=syntax, SeriesDescription="x" * 60)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError):
        read_header(path)


def test_a_file_in_implicit_vr_with_tables_is_read(path: Path) -> None:
    """Without VRs in the file, the signedness of a table's first value comes from the values it receives."""
    write_mammogram(
        path, syntax=uid.ImplicitVRLittleEndian, RescaleIntercept="-1024", VOILUTSequence=lut(-1024, [0] * 9, vr="SS")
    )
    assert read_header(path).view == "CC"
    assert read_pixels(path).max() == 0


# Real files


def test_the_real_images_are_recognised(data_root: Path) -> None:
    ge = read_header(data_root / "dicom" / "fodicom_GH133.dcm")
    assert (ge.laterality, ge.view, ge.chest_wall, ge.kind) == ("R", "MLO", "right", "standard")
    with pytest.raises(Skip, match="stereotactic"):
        read_header(data_root / "dicom" / "fodicom_OutOfBoundsOverlay.dcm")
    with pytest.raises(Skip, match="Modality is RG"):
        read_header(data_root / "dicom" / "MG1_J2KI.dcm")


def test_the_real_films_say_their_side_and_view(films: list[dict[str, Path]]) -> None:
    for case in films:
        for name, path in case.items():
            header = read_header(path)
            assert (header.laterality + header.view).lower() == name
