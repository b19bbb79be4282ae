"""Area under the ROC curve, with a confidence interval that knows that a woman's images belong together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata


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
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(inverse == group) for group in range(inverse.max() + 1)]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(bootstraps):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        drawn.append(auc(labels[rows], scores[rows]))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(auc(labels, scores), float(low), float(high))
