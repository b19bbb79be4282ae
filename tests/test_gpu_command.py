"""The command that checks and times the kernel on a GPU, run dry: every part reports, and nothing broken passes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is absent: pip install '.[gpu]'")
pytestmark = pytest.mark.slow
PARTS = {"environment", "values", "layouts", "behaviour", "operator", "export", "training", "judged", "sanitizer",
         "timings", "tune", "retimed", "profile"}  # fmt: skip


def dry_run(root: Path, out: Path, *options: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit status, what was printed, and the records."""
    command = [sys.executable, "-m", "benchmarks.gpu_kernel", "--dry-run", "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert not result.stderr, result.stderr
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    return result.returncode, result.stdout, records


def test_a_dry_run_reports_every_part_and_claims_no_speed(root: Path, tmp_path: Path) -> None:
    kept = root / "benchmarks" / "results" / "attention.jsonl"
    before = kept.read_bytes() if kept.exists() else None
    status, printed, records = dry_run(root, tmp_path, "--seconds", "280")
    assert {record["part"].split()[0] for record in records} == PARTS
    problems = [record for record in records if record["status"] in ("fail", "cut")]
    assert (status, problems) == (0, []), printed
    summary = (tmp_path / "summary.txt").read_text()
    assert printed.endswith(summary)
    assert len(summary.splitlines()) <= 60
    assert "NOT MEASURED all targets" in summary
    rows = [json.loads(line) for line in (tmp_path / "attention.jsonl").read_text().splitlines()]
    assert {row["gpu"] for row in rows} == {"cpu dry run"}
    assert {row["contender"] for row in rows if row["status"] == "timed"} >= {"fused", "2×SDPA, math"}
    refused = [row for row in rows if row["contender"] == "2×SDPA, cuDNN"]
    assert [row["status"] for row in refused] == ["refused"]
    assert refused[0]["reason"]
    assert (kept.read_bytes() if kept.exists() else None) == before


def test_a_wrong_result_of_the_kernel_fails_the_run(root: Path, tmp_path: Path) -> None:
    status, printed, records = dry_run(root, tmp_path, "--sabotage", "value", "--only", "judged", "--seconds", "120")
    assert status == 1
    assert [record["status"] for record in records] == ["fail"]
    assert "relative error of the result" in records[0]["detail"]
    assert printed.splitlines()[-1].startswith("FAIL: correctness")


def test_a_part_that_hangs_is_killed_reported_as_cut_and_the_rest_runs(root: Path, tmp_path: Path) -> None:
    options = ("--sabotage", "hang", "--only", "behaviour", "tune", "--seconds", "30")
    status, printed, records = dry_run(root, tmp_path, *options)
    assert status == 1
    hung = [record for record in records if record["part"] == "behaviour"]
    assert [(record["check"], record["status"]) for record in hung] == [
        ("before the planted hang", "info"),
        ("the part", "cut"),
    ]
    assert "killed after" in hung[1]["detail"]
    assert "tune" in {record["part"] for record in records}
    assert "CUT   behaviour" in printed


def test_a_part_without_time_is_said_to_be_cut(root: Path, tmp_path: Path) -> None:
    status, printed, records = dry_run(root, tmp_path, "--only", "judged", "--seconds", "0.5")
    assert status == 1
    assert [record["status"] for record in records] == ["cut"]
    assert "not begun" in records[0]["detail"]
    assert "CUT   judged" in printed
