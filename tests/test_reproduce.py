"""Tables and figures of the paper from one command: all is there, nothing is done twice, a kill costs an epoch."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from disasym.cli import main
from disasym.reproduce import reproduce
from disasym.reproduce.plan import DONE
from processes import start_all
from reproductions import command, data, options


def files_of(out: Path, name: str) -> dict[str, bytes]:
    """Every file of that name in the runs of a folder, by its place."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted((out / "runs").rglob(name))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(made: tuple[Path, Path]) -> Path:
    """The folder of a reproduction that nobody disturbed."""
    out = made[0].parent.parent / "whole"
    found = CliRunner().invoke(main, command(*made, out))
    assert found.exit_code == 0, found.output
    assert "8 of 8 runs finished" in found.stdout
    return out


@pytest.mark.slow
def test_one_command_gives_both_tables_and_both_figures(whole: Path) -> None:
    report = (whole / "report.md").read_text()
    assert "All 8 runs are finished." in report
    for words in (
        "### Table 1",
        "### Table 2",
        "### Figure 2",
        "### Figure 3",
        "ResNet-18, single view",
        "**DisAsymNet**",
    ):
        assert words in report, words
    assert "2-fold cross-validation by woman" in report
    assert "1 epochs" in report
    figures = list(csv.DictReader((whole / "figures.csv").read_text().splitlines()))
    assert {(row["method"], row["fraction"], row["folds"]) for row in figures} == {
        (method, fraction, "2") for method in ("resnet18", "disasymnet") for fraction in ("0.5", "1.0")
    }
    areas = [row for row in figures if row["figure"] == "auc" and row["level"] == "side"]
    assert {row["entries"] for row in areas} == {"48"}  # both sides of 24 pairs, each in one fold's test
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in areas)
    located = [row for row in figures if row["figure"] == "mean_tiou"]
    assert {row["entries"] for row in located} == {"12"}  # abnormal sides with a circle
    for name in ("figure2-made.png", "figure3-made-1.png"):
        assert f"]({name})" in report
        with Image.open(whole / name) as picture:
            assert min(picture.size) > 300
    states = [row["state"] for row in csv.DictReader((whole / "plan.csv").read_text().splitlines())]
    assert states == ["done"] * 8
    assert not files_of(whole, "state.safetensors")  # a finished run needs it no more


@pytest.mark.slow
def test_started_again_it_trains_nothing_and_another_method_adds_its_own_runs_alone(
    made: tuple[Path, Path], whole: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("model.safetensors")}
    told = options(*made, whole, methods=("resnet18", "disasymnet", "asyc"), parts=("table1", "table2"))
    found = reproduce(told)
    assert found.exit_code == 0
    assert found.count(DONE) == 6
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("model.safetensors")}
    assert {path for path in after if path not in before} == {
        whole / "runs" / "made" / "asyc" / "100" / fold / "model.safetensors" for fold in ("0", "1")
    }
    assert all(after[path] == time for path, time in before.items())
    assert "| AsyC | 2 |" in (whole / "report.md").read_text()


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_ends_at_the_same_numbers(made: tuple[Path, Path], whole: Path) -> None:
    out = whole.parent / "killed"
    arguments = [sys.executable, "-m", "disasym", *command(*made, out)]
    started = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    waited = time.monotonic()
    while len(files_of(out, "metrics.csv")) < 2 and started.poll() is None and time.monotonic() - waited < 300:
        time.sleep(0.02)
    started.kill()
    _, errors = started.communicate()
    assert started.returncode < 0, errors
    finished = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert 1 <= len(finished) < 8
    assert reproduce(options(*made, out)).count(DONE) == 8
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    for name in ("predictions.csv", "overlaps.csv"):
        mine, theirs = files_of(out, name), files_of(whole, name)
        assert all(mine[place] == theirs[place] for place in mine), name
        assert len(mine) == 8


@pytest.mark.slow
def test_two_processes_reproduce_together_and_one_writes(made: tuple[Path, Path], tmp_path: Path) -> None:
    only = ["--parts", "table1", "--methods", "resnet18", "--panels", 0]
    processes = start_all(2, "-m", "disasym", *command(*made, tmp_path / "two", *only))
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "2 of 2 runs finished" in outputs[0][0]
    assert outputs[1][0] == ""
    found = reproduce(options(*made, tmp_path / "one", methods=("resnet18",), parts=("table1",), panels=0))
    assert found.count(DONE) == 2
    for place, content in files_of(tmp_path / "one", "result.json").items():
        one, two = json.loads(content), json.loads((tmp_path / "two" / place).read_text())
        assert {name: one[name] for name in one if name.endswith("pairs")} == {
            name: two[name] for name in two if name.endswith("pairs")
        }
