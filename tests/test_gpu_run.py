"""The runner of the GPU commands, with processes that hang, crash and outlive: each costs itself and nothing else."""

import argparse
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is absent: pip install '.[gpu]'")

from benchmarks import gpu_run
from benchmarks.gpu_part import Record, read_records
from benchmarks.gpu_run import Program, Stage, prepare, run

PARTS = """
import json, os, subprocess, sys, time
from pathlib import Path

def told(name):
    return sys.argv[sys.argv.index(name) + 1]

out, name = Path(told("--out")), told("--part").split()[0]
if name == "crash":
    print("about to crash", flush=True)
    os.abort()
if name == "hang":
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(f"child {child.pid}", flush=True)
    time.sleep(600)
line = json.dumps({"part": told("--part"), "check": "seconds", "status": "pass", "detail": told("--seconds")})
with (out / "records.jsonl").open("a") as records:
    records.write(line + "\\n")
if name == "status":
    sys.exit(3)
print("option", told("--work"), "setting", os.environ["SETTING"])
"""


@pytest.fixture
def program(tmp_path: Path, root: Path) -> Program:
    (tmp_path / "gpu_run_parts.py").write_text(PARTS)
    path = os.pathsep.join([str(tmp_path), str(root)])

    def summary(out: Path, parts: list[str], correctness: set[str], seconds: float) -> tuple[str, bool]:
        return f"{' '.join(parts)}: {' '.join(sorted(correctness))}", True

    return Program("gpu_run_parts", ("work",), ("help",), lambda part: {"PYTHONPATH": path, "SETTING": part}, summary)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    prepare(folder, (), dry=True)
    return folder


def arguments(out: Path, seconds: float, only: list[str] | None = None) -> argparse.Namespace:
    return argparse.Namespace(
        out=out, seconds=seconds, only=only, commit=None, sabotage=None, dry_run=True, work="here"
    )


def stage(*parts: str, weight: float = 1.0, correctness: bool = True) -> Stage:
    return Stage(parts, weight, 0.0, correctness)


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "GRACE", 0.1)


def of(records: list[Record], part: str) -> list[tuple[str, str]]:
    return [(record.check, record.status) for record in records if record.part == part]


def test_a_part_that_crashes_is_recorded_with_its_last_words_and_the_rest_runs(program: Program, out: Path) -> None:
    stages = [stage("crash", "status"), stage("good 1", "good 2"), stage("help", correctness=False)]
    assert run(program, stages, arguments(out, 300))
    records = read_records(out)
    (crash,) = [record for record in records if record.part == "crash"]
    assert crash.status == "fail"
    assert crash.detail == f"ended with {-signal.SIGABRT}: about to crash"
    assert of(records, "status") == [("seconds", "pass"), ("the process", "fail")]
    assert of(records, "good 1") == of(records, "good 2") == of(records, "help") == [("seconds", "pass")]
    log = (out / "log.txt").read_text()
    assert "==== good 1\noption here setting good 1\n" in log
    assert "about to crash" in log
    assert (out / "summary.txt").read_text() == "crash status good 1 good 2 help: crash good 1 good 2 status\n"
    assert sorted(path.name for path in out.iterdir()) == ["log.txt", "records.jsonl", "summary.txt"]


@pytest.mark.slow
def test_a_part_that_hangs_is_killed_with_all_that_it_started_and_the_rest_runs(
    program: Program, out: Path, no_grace: None
) -> None:
    assert run(program, [stage("hang", weight=5), stage("good", weight=60)], arguments(out, 65))
    records = read_records(out)
    assert of(records, "hang") == [("the part", "cut")]
    assert next(record.detail for record in records if record.part == "hang") == "killed after the 5 s of its stage"
    assert of(records, "good") == [("seconds", "pass")]
    child = (out / "log.txt").read_text().split("child ")[1].split()[0]
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


@pytest.mark.slow
def test_no_part_is_given_more_than_is_left_of_the_whole(program: Program, out: Path, no_grace: None) -> None:
    run(
        program, [stage("hang", weight=2), stage("good 1", weight=98), stage("good 2", weight=100)], arguments(out, 200)
    )
    told = {record.part: float(record.detail) for record in read_records(out) if record.check == "seconds"}
    assert told["good 1"] <= 98
    assert told["good 2"] <= 198


def test_a_stage_whose_share_is_too_small_is_said_not_to_be_begun(program: Program, out: Path) -> None:
    run(program, [stage("good")], arguments(out, 0.5))
    (only,) = read_records(out)
    assert (only.part, only.status) == ("good", "cut")
    assert only.detail.startswith("not begun")


def test_a_part_may_be_named_in_full(program: Program, out: Path) -> None:
    run(program, [stage("good 1", "good 2")], arguments(out, 300, only=["good 2"]))
    assert {each.part for each in read_records(out)} == {"good 2"}


def test_only_the_parts_that_were_named_run(program: Program, out: Path) -> None:
    run(program, [stage("good 1", "crash"), stage("help")], arguments(out, 300, only=["good"]))
    assert {record.part for record in read_records(out)} == {"good 1"}


def test_a_folder_with_other_files_and_a_machine_without_gpu_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(SystemExit, match=r"mine\.txt"):
        prepare(tmp_path, ("log.txt",), dry=True)
    monkeypatch.setattr(gpu_run, "_has_gpu", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA GPU here"):
        prepare(tmp_path, ("mine.txt",), dry=False)
    assert (tmp_path / "mine.txt").read_text() == "kept"
