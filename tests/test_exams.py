"""Pairs to examinations: which belong together, and what they say of the woman."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_files import breast, write_film, write_mammogram
from disasym.infer import InferOptions, infer
from disasym.infer.exams import exams_of
from disasym.infer.jobs import find_work
from disasym.infer.results import LesionBox, Row
from exams import COLUMNS, ROWS, jobs_of, write_exam
from test_results import ROW

PROBABILITY = st.floats(0, 1).map(lambda p: round(p, 6))


def row(exam: str = "a", view: str = "CC", right: float = 0.2, left: float = 0.4, **changes: object) -> Row:
    return replace(ROW, exam_id=exam, view=view, p_abnormal_right=right, p_abnormal_left=left, **changes)  # type: ignore[arg-type]


def test_a_breast_is_the_mean_of_its_views_and_the_woman_the_larger_breast() -> None:
    (exam,) = exams_of(
        [row(right=0.2, left=0.5, p_asymmetry=0.1), row(view="MLO", right=0.8, left=0.4, p_asymmetry=0.4)]
    )
    assert (exam.p_abnormal_right, exam.p_abnormal_left, exam.p_abnormal) == (0.5, 0.45, 0.5)
    assert (exam.p_asymmetry, exam.views, exam.pairs, exam.failed) == (0.25, "CC MLO", 2, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), PROBABILITY, PROBABILITY), min_size=1, max_size=8))
def test_no_row_is_lost_and_no_two_women_are_mixed(entries: list[tuple[str, float, float]]) -> None:
    exams = exams_of(row(exam, right=right, left=left) for exam, right, left in entries)
    assert [exam.exam_id for exam in exams] == list(dict.fromkeys(exam for exam, _, _ in entries))
    assert sum(exam.pairs for exam in exams) == len(entries)
    for exam in exams:
        own = [(right, left) for name, right, left in entries if name == exam.exam_id]
        assert exam.p_abnormal_right == pytest.approx(sum(right for right, _ in own) / len(own), abs=1e-6)
        assert exam.p_abnormal == max(exam.p_abnormal_right or 0, exam.p_abnormal_left or 0)


def test_an_exam_of_which_a_pair_or_all_pairs_failed_says_so(tmp_path: Path) -> None:
    first, second = jobs_of(tmp_path, 2)
    whole, lost = exams_of([row(first.exam_id)], [first, second])
    assert (whole.pairs, whole.failed, whole.views) == (1, 1, "CC")
    assert (lost.exam_id, lost.pairs, lost.failed) == (second.exam_id, 0, 1)
    assert (lost.p_abnormal, lost.p_abnormal_right, lost.p_asymmetry, lost.boxes_right) == (None,) * 4


def test_boxes_are_counted_by_breast_and_not_counted_where_nobody_looked() -> None:
    box = LesionBox("L", 0.0, 0.0, 1.0, 1.0, 0.5, "cam")
    found, unseen = exams_of([row(boxes=(box, box)), row("b", boxes=None)])
    assert (found.boxes_right, found.boxes_left) == (0, 2)
    assert (unseen.boxes_right, unseen.boxes_left) == (None, None)


def test_both_views_of_a_study_are_one_exam_and_another_study_is_another(tmp_path: Path) -> None:
    for view in ("CC", "MLO"):
        write_exam(tmp_path, "one", view=view)
    write_exam(tmp_path, "two")
    exams = {job.study_uid: set[str]() for job in find_work(tmp_path).jobs}
    for job in find_work(tmp_path).jobs:
        exams[job.study_uid].add(job.exam_id)
    assert sorted(map(len, exams.values())) == [1, 1]
    assert len(set.union(*exams.values())) == 2


def test_the_films_of_a_woman_of_cbis_ddsm_are_one_exam_though_each_is_a_study(tmp_path: Path) -> None:
    for side in ("RIGHT", "LEFT"):
        for view in ("CC", "MLO"):
            write_film(tmp_path / f"{side}-{view}.dcm", breast(ROWS, COLUMNS), side=side, view=view)
    jobs = find_work(tmp_path).jobs
    assert len(jobs) == 2
    assert len({job.exam_id for job in jobs}) == 1


def test_studies_of_one_day_are_one_exam_of_one_woman(tmp_path: Path) -> None:
    for patient in ("1", "2"):
        for side in "RL":
            for view in ("CC", "MLO"):
                name = f"{patient}-{side}-{view}"
                write_mammogram(tmp_path / name, laterality=side, view=view, patient=patient, study=name)
    jobs = find_work(tmp_path).jobs
    assert [job.paired_by for job in jobs] == ["patient-date"] * 4
    exams = {(job.patient_hash, job.exam_id) for job in jobs}
    assert len(exams) == 2
    assert len({patient for patient, _ in exams}) == 2


def test_a_run_writes_one_row_an_exam(tmp_path: Path, small_export: Path) -> None:
    for name in ("one", "two"):
        for seed, view in enumerate(("CC", "MLO")):
            write_exam(tmp_path / "in", name, view=view, seed=seed)
    infer(InferOptions(tmp_path / "in", tmp_path / "out", small_export, quiet=True, threads=1, write=("scores",)))
    with (tmp_path / "out" / "exams.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    assert [exam["views"] for exam in rows] == ["CC MLO"] * 2
    for exam in rows:
        own = [float(pair["p_abnormal_right"]) for pair in pairs if pair["exam_id"] == exam["exam_id"]]
        assert float(exam["p_abnormal_right"]) == pytest.approx(sum(own) / 2, abs=1e-6)
