"""The README's table of all methods says what the committed figures of `disasym reproduce` say."""

import csv
from pathlib import Path

import pytest

from disasym.metrics import Interval
from disasym.reproduce.options import ABLATIONS, COMPARISONS, FROZEN, title_of

FIGURES = ("side", "pair")  # the README's columns of a data set, AUC


def figures(root: Path, dataset: str) -> dict[tuple[str, str], str]:
    """AUC with its interval, by method and level, as the README writes it."""
    table = (root / "benchmarks" / "results" / "reproduce_small" / dataset / "figures.csv").read_text()
    rows = [row for row in csv.DictReader(table.splitlines()) if row["figure"] == "auc" and row["fraction"] == "1.0"]
    assert {row["folds"] for row in rows} == {"3"}, "a fold is missing"
    return {
        (row["method"], row["level"]): str(Interval(float(row["value"]), float(row["low"]), float(row["high"])))
        for row in rows
    }


@pytest.mark.parametrize("method", dict.fromkeys((FROZEN, *COMPARISONS, *ABLATIONS)))
def test_the_readme_has_every_method_with_its_figures(root: Path, method: str) -> None:
    title = title_of(method)
    (row,) = [
        line
        for line in (root / "README.md").read_text().splitlines()
        if line.startswith((f"| {title} |", f"| **{title}** |"))
    ]
    expected = [figures(root, dataset)[method, level] for dataset in ("cesm", "mias") for level in FIGURES]
    assert [cell.strip() for cell in row.split("|")[2:-1]] == expected


@pytest.mark.parametrize("dataset", ["cesm", "mias"])
def test_the_committed_report_is_of_all_runs(root: Path, dataset: str) -> None:
    report = root / "benchmarks" / "results" / "reproduce_small" / dataset / "report.md"
    assert "All 33 runs are finished." in report.read_text()
