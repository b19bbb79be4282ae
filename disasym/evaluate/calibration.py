"""Whether probabilities mean what they say: of those with score 0.3, are three in ten abnormal?

- Brier score: the mean of (p − y)² (Brier 1950), by scikit-learn.
- Gap: mean score − share of positives ("calibration in the large").
- ECE: Σ_b |n_b/n|·|mean score in b − share of positives in b| over BINS bins of equal width (Naeini et al. 2015, Guo et
  al. 2017, arXiv 1706.04599). It has no interval: a bootstrap of it is larger than itself, as chance alone parts score
  and share within a bin.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import brier_score_loss

from disasym.evaluate.discrimination import Draws, interval
from disasym.evaluate.levels import Sample
from disasym.metrics import Floats, Interval, bootstrap

BINS = 10
LEVELS = ("side", "pair")  # whose scores are probabilities; a woman's is the larger of two means


@dataclass(frozen=True)
class Bin:
    """Entries whose scores are alike."""

    low: float  # its scores are in [low, high); the last one has 1 too
    high: float
    entries: int
    score: float  # their mean
    share: float  # of positives among them


@dataclass(frozen=True)
class Calibration:
    """The figures of one level; a text says why there is none."""

    level: str
    entries: int
    positives: int
    women: int
    brier: Interval | str
    gap: Interval | str
    ece: float | None
    bins: tuple[Bin, ...]  # those that are not empty


def calibration(sample: Sample, draws: Draws) -> Calibration:
    """Every figure of a sample."""
    labels, scores = sample.labels, sample.scores
    counts = (len(labels), int(labels.sum()), len(set(sample.women)))
    if not len(labels):
        return Calibration(sample.level, *counts, "not defined: no entry", "not defined: no entry", None, ())
    each = np.stack([(scores - labels) ** 2, scores - labels], axis=1)  # [n, 2]

    def means(weights: Floats) -> Floats:
        found: Floats = weights @ each / weights.sum(axis=1, keepdims=True)
        return found

    drawn = bootstrap(sample.women, means, draws.bootstraps, draws.seed)
    bins = reliability(labels, scores)
    return Calibration(
        sample.level,
        *counts,
        brier=interval(float(brier_score_loss(labels, scores, pos_label=1)), drawn[:, 0]),
        gap=interval(float(each[:, 1].mean()), drawn[:, 1]),
        ece=expected_calibration_error(bins),
        bins=bins,
    )


def reliability(labels: Floats, scores: Floats, bins: int = BINS) -> tuple[Bin, ...]:
    """The bins of equal width that hold an entry. `labels` 0 or 1 and `scores` in [0, 1], float64 [n]."""
    place = np.minimum((scores * bins).astype(np.intp), bins - 1)
    found = []
    for at in np.unique(place):
        mine = place == at
        mean, share = float(scores[mine].mean()), float(labels[mine].mean())
        found.append(Bin(int(at) / bins, (int(at) + 1) / bins, int(mine.sum()), mean, share))
    return tuple(found)


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """ECE of `reliability`'s bins, in [0, 1]."""
    entries = sum(each.entries for each in bins)
    return sum(each.entries * abs(each.score - each.share) for each in bins) / entries
