"""Segmentations and captures of a pair: valid, in the film's own pixels, tied to the report."""

import errno
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR, MeasurementReport, srread
from PIL import Image
from pydicom import uid

from dicom_files import breast
from disasym.dicom import read_header
from disasym.dicom.out import Algorithm, Breast, Lesion, PairFindings, read_film
from disasym.dicom.out.segmentation import make_segmentation
from disasym.errors import InputError
from disasym.files import write_whole
from disasym.infer.boxes import find_regions, mask_in_file
from disasym.infer.objects import labels_of
from disasym.infer.results import Row, read_rows
from disasym.preprocess import preprocess
from exams import COLUMNS, ROWS, FakeEngine, write_exam
from hot import HotEngine, run
from validators import complaints, report_text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    """The results of a woman whose right breast has one lesion and whose left has two, and her row."""
    folder = tmp_path_factory.mktemp("seg")
    write_exam(folder / "in", "woman", StudyTime="101112", StudyID="7", PatientOrientation=["P", "F"])
    _, (row,) = run(folder / "in", folder / "out", "panels", "sr", "seg", "capture")
    return folder / "out", row


def objects(made: tuple[Path, Row]) -> dict[str, Path]:
    """The files of the row, by kind and side."""
    out, row = made
    return {name.split("-", 1)[1].removesuffix(".dcm"): out / name for name in row.dicom.split()}


def masks_of(path: Path) -> list[npt.NDArray[np.bool_]]:
    """Each segment as a mask of the film, read by highdicom."""
    segmentation = highdicom.seg.segread(path)
    (source,) = segmentation.get_source_image_uids()
    pixels = segmentation.get_pixels_by_source_instance([source[2]], assert_missing_frames_are_empty=True)
    return [pixels[0, ..., number] > 0 for number in range(pixels.shape[-1])]


def test_all_objects_are_there_and_keep_the_standards_rules(made: tuple[Path, Row]) -> None:
    assert sorted(objects(made)) == ["capture", "seg-left", "seg-right", "sr"]
    for path in objects(made).values():
        assert complaints(path) == []
        assert pydicom.dcmread(path).StudyInstanceUID == made[1].study_uid


def test_a_segment_is_where_the_box_of_the_row_is_and_names_its_film(made: tuple[Path, Row]) -> None:
    _, row = made
    for side, sop_uid in (("right", row.right_sop_uid), ("left", row.left_sop_uid)):
        path = objects(made)[f"seg-{side}"]
        boxes = [box for box in row.boxes or () if box.laterality == side[0].upper()]
        masks = masks_of(path)
        assert len(masks) == len(boxes)
        for mask, box in zip(masks, boxes, strict=True):
            assert mask.shape == (ROWS, COLUMNS)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            around = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert np.abs(np.subtract(around, (box.x0, box.y0, box.x1, box.y1))).max() <= 1
        (source,) = highdicom.seg.segread(path).get_source_image_uids()
        assert source[2] == sop_uid
        assert pydicom.dcmread(path).PatientOrientation == ["P", "F"]


def test_pydicom_and_highdicom_read_the_same_pixels(made: tuple[Path, Row]) -> None:
    path = objects(made)["seg-left"]
    frames = pydicom.dcmread(path).pixel_array
    assert [bool((frame > 0).any()) for frame in frames] == [True, True]
    for frame, mask in zip(frames, masks_of(path), strict=True):
        np.testing.assert_array_equal(frame > 0, mask)


def test_report_and_segmentation_share_the_tracking_identifier_of_each_lesion(made: tuple[Path, Row]) -> None:
    report = srread(objects(made)["sr"])
    assert isinstance(report, Comprehensive3DSR)
    assert isinstance(report.content, MeasurementReport)
    tracked = [group.tracking_uid for group in report.content.get_planar_roi_measurement_groups()]
    segments = []
    for side in ("right", "left"):
        segmentation = pydicom.dcmread(objects(made)[f"seg-{side}"])
        segments += [segment.TrackingUID for segment in segmentation.SegmentSequence]
        assert segmentation.SOPInstanceUID in {evidence[2] for evidence in report.get_evidence()}
    assert tracked == segments
    assert len(set(tracked)) == 3


