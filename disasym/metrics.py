"""Area under the ROC curve, with a confidence interval that knows that a woman's images belong together.

The one AUC of the project: training picks its epoch by it and `disasym.evaluate` reports it. It needs no
scikit-learn, with which the tests hold it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LIMITS = (2.5, 97.5)  # percentiles of a 95 % interval
AT_ONCE = 2_000_000  # weights held at a time: 16 MB


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """AUC = (R₊ − n₊(n₊ + 1)/2) / (n₊·n₋), R₊ the rank sum of the positives, ties at their mean rank.

    The Mann–Whitney form (Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747). NaN where a class is absent.
    """
    positive = np.asarray(labels, dtype=bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(np.asarray(scores, dtype=np.float64))
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auc_interval(
    labels: npt.ArrayLike, scores: npt.ArrayLike, groups: Sequence[str], bootstraps: int = 1000, seed: int = 0
) -> Interval:
    """AUC with its 95 % percentile bootstrap interval, resampling `groups` (patients) and not images.

    Args:
        labels, scores, groups: one entry an image or pair; equal groups are drawn together.
    """
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    curve = Cumulative.of(labels, scores)
    drawn = bootstrap(groups, lambda weights: curve.weighted(weights).auc(), bootstraps, seed)
    low, high = np.nanpercentile(drawn, LIMITS)
    return Interval(auc(labels, scores), float(low), float(high))


def bootstrap(
    groups: Sequence[str], figure: Callable[[Floats], Floats], bootstraps: int = 1000, seed: int = 0
) -> Floats:
    """`figure` in each bootstrap replicate; the same groups and seed draw the same women, whatever the figure.

    A replicate draws as many groups as there are, with replacement (Efron & Tibshirani 1993, chapter 13). What it
    drew is a whole weight for each entry, so that all replicates of a figure can be computed at once.

    Args:
        groups: one entry an image, side or pair; equal groups are drawn together.
        figure: float64 [R, n] weights → float64 [R, ...], one row a replicate; NaN where it is not defined.
    """
    _, member_of = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member_of.max()) + 1
    rng = np.random.default_rng(seed)
    parts = []
    step = max(1, AT_ONCE // len(member_of))
    for start in range(0, bootstraps, step):
        drawn = rng.integers(count, size=(min(step, bootstraps - start), count))
        times = np.stack([np.bincount(row, minlength=count) for row in drawn])  # [R, groups]
        parts.append(figure(times[:, member_of].astype(np.float64)))
    return np.concatenate(parts)


@dataclass(frozen=True)
class Cumulative:
    """Scores in falling order, equal ones together: what lies at or above each threshold, under any weights."""

    order: Counts  # [n] of the scores, falling
    last: Counts  # [K] the last entry of each run of equal scores
    positive: npt.NDArray[np.bool_]  # [n] in that order

    @classmethod
    def of(cls, labels: npt.ArrayLike, scores: npt.ArrayLike) -> "Cumulative":
        """Sort once. `labels` bool [n], `scores` float [n]."""
        scores = np.asarray(scores, dtype=np.float64)
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
        return cls(order, last, np.asarray(labels, dtype=bool)[order])

    def weighted(self, weights: Floats) -> "Counted":
        """Weighted counts of positives and negatives at or above each threshold. `weights` float64 [R, n]."""
        ordered = weights[:, self.order]
        return Counted(
            np.cumsum(ordered * self.positive, axis=1)[:, self.last],
            np.cumsum(ordered * ~self.positive, axis=1)[:, self.last],
        )


@dataclass(frozen=True)
class Counted:
    """Positives and negatives at or above each threshold: float64 [R, K], one row a replicate."""

    above: Floats  # positives
    false: Floats  # negatives

    def auc(self) -> Floats:
        """[R]: the area by trapezia, which is `auc` under weights; NaN where a class is absent."""
        height, width = _from_zero(self.above), _from_zero(self.false)
        area = (np.diff(width) * (height[:, 1:] + height[:, :-1]) / 2).sum(axis=1)
        return _share(area, self.above[:, -1] * self.false[:, -1])

    def average_precision(self) -> Floats:
        """[R]: Σ (Rₖ − Rₖ₋₁)·Pₖ, without interpolation; NaN where there is no positive."""
        found = self.above + self.false
        precision = np.divide(self.above, found, out=np.zeros_like(found), where=found > 0)
        return _share((np.diff(_from_zero(self.above)) * precision).sum(axis=1), self.above[:, -1])

    def sensitivity_at(self, specificity: float) -> Floats:
        """[R]: the highest sensitivity at a threshold whose specificity is at least `specificity`; no interpolation."""
        negatives = self.false[:, -1]
        allowed = (negatives * (1 - specificity) + 1e-9 * negatives)[:, None]  # 0.1 · 10 is less than 1
        best = np.where(self.false <= allowed, self.above, 0).max(axis=1)
        return np.where(negatives > 0, _share(best, self.above[:, -1]), np.nan)


def _from_zero(counts: Floats) -> Floats:
    return np.concatenate([np.zeros((len(counts), 1)), counts], axis=1)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
