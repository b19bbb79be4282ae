"""Every training run of the tables and figures, its state and the time that is left."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from disasym.files import write_whole
from disasym.reproduce.options import ReproduceOptions
from disasym.reproduce.study import Fold, Study

DONE, FAILED, BEGUN, WAITING = "done", "failed", "begun", "waiting"
RESULT, PROBLEM = "result.json", "failed.json"


@dataclass(frozen=True)
class Cell:
    """One training run: a method on a share of the training women of a fold."""

    study: Study
    method: str
    fraction: float
    fold: int
    folder: Path

    @property
    def parts(self) -> Fold:
        return self.study.folds[self.fold]

    @property
    def name(self) -> str:
        """For people."""
        share = "" if self.fraction == 1 else f", {self.fraction:.0%} of the training women"
        return f"{self.study.name}: {self.method}, fold {self.fold + 1} of {len(self.study.folds)}{share}"

    @property
    def state(self) -> str:
        """As its folder shows."""
        if (self.folder / RESULT).is_file():
            return DONE
        if (self.folder / PROBLEM).is_file():
            return FAILED
        return BEGUN if (self.folder / "state.safetensors").is_file() else WAITING


def cells(options: ReproduceOptions, studies: Sequence[Study]) -> list[Cell]:
    """All runs, each once: whole folds of every method first, then the smaller fractions."""
    wanted = {(method, 1.0) for part in options.parts for method in options.methods_of(part)}
    if "figure2" in options.parts:
        wanted |= {(method, fraction) for method in options.methods_of("figure2") for fraction in options.fractions}
    order = list(dict.fromkeys(method for part in options.parts for method in options.methods_of(part)))
    found = [
        Cell(study, method, fraction, fold, _folder(options.training.out, study, method, fraction, fold))
        for study in studies
        for method, fraction in wanted
        for fold in range(len(study.folds))
    ]
    return sorted(found, key=lambda cell: (-cell.fraction, cell.fold, order.index(cell.method)))


def _folder(out: Path, study: Study, method: str, fraction: float, fold: int) -> Path:
    return out / "runs" / study.slug / method / f"{fraction:.0%}".rstrip("%") / str(fold)


def write_plan(path: Path, listed: Sequence[Cell], left: dict[Path, float | None], running: Cell | None = None) -> None:
    """plan.csv: a row a run, in the order of work, with its state and the seconds that it will take."""
    rows = io.StringIO()
    columns = ("dataset", "method", "fraction", "fold", "state", "seconds", "seconds_left", "reason")
    table = csv.DictWriter(rows, columns, lineterminator="\n")
    table.writeheader()
    for cell in listed:
        seconds = left.get(cell.folder)
        table.writerow(
            {
                "dataset": cell.study.name,
                "method": cell.method,
                "fraction": cell.fraction,
                "fold": cell.fold,
                "state": "running" if cell is running else cell.state,
                "seconds": result_of(cell).get("seconds", ""),
                "seconds_left": "" if seconds is None else round(seconds),
                "reason": reason_of(cell),
            }
        )
    write_whole(path, rows.getvalue().encode())


def result_of(cell: Cell) -> dict[str, object]:
    """What a finished run says of itself; {} of another."""
    path = cell.folder / RESULT
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def reason_of(cell: Cell) -> str:
    """Why a run failed; "" where it did not."""
    path = cell.folder / PROBLEM
    return str(json.loads(path.read_text())["reason"]) if cell.state == FAILED else ""
