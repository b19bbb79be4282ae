"""From predictions to what is counted: sides, pairs and women, each with its truth, score and groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from disasym.data.manifest import ImageRow
from disasym.errors import InputError
from disasym.evaluate.predictions import Predictions
from disasym.metrics import Floats

LEVELS = ("side", "pair", "woman")
GROUPINGS = ("dataset", "view", "laterality", "density", "birads", "finding", "pathology")
UNKNOWN, MIXED = "unknown", "mixed"


@dataclass(frozen=True)
class Entry:
    """One side, pair or woman: what is known of her, but for its score."""

    dataset: str
    pair_id: str  # "" for a woman
    woman: str  # hash of the data set and patient_id
    view: str  # "" for a woman
    laterality: str  # "" but for a side
    label: bool
    rows: tuple[ImageRow, ...]

    def group(self, column: str) -> str:
        """The value of a column that all its images share: "unknown" if empty, "mixed" if they do not share one."""
        values = {str(getattr(row, column, "")) or UNKNOWN for row in self.rows}
        return values.pop() if len(values) == 1 else MIXED


@dataclass(frozen=True)
class Sample:
    """All labelled entries of a level, and their scores by one model."""

    level: str
    entries: tuple[Entry, ...]
    scores: Floats  # [n], in the order of the entries

    @property
    def labels(self) -> Floats:
        return np.array([entry.label for entry in self.entries], dtype=np.float64)

    @property
    def women(self) -> list[str]:
        return [entry.woman for entry in self.entries]

    def where(self, column: str, value: str) -> "Sample":
        """The entries of one group."""
        kept = [at for at, entry in enumerate(self.entries) if entry.group(column) == value]
        return Sample(self.level, tuple(self.entries[at] for at in kept), self.scores[kept])

    def values(self, column: str) -> list[str]:
        """The groups that a column makes, sorted; those that are none come last."""
        found = {entry.group(column) for entry in self.entries}
        return sorted(found - {UNKNOWN, MIXED}) + sorted(found & {UNKNOWN, MIXED})


def check_groupings(columns: Sequence[str]) -> None:
    """InputError for a column that makes no groups."""
    if unknown := [column for column in columns if column not in GROUPINGS]:
        raise InputError(f"no groups by {', '.join(unknown)}: choose from {', '.join(GROUPINGS)}")


def samples(predictions: Predictions) -> dict[str, Sample]:
    """Sides, pairs and women with their truth. What has no label is left out of its level.

    - A side's score is p_abnormal, its label `abnormal`.
    - A pair's score is p_asymmetry; it is asymmetric when a side is abnormal, symmetric when both are known normal.
    - A breast's score is the mean of p_abnormal over its views, and a woman's that of her worse breast; she is
      positive when any of her sides is abnormal, negative when all are known normal.
    """
    sides: list[tuple[Entry, float]] = []
    pairs: list[tuple[Entry, float]] = []
    for at, pair in enumerate(predictions.pairs):
        woman = predictions.women[at]
        for side, row in enumerate((pair.right, pair.left)):
            if row.abnormal is not None:
                entry = Entry(row.dataset, row.pair_id, woman, row.view, row.laterality, row.abnormal, (row,))
                sides.append((entry, float(predictions.abnormal[at, side])))
        label = _any((pair.right, pair.left))
        if label is not None:
            entry = Entry(pair.dataset, pair.pair_id, woman, pair.view, "", label, (pair.right, pair.left))
            pairs.append((entry, float(predictions.asymmetry[at])))
    return {"side": _sample("side", sides), "pair": _sample("pair", pairs), "woman": _women(predictions)}


def _women(predictions: Predictions) -> Sample:
    pairs: dict[str, list[int]] = {}
    for at, woman in enumerate(predictions.women):
        pairs.setdefault(woman, []).append(at)
    found: list[tuple[Entry, float]] = []
    for woman, mine in pairs.items():
        rows = tuple(row for at in mine for row in (predictions.pairs[at].right, predictions.pairs[at].left))
        label = _any(rows)
        if label is not None:
            score = float(predictions.abnormal[mine].astype(np.float64).mean(axis=0).max())
            found.append((Entry(rows[0].dataset, "", woman, "", "", label, rows), score))
    return _sample("woman", found)


def _any(rows: Sequence[ImageRow]) -> bool | None:
    """True when one is abnormal, False when all are known not to be, None otherwise."""
    labels = [row.abnormal for row in rows]
    if any(labels):
        return True
    return None if None in labels else False


def _sample(level: str, found: Sequence[tuple[Entry, float]]) -> Sample:
    return Sample(level, tuple(entry for entry, _ in found), np.array([score for _, score in found], dtype=np.float64))
