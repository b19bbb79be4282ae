"""The committed cross-validation says what its committed scores say, and nobody edited either."""

import csv
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import temperature
from disasym.metrics import Interval


def load_script(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("cross_validation", root / "benchmarks" / "cross_validation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMES = pytest.mark.parametrize("name", ["cross_validation", "cross_validation_lite"])


@NAMES
def test_the_committed_report_follows_from_the_committed_scores(root: Path, name: str) -> None:
    results = root / "benchmarks" / "results"
    report = json.loads((results / f"{name}.json").read_text())
    rows = list(csv.DictReader((results / f"{name}.csv").read_text().splitlines()))
    script = load_script(root)
    for dataset in ("cesm", "mias"):
        found = script.intervals([row for row in rows if row["dataset"] == dataset])
        for figure, value in report[dataset].items():
            assert found[figure] == pytest.approx(value), f"{dataset}: {figure}"


@NAMES
def test_every_pair_was_scored_once_and_no_woman_by_a_model_that_knew_her(root: Path, name: str) -> None:
    rows = list(csv.DictReader((root / "benchmarks" / "results" / f"{name}.csv").read_text().splitlines()))
    assert len({(row["dataset"], row["pair_id"]) for row in rows}) == len(rows) == 429
    folds: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        folds.setdefault((row["dataset"], row["patient_id"]), set()).add(row["fold"])
    assert all(len(found) == 1 for found in folds.values())


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ("README.md", "cross_validation"),
        ("README.md", "cross_validation_lite"),
        ("disasym/demonstration/README.md", "cross_validation_lite"),
    ],
)
def test_documents_quote_the_measured_intervals(root: Path, document: str, name: str) -> None:
    report = json.loads((root / "benchmarks" / "results" / f"{name}.json").read_text())
    text = (root / document).read_text()
    for dataset in ("cesm", "mias"):
        for figure in ("auc_side_abnormality", "auc_pair_asymmetry"):
            assert str(Interval(**report[dataset][figure])) in text, f"{dataset}: {figure}"


def test_the_committed_temperatures_follow_from_the_committed_scores(root: Path) -> None:
    results = root / "benchmarks" / "results"
    report = json.loads((results / "temperature.json").read_text())
    rows = list(csv.DictReader((results / "cross_validation_lite.csv").read_text().splitlines()))
    found = temperature.of_rows([row for row in rows if row["dataset"] == "mias"], "pair")
    wanted = report["lite, mias, pairs"]
    assert found["halves_without_a_temperature"] == wanted["halves_without_a_temperature"]
    assert found["temperatures"] == pytest.approx(wanted["temperatures"], rel=1e-2)
    for name, figures in wanted["log_loss_brier_ece"].items():
        assert found["log_loss_brier_ece"][name] == pytest.approx(figures, abs=1e-3), name
