"""The structured report of a pair: valid, in the study of its films, and it says what the tables say."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR, MeasurementReport, srread
from pydicom import uid
from pydicom.dataset import Dataset

from dicom_files import breast, write_mammogram
from disasym.dicom.out import concepts
from disasym.errors import InputError, MissingExtraError
from disasym.infer.results import LesionBox, Row
from disasym.infer.wanted import wanted
from exams import COLUMNS, ROWS, FakeEngine, files_of, write_exam
from hot import HotEngine, run
from pairs import write_pairs
from validators import complaints, report_text

WOMAN: dict[str, Any] = {
    "PatientSex": "F",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A1",
    "StudyDescription": "Screen",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    """A report and the row of its pair."""
    folder = tmp_path_factory.mktemp("report")
    write_exam(folder / "in", "woman", **WOMAN)
    _, (row,) = run(folder / "in", folder / "out", "sr")
    return folder / "out" / row.dicom, row


def films_of(folder: Path) -> dict[str, Dataset]:
    """The films of a folder by SOPInstanceUID."""
    films = (pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm")))
    return {film.SOPInstanceUID: film for film in films}


def report_of(path: Path) -> MeasurementReport:
    report = srread(path)
    assert isinstance(report, Comprehensive3DSR)
    assert isinstance(report.content, MeasurementReport)
    return report.content


def percentages(report: MeasurementReport) -> dict[tuple[str, str], float]:
    """What is measured, by concept and laterality."""
    found = {}
    for group in report.get_image_measurement_groups():
        (measured,) = group.get_measurements()
        (site,) = group.finding_sites
        assert site.laterality is not None
        found[measured.name.meaning, site.laterality.meaning] = measured.value
    return found


# What it says


def test_the_standards_rules_for_the_object_are_kept(written: tuple[Path, Row]) -> None:
    path, _ = written
    assert complaints(path) == []
    text = report_text(path)
    assert text.startswith("Comprehensive 3D SR Document")
    assert "research" in text


def test_the_scores_are_those_of_the_row_in_percent(written: tuple[Path, Row]) -> None:
    path, row = written
    assert percentages(report_of(path)) == {
        (concepts.ASYMMETRIC.meaning, "Bilateral"): pytest.approx(100 * row.p_asymmetry, abs=1e-3),
        (concepts.ABNORMAL.meaning, "Right"): pytest.approx(100 * row.p_abnormal_right, abs=1e-3),
        (concepts.ABNORMAL.meaning, "Left"): pytest.approx(100 * row.p_abnormal_left, abs=1e-3),
    }


def test_each_lesion_stands_in_its_own_film_at_the_box_of_the_row(written: tuple[Path, Row]) -> None:
    path, row = written
    boxes: dict[str, list[LesionBox]] = {"R": [], "L": []}
    for box in row.boxes or ():
        boxes[box.laterality].append(box)
    assert {side: len(found) for side, found in boxes.items()} == {"R": 1, "L": 2}
    groups = report_of(path).get_planar_roi_measurement_groups()
    for side, name, sop_uid in (("R", "Right", row.right_sop_uid), ("L", "Left", row.left_sop_uid)):
        own = [group for group in groups if name in str(group.finding_sites[0].laterality)]
        for group, box in zip(own, boxes[side], strict=True):
            assert group.roi is not None
            corners = group.roi.value
            assert (*corners.min(axis=0), *corners.max(axis=0)) == pytest.approx(
                (box.x0, box.y0, box.x1, box.y1), abs=0.01
            )
            assert np.array_equal(corners[0], corners[-1])
            (image,) = group.roi.ContentSequence
            assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == sop_uid
            (certainty,) = group.get_measurements()
            assert certainty.value == pytest.approx(100 * box.score, abs=1e-3)


def test_every_film_is_evidence_and_stands_in_the_library_with_side_and_view(written: tuple[Path, Row]) -> None:
    path, row = written
    (study,) = pydicom.dcmread(path).CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == row.study_uid
    named = {
        image.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    assert named == {row.right_sop_uid, row.left_sop_uid}
    text = report_text(path)
    library = text[text.index("Image Library") : text.index("Imaging Measurements")]
    assert library.count('"cranio-caudal"') == 2
    assert library.index('"Right"') < library.index('"Left"')


def test_the_algorithm_is_named_with_version_weights_and_threshold(written: tuple[Path, Row]) -> None:
    text = report_text(written[0])
    for fact in ("DisAsymNet", "disasym 0.1.0", "weights sha256 " + "0" * 64, "engine fake, fp32", "at least 0.5"):
        assert fact in text


def test_lesions_nobody_looked_for_and_none_found_are_told_apart(tmp_path: Path) -> None:
    class Scores(FakeEngine):
        def __init__(self) -> None:
            super().__init__()
            self.info = type(self.info)("custom", 64, 32, "fp32", "0" * 64, "cpu", None, ("asymmetry", "abnormal"))

    write_exam(tmp_path / "in", "woman")
    for name, engine, said in (("a", Scores(), "Lesions were not looked for"), ("b", FakeEngine(), "Lesions: 0.")):
        _, (row,) = run(tmp_path / "in", tmp_path / name, "sr", engine=engine)
        assert said in report_text(tmp_path / name / row.dicom)
    with pytest.raises(InputError, match=r"outputs asymmetry,abnormal \(now asymmetry,abnormal,cam"):
        run(tmp_path / "in", tmp_path / "a", "sr")


# Where it belongs


def test_patient_and_study_are_those_of_the_film_byte_for_byte(written: tuple[Path, Row]) -> None:
    path, row = written
    film = films_of(path.parents[2] / "in")[row.right_sop_uid]
    report = pydicom.dcmread(path)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", *WOMAN):
        assert report[keyword].value == film[keyword].value
    assert (report.Modality, report.VerificationFlag, report.PreliminaryFlag) == ("SR", "UNVERIFIED", "PRELIMINARY")


def test_a_second_run_makes_the_same_object_and_another_model_another_one(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "woman")
    reports = []
    for name, engine in (("a", HotEngine()), ("b", HotEngine()), ("c", HotEngine(model="1" * 64))):
        _, (row,) = run(tmp_path / "in", tmp_path / name, "sr", engine=engine)
        report = pydicom.dcmread(tmp_path / name / row.dicom)
        for keyword in ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime"):
            delattr(report, keyword)
        del report.ContributingEquipmentSequence[0].ContributionDateTime
        reports.append(report)
    assert reports[0] == reports[1]
    assert reports[0].SOPInstanceUID != reports[2].SOPInstanceUID
    assert reports[0].SeriesInstanceUID != reports[2].SeriesInstanceUID
    assert reports[0].SOPInstanceUID.startswith("2.25.")


def test_both_views_of_a_study_are_two_instances_of_one_series(tmp_path: Path) -> None:
    for view in ("CC", "MLO"):
        write_exam(tmp_path / "in", "woman", view=view)
    _, rows = run(tmp_path / "in", tmp_path / "out", "sr")
    first, second = (pydicom.dcmread(tmp_path / "out" / row.dicom) for row in rows)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert {first.InstanceNumber, second.InstanceNumber} == {1, 2}


def test_films_of_one_woman_in_two_studies_give_a_report_in_each_that_names_both(tmp_path: Path) -> None:
    for side in "RL":
        write_mammogram(tmp_path / "in" / f"{side}.dcm", breast(ROWS, COLUMNS), laterality=side, study=side, **WOMAN)
    _, (row,) = run(tmp_path / "in", tmp_path / "out", "sr")
    assert row.paired_by == "patient-date"
    films = films_of(tmp_path / "in")
    names = row.dicom.split()
    assert [name.split("-", 1)[1] for name in names] == ["sr-right.dcm", "sr-left.dcm"]
    for name, own, other in zip(
        names, (row.right_sop_uid, row.left_sop_uid), (row.left_sop_uid, row.right_sop_uid), strict=True
    ):
        report = pydicom.dcmread(tmp_path / "out" / name)
        assert complaints(tmp_path / "out" / name) == []
        assert report.StudyInstanceUID == films[own].StudyInstanceUID
        (beside,) = report.PertinentOtherEvidenceSequence
        assert beside.StudyInstanceUID == films[other].StudyInstanceUID
        sides = {
            side for what, side in percentages(report_of(tmp_path / "out" / name)) if what == concepts.ABNORMAL.meaning
        }
        assert sides == {"Right" if own == row.right_sop_uid else "Left"}


def test_real_films_that_are_a_patient_each_give_a_report_each_that_names_no_other_patients_film(
    films: list[dict[str, Path]], tmp_path: Path
) -> None:
    """CBIS-DDSM: every view is its own study and its own patient; secondary captures without spacing or view."""
    _, rows = run(films[0]["rcc"].parent, tmp_path / "out", "sr")
    assert len(rows) == 2
    sources = {
        film.SOPInstanceUID: film
        for path in films[0].values()
        for film in [pydicom.dcmread(path, stop_before_pixels=True)]
    }
    for row in rows:
        for name, sop_uid in zip(row.dicom.split(), (row.right_sop_uid, row.left_sop_uid), strict=True):
            path = tmp_path / "out" / name
            assert complaints(path) == []
            report = pydicom.dcmread(path)
            assert (report.PatientID, report.StudyInstanceUID) == (
                sources[sop_uid].PatientID,
                sources[sop_uid].StudyInstanceUID,
            )
            assert {evidence[2] for evidence in srread(path).get_evidence()} == {sop_uid}
            assert "whose film is of another study" in report_text(path)


# Odd films


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless]
)
def test_the_woman_is_the_same_whatever_the_transfer_syntax_of_her_films(tmp_path: Path, syntax: str) -> None:
    write_exam(tmp_path / "in", "woman", syntax=syntax, **WOMAN)
    _, (row,) = run(tmp_path / "in", tmp_path / "out", "sr")
    report = pydicom.dcmread(tmp_path / "out" / row.dicom)
    assert (report.PatientName, report.PatientID, report.StudyID) == ("Canary^Yellow", "woman", "7")
    assert report.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert complaints(tmp_path / "out" / row.dicom) == []


@pytest.mark.parametrize(
    ("character_sets", "name"),
    [
        ("ISO_IR 100", "Müller^Käthe"),
        ("ISO_IR 192", "Ærøskøbing^Łucja"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Hanako=山田^花子=やまだ^はなこ"),
    ],
)
def test_a_name_in_any_script_arrives_as_it_was(tmp_path: Path, character_sets: str | list[str], name: str) -> None:
    write_exam(tmp_path / "in", "woman", SpecificCharacterSet=character_sets, PatientName=name, **WOMAN)
    _, (row,) = run(tmp_path / "in", tmp_path / "out", "sr")
    report = pydicom.dcmread(tmp_path / "out" / row.dicom)
    assert str(report.PatientName) == name
    assert complaints(tmp_path / "out" / row.dicom) == []


def test_odd_patient_tags_are_copied_as_they_are_and_nobody_is_told_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd: dict[str, Any] = {"PatientSex": "CANARY", "PatientAge": "CANARY", "AccessionNumber": "CANARY" * 9}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about what is written here on purpose
        for path in write_exam(tmp_path / "in", "woman", **odd, SpecificCharacterSet="ISO_IR 100"):
            path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"CANARY 100").replace(b"19501231", b"CANARY-1"))
    caplog.clear()
    summary, (row,) = run(tmp_path / "in", tmp_path / "out", "sr")  # a warning would be an error
    assert summary.exit_code == 0
    assert "CANARY" not in caplog.text
    content = (tmp_path / "out" / row.dicom).read_bytes()
    for value in (b"CS\x0a\x00CANARY 100", b"DA\x08\x00CANARY-1", b"CS\x06\x00CANARY", b"SH\x36\x00" + b"CANARY" * 9):
        assert value in content


def test_a_film_whose_patient_cannot_be_copied_costs_its_pair_and_says_so(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "good")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_exam(tmp_path / "in", "long", PatientName="CANARY" * 200)
    summary, rows = run(tmp_path / "in", tmp_path / "out", "sr")
    assert (len(rows), summary.exit_code) == (1, 1)
    fate, reason = files_of(tmp_path / "out")["long-L-CC.dcm"]
    assert fate == "failed"
    assert "its DICOM result cannot be made" in reason
    assert "PatientName has 1200 bytes, at most 1024" in reason
    assert "CANARY" not in reason


def test_a_bug_in_making_an_object_costs_the_pair_it_meets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("CANARY")

    write_exam(tmp_path / "in", "woman")
    monkeypatch.setattr("disasym.infer.objects.make_reports", broken)
    summary, rows = run(tmp_path / "in", tmp_path / "out", "sr")
    assert (rows, summary.exit_code) == ([], 1)
    _, reason = files_of(tmp_path / "out")["woman-L-CC.dcm"]
    assert reason == "scored, but its DICOM result failed with an unexpected ZeroDivisionError: please report this"


def test_images_that_are_no_dicom_films_get_no_report_and_the_command_says_why(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path, 1)
    with pytest.raises(InputError, match=r"no DICOM films, so sr cannot be written for them.*leave it out of --write"):
        run(manifest, tmp_path / "out", "sr")
    assert not (tmp_path / "out").exists()


def test_without_highdicom_the_command_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disasym.infer.wanted.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="writing sr needs the package 'highdicom': pip install"):
        wanted(("sr",), FakeEngine(), Path("model"))


def test_no_object_is_written_unasked(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "woman")
    _, (row,) = run(tmp_path / "in", tmp_path / "out")
    assert row.dicom == ""
    assert not (tmp_path / "out" / "dicom").exists()
