"""Two models on the same pairs: is one AUC larger?"""

from dataclasses import dataclass

from disasym.evaluate.delong import DeLong, delong
from disasym.evaluate.discrimination import Draws, difference
from disasym.evaluate.levels import LEVELS, Sample, samples
from disasym.evaluate.predictions import Predictions
from disasym.metrics import Interval, auc


@dataclass(frozen=True)
class Compared:
    """AUC of the first model − AUC of the second, on the entries that both scored."""

    level: str
    entries: int
    positives: int
    women: int
    first: float | None  # AUC; None: not defined
    second: float | None
    bootstrap: Interval | str  # of the difference, over women; a text says why there is none
    delong: DeLong | str
    one_each: bool  # each woman has one entry, as DeLong's test assumes


def compare(first: Predictions, second: Predictions, draws: Draws) -> tuple[Compared, ...]:
    """Every level on the pairs that both models scored."""
    keys = {pair.key for pair in first.scored} & {pair.key for pair in second.scored}
    ours, theirs = samples(first.only(keys)), samples(second.only(keys))
    return tuple(_compared(ours[level], theirs[level], draws) for level in LEVELS)


def _compared(first: Sample, second: Sample, draws: Draws) -> Compared:
    labels = first.labels
    defined = 0 < labels.sum() < len(labels)
    return Compared(
        level=first.level,
        entries=len(labels),
        positives=int(labels.sum()),
        women=len(set(first.women)),
        first=auc(labels, first.scores) if defined else None,
        second=auc(labels, second.scores) if defined else None,
        bootstrap=difference(first, second, draws),
        delong=delong(labels, first.scores, second.scores),
        one_each=len(set(first.women)) == len(labels),
    )