def test_the_capture_is_the_panel(made: tuple[Path, Row]) -> None:
    capture = pydicom.dcmread(objects(made)["capture"])
    np.testing.assert_array_equal(capture.pixel_array, np.asarray(Image.open(made[0] / made[1].panel)))
    named = {image.ReferencedSOPInstanceUID for image in capture.SourceImageSequence}
    assert named == {made[1].right_sop_uid, made[1].left_sop_uid}
    assert (capture.Modality, capture.BurnedInAnnotation) == ("OT", "NO")


def test_who_the_woman_is_stands_in_the_dicom_objects_alone_and_no_more_than_her_study_needs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    needed = {"PatientName": "CANARY^Jane", "PatientBirthDate": "19440229", "StudyDescription": "CANARY-STUDY"}
    not_needed = {"PatientComments": "CANARY-A", "PatientAddress": "CANARY-B", "OtherPatientIDs": "CANARY-C"}
    not_needed |= {"InstitutionName": "CANARY-D", "OperatorsName": "CANARY-E", "PatientTelephoneNumbers": "CANARY-F"}
    tags: dict[str, Any] = needed | not_needed
    for number, path in enumerate(write_exam(tmp_path / "in", "CANARY-4711", **tags)):
        path.rename(path.with_name(f"{number}.dcm"))
    out = tmp_path / "out"
    _, (row,) = run(tmp_path / "in", out, "panels", "sr", "seg", "capture")
    in_dicom: list[bytes] = []
    elsewhere: list[bytes] = []
    for path in (path for path in out.rglob("*") if path.is_file()):
        name = path.relative_to(out).as_posix()
        assert "CANARY" not in name
        (in_dicom if name in row.dicom.split() else elsewhere).append(path.read_bytes())
    assert len(elsewhere) == 8  # five tables, the ledger, the lock and a panel
    assert len(in_dicom) == 4
    for content in in_dicom:
        assert all(value.encode() in content for value in (*needed.values(), "CANARY-4711"))
        assert not any(value.encode() in content for value in not_needed.values())
    printed = "".join(capfd.readouterr()).encode()
    for content in (*elsewhere, printed):
        assert not any(word in content for word in (b"CANARY", b"19440229"))


def test_results_that_are_read_again_are_no_films(made: tuple[Path, Row], tmp_path: Path) -> None:
    summary, rows = run(made[0] / "dicom", tmp_path / "out")
    assert (rows, summary.count("skipped"), summary.exit_code) == ([], 4, 0)


def test_a_breast_without_lesions_gets_no_segmentation(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "woman")
    _, (row,) = run(tmp_path / "in", tmp_path / "out", "seg", engine=HotEngine(heat=0.4))
    assert (row.boxes, row.dicom) == ((), "")


def test_a_second_run_makes_the_same_objects(made: tuple[Path, Row], tmp_path: Path) -> None:
    out, _ = made
    _, (row,) = run(out.parent / "in", tmp_path / "out", "sr", "seg", "capture")
    for kind, path in objects((tmp_path / "out", row)).items():
        first, second = pydicom.dcmread(objects(made)[kind]), pydicom.dcmread(path)
        for ds in (first, second):
            for keyword in ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime"):
                delattr(ds, keyword)
            if "ContributingEquipmentSequence" in ds:
                del ds.ContributingEquipmentSequence[0].ContributionDateTime
        assert first == second, kind


def test_what_was_lost_by_compression_is_said_of_what_is_made_of_it_too(tmp_path: Path) -> None:
    lossy: dict[str, Any] = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"}
    lossy["LossyImageCompressionMethod"] = "ISO_15444_1"
    write_exam(tmp_path / "in", "woman", syntax=uid.JPEG2000, StudyTime="101112", StudyID="7", **lossy)
    _, (row,) = run(tmp_path / "in", tmp_path / "out", "seg", "capture")
    assert len(row.dicom.split()) == 3
    for name in row.dicom.split():
        made = pydicom.dcmread(tmp_path / "out" / name)
        assert (made.LossyImageCompression, made.LossyImageCompressionRatio) == ("01", 12.5)
        assert complaints(tmp_path / "out" / name) == []


