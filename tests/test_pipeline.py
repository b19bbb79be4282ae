"""What `benchmarks/pipeline.py` reports: bounds worked by hand, rows of a tiny archive, and an end when a run fails."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import uid

pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")

from benchmarks import pipeline, pipeline_stages
from benchmarks.pipeline import Case, measured, row_of
from benchmarks.pipeline_plot import core_seconds, extrapolated, picture
from benchmarks.pipeline_stages import Alone, Look, Run, Setting, mean_of, resident, whole
from disasym.infer.run import default_model
from exams import write_exam

STAGES = Alone(scan=100, load=2, engine=3, finish=50, core_seconds=0.9)
CASE = Case("made", "demonstration", "explicit", exams=12, batch=4)


def test_the_bounds_are_those_worked_by_hand() -> None:
    assert STAGES.slowest == 2
    assert STAGES.shared == pytest.approx(1 / (0.01 + 0.5 + 1 / 3 + 0.02))
    assert STAGES.host == pytest.approx(1 / (0.01 + 0.5 + 0.02))
    assert mean_of([STAGES, replace(STAGES, load=4)]).load == 3


def test_a_row_says_what_was_reached_of_both_bounds() -> None:
    run = Run(seconds=12, first_row=2, pairs=24, cores=1.9, looks=(Look(0, 5), Look(1, 9), Look(2, 7)))
    row = row_of(CASE, STAGES, run)
    assert (row["exams_per_second"], row["of_min"]) == (1, 0.5)
    assert row["of_sharing"] == pytest.approx(0.01 + 0.5 + 1 / 3 + 0.02)
    assert row["core_seconds"] == pytest.approx(1.9)
    assert row["in_the_stages"] == pytest.approx(0.9 / 1.9)
    assert row["peak_bytes"] == 9


def test_the_extrapolation_leaves_out_the_engine_alone() -> None:
    row: dict[str, Any] = {"alone": {"scan": 100, "load": 2, "engine": 0.01, "finish": 50}}
    assert core_seconds(row, measured_on=2) == pytest.approx(2 * 0.53)
    assert extrapolated(row, measured_on=2, cores=16) == pytest.approx(16 / 1.06)


def test_a_run_that_fails_or_loses_rows_is_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("{}\n")
    fine = [sys.executable, "-c", "print('half of it')"]
    with pytest.raises(SystemExit, match="1 of 2 rows: half of it"):
        whole(fine, tmp_path, 2)
    with pytest.raises(SystemExit, match="ended with 3"):
        whole([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 1)
    with pytest.raises(SystemExit, match="took more than"):
        whole([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 1, limit=0.2)


def test_memory_and_cores_are_those_of_the_process_and_of_what_it_starts(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("{}\n")
    child = "import time\nheld = bytearray(80 << 20)\nwhile time.process_time() < 0.6: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    run = whole([sys.executable, "-c", parent], tmp_path, 1)
    assert run.peak > 80 << 20
    assert 0.5 < run.cores * run.seconds < 30
    assert resident(2**22) == 0  # no such process


def test_a_film_that_cannot_be_read_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no pair of films"):
        pipeline_stages.alone(tmp_path, Setting(default_model(), 2), seconds=0.1)
    for path in write_exam(tmp_path, "one", syntax=uid.RLELossless):
        content = bytearray(path.read_bytes())
        content[-3000:-1000] = bytes(2000)
        path.write_bytes(content)
    with pytest.raises(SystemExit, match="cannot be read"):
        pipeline_stages.alone(tmp_path, Setting(default_model(), 2), seconds=0.1)


@pytest.mark.slow
def test_a_case_is_measured_drawn_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = tmp_path / "explicit-2-4096"
    for number in range(2):
        for view in ("CC", "MLO"):
            write_exam(films, str(number), view, seed=number)
    case = replace(CASE, exams=2)
    row = measured(case, tmp_path, default_model(), seconds=0.2)
    assert row["seconds"] > row["first_row_seconds"] > 0
    assert min(row["alone"].values()) > 0
    assert 0 < row["of_min"] < 1
    assert "made (demonstration, explicit): " in pipeline.told(row)
    assert row["commit"]
    monkeypatch.setattr(pipeline, "archive", lambda *_: films)
    memory = pipeline.memory(4, tmp_path, default_model())
    assert memory["peak_bytes"] > 50e6
    assert all(bytes_ <= memory["peak_bytes"] for _, bytes_ in memory["looks"])
    picture([json.loads(json.dumps(each)) for each in (row, memory)], tmp_path / "made.png")
    assert (tmp_path / "made.png").read_bytes().startswith(b"\x89PNG")
