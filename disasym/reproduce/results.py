"""Figures of every method from its finished runs: all folds' test women together, each scored by a run without her."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from disasym.evaluate.comparison import Compared, compare
from disasym.evaluate.discrimination import Discrimination, Draws, discrimination
from disasym.evaluate.levels import samples
from disasym.evaluate.localisation import Localisation, Overlap, localisation
from disasym.evaluate.predictions import Model, Predictions
from disasym.metrics import Interval
from disasym.reproduce.cell import OVERLAPS, PREDICTIONS
from disasym.reproduce.options import OURS, ReproduceOptions
from disasym.reproduce.plan import DONE, Cell
from disasym.reproduce.study import Study

Figure = Interval | str
SIDES = ("p_abnormal_right", "p_abnormal_left")


@dataclass(frozen=True)
class Result:
    """One method on one data set with a share of its training women."""

    study: Study
    method: str
    fraction: float
    folds: int  # that are finished
    levels: dict[str, Discrimination]  # side, pair, woman
    located: Localisation
    against: tuple[Compared, ...]  # DisAsymNet less this method, on the pairs that both have scored

    def area(self, level: str) -> Figure:
        """AUC with its interval; a text says why there is none."""
        return self.levels[level].figures["auc"]

    def gap(self, level: str) -> Compared | None:
        """How much larger DisAsymNet's AUC is."""
        return next((each for each in self.against if each.level == level), None)


def collect(listed: Sequence[Cell], options: ReproduceOptions) -> list[Result]:
    """A result for each method and fraction of which a fold is finished."""
    draws = Draws(options.bootstraps, options.training.seed)
    groups: dict[tuple[str, str, float], list[Cell]] = {}
    for cell in listed:
        if cell.state == DONE:
            groups.setdefault((cell.study.name, cell.method, cell.fraction), []).append(cell)
    said = {key: predictions_of(members) for key, members in groups.items()}
    found = []
    for (name, method, fraction), members in groups.items():
        predictions = said[name, method, fraction]
        ours = said.get((name, OURS, fraction))
        found.append(
            Result(
                study=members[0].study,
                method=method,
                fraction=fraction,
                folds=len(members),
                levels={level: discrimination(sample, draws) for level, sample in samples(predictions).items()},
                located=located_of(members, draws),
                against=compare(ours, predictions, draws) if ours is not None and method != OURS else (),
            )
        )
    return found


def predictions_of(members: Sequence[Cell]) -> Predictions:
    """The test scores of all finished folds; pairs in the order of folds."""
    study = members[0].study
    rows = [row for cell in members for row in _rows(cell, PREDICTIONS)]
    by_id = {pair_id: pair for (_, pair_id), pair in study.pairs.items()}
    return Predictions(
        model=Model(members[0].method, "", "", "eager", "", 0, 0),
        scored=tuple(by_id[row["pair_id"]] for row in rows),
        asymmetry=np.array([float(row["p_asymmetry"]) for row in rows], np.float32),
        abnormal=np.array([[float(row[name]) for name in SIDES] for row in rows], np.float32),
        failed=(),
    )


def located_of(members: Sequence[Cell], draws: Draws) -> Localisation:
    """Overlaps of all finished folds."""
    women = {pair_id: pair.woman for (_, pair_id), pair in members[0].study.pairs.items()}
    rows = [row for cell in members for row in _rows(cell, OVERLAPS)]
    overlaps = [Overlap(*(float(row[name]) for name in ("iou", "ior", "dice"))) for row in rows]
    return localisation(overlaps, [women[row["pair_id"]] for row in rows], draws)


def _rows(cell: Cell, name: str) -> list[dict[str, str]]:
    with (cell.folder / name).open(newline="") as file:
        return list(csv.DictReader(file))