def test_the_eight_real_films_give_valid_reports_segmentations_and_captures_of_their_own_size(
    films: list[dict[str, Path]], tmp_path: Path
) -> None:
    _, rows = run(films[0]["rcc"].parents[1], tmp_path / "out", "sr", "seg", "capture")
    assert len(rows) == 4
    for row in rows:
        names = [name.split("-", 1)[1] for name in row.dicom.split()]
        sides = [f"{kind}-{side}.dcm" for kind in ("sr", "seg", "capture") for side in ("right", "left")]
        assert sorted(names) == sorted(sides)
        for name in row.dicom.split():
            path = tmp_path / "out" / name
            assert complaints(path) == []
            if "-sr-" in name:
                assert report_text(path).startswith("Comprehensive 3D SR Document")
                report = srread(path)
                assert isinstance(report, Comprehensive3DSR)
                assert isinstance(report.content, MeasurementReport)
                assert len(report.content.get_image_measurement_groups()) >= 2
            elif "-seg-" in name:
                assert all(mask.any() for mask in masks_of(path))
            else:
                assert pydicom.dcmread(path).pixel_array.ndim == 3
    found = [
        pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / "out" / "dicom").glob("*-seg-*.dcm")
    ]
    segmentations = {segmentation.StudyInstanceUID: segmentation for segmentation in found}
    for path in (path for woman in films for path in woman.values()):
        film = pydicom.dcmread(path, stop_before_pixels=True)
        segmentation = segmentations.pop(film.StudyInstanceUID)
        assert (segmentation.Rows, segmentation.Columns) == (film.Rows, film.Columns)
        assert segmentation.PatientID == film.PatientID
    assert not segmentations


def test_a_lesion_between_the_pixels_of_a_coarse_film_keeps_one_of_them() -> None:
    """Each pixel of this film covers some 26 × 26 of the network's: a small outline may hold no centre."""
    view = preprocess(breast(40, 24).astype(np.float32), "L", "CC", 1024, 512)
    shown = np.zeros_like(view.pixels)
    shown[470:476, 100:106] = 1
    (region,) = find_regions(view, np.full((32, 16), 0.9, np.float32), shown)
    assert not mask_in_file(region.mask, view.geometry).any()
    labels = labels_of([region], view)
    (row, column) = np.argwhere(labels)[0]
    assert (labels > 0).sum() == 1
    x0, y0, x1, y1 = region.box
    assert x0 - 1 <= column <= x1
    assert y0 - 1 <= row <= y1


def test_labels_that_do_not_fit_their_film_are_refused(tmp_path: Path) -> None:
    right, left = (read_film(read_header(path)) for path in write_exam(tmp_path, "woman"))
    algorithm = Algorithm("1", "small", "0" * 64, "fake", "fp32", 0.5)
    lesion = Lesion((0.0, 0.0, 9.0, 9.0), 0.9)
    pair = PairFindings(Breast(right, 0.5, ()), Breast(left, 0.5, (lesion,)), "CC", 0.5, algorithm)
    for labels in (np.zeros((ROWS, COLUMNS), np.uint8), np.ones((ROWS, COLUMNS - 1), np.uint8)):
        with pytest.raises(InputError, match=rf"1 lesions needs their numbers in \[{ROWS}, {COLUMNS}\]"):
            make_segmentation(pair, pair.left, labels)


@pytest.mark.parametrize("kind", ["panels", "capture"])
def test_a_full_disk_is_one_sentence_and_no_row_names_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for number in range(3):
        write_exam(tmp_path / "in", f"woman{number}", seed=number)
    written: list[Path] = []

    def until_full(path: Path, content: bytes) -> None:
        if path.suffix in (".png", ".dcm"):
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(path)
        write_whole(path, content)

    for module in ("store", "panels"):
        monkeypatch.setattr(f"disasym.infer.{module}.write_whole", until_full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\).*free space"):
        run(tmp_path / "in", tmp_path / "out", kind)
    for row in read_rows(tmp_path / "out"):
        assert all((tmp_path / "out" / name).is_file() for name in (row.panel, *row.dicom.split()) if name)


@pytest.mark.parametrize(("kind", "lacks"), [("seg", "cam"), ("capture", "cam, normal, abnormality")])
def test_an_object_that_this_model_cannot_fill_is_refused_before_anything_runs(
    tmp_path: Path, kind: str, lacks: str
) -> None:
    engine = FakeEngine()
    engine.info = type(engine.info)("custom", 64, 32, "fp32", "0" * 64, "cpu", None, ("asymmetry", "abnormal"))
    write_exam(tmp_path / "in", "woman")
    with pytest.raises(InputError, match=f"{kind} cannot be made: .* without {lacks}"):
        run(tmp_path / "in", tmp_path / "out", kind, engine=engine)
    assert not (tmp_path / "out").exists()
