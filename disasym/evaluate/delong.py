"""DeLong's test: is one AUC larger than another on the same women?

DeLong, DeLong & Clarke-Pearson 1988 (doi:10.2307/2531595), in O(n log n) by mid-ranks as in Sun & Xu 2014
(doi:10.1109/LSP.2014.2337313). It takes the entries for independent, which the sides and pairs of one woman are not:
see docs/evaluate.md.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from disasym.metrics import Floats


@dataclass(frozen=True)
class DeLong:
    """Two AUCs on the same entries, and what their difference may be by chance."""

    difference: float  # first − second
    low: float  # of its 95 % interval
    high: float
    standard_error: float
    z: float
    p: float  # two-sided


def delong(labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> DeLong | str:
    """Compare two sets of scores of the same entries.

    Args:
        labels, first, second: one entry a side, pair or woman.

    Returns:
        The test, or in words why it is not defined.
    """
    positive = np.asarray(labels, dtype=bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if m < 2 or n < 2:
        return f"not defined: needs 2 positives and 2 negatives, there are {m} and {n}"
    scores = np.array([first, second], dtype=np.float64)
    of_positive, of_negative = components(positive, scores)
    areas = of_positive.mean(axis=1)
    covariance = np.cov(of_positive) / m + np.cov(of_negative) / n
    contrast = np.array([1.0, -1.0])
    difference = float(contrast @ areas)
    variance = float(contrast @ covariance @ contrast)
    if variance <= 1e-15:  # both rank every entry alike, but for rounding
        if abs(difference) > 1e-9:
            return "not defined: the variance of the difference is 0"
        return DeLong(0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    error = variance**0.5
    reach, z = float(norm.ppf(0.975)) * error, difference / error
    return DeLong(difference, difference - reach, difference + reach, error, z, float(2 * norm.sf(abs(z))))


def components(positive: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Structural components V₁₀ [k, m] and V₀₁ [k, n] of k sets of scores [k, m + n].

    V₁₀(i) = mean over negatives j of ψ(xᵢ, yⱼ) = (T(xᵢ) − T_x(xᵢ)) / n, V₀₁(j) = 1 − (T(yⱼ) − T_y(yⱼ)) / m, with
    ψ = 1, ½, 0 for x > y, x = y, x < y, T the mid-rank among all entries, T_x and T_y those within one class. Either
    has the AUC as its mean.
    """
    x, y = scores[:, positive], scores[:, ~positive]
    ranks = rankdata(scores, axis=1)
    of_positive = (ranks[:, positive] - rankdata(x, axis=1)) / y.shape[1]
    of_negative = 1 - (ranks[:, ~positive] - rankdata(y, axis=1)) / x.shape[1]
    return of_positive, of_negative
