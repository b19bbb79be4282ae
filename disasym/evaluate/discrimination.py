"""How well scores tell positives from negatives: AUC, average precision, sensitivity at a high specificity.

Values come from scikit-learn but for the AUC, which is the project's own (`disasym.metrics`); the replicates of their
intervals from `disasym.metrics.Cumulative`, which computes a thousand at a time and is held to scikit-learn by a test.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_curve

from disasym.evaluate.levels import Sample
from disasym.metrics import LIMITS, Counted, Cumulative, Floats, Interval, auc, bootstrap

SPECIFICITIES = (0.90, 0.95)
FEWEST = 10  # positives, and negatives, that a subgroup needs for a figure


@dataclass(frozen=True)
class Draws:
    """How intervals are made."""

    bootstraps: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Discrimination:
    """The figures of one level or subgroup; a text says why there is none."""

    entries: int
    positives: int
    women: int
    figures: dict[str, Interval | str]  # auc, average_precision, sensitivity_at_90, sensitivity_at_95


@dataclass(frozen=True)
class _Measure:
    value: Callable[[Floats, Floats], float]  # labels, scores
    replicates: Callable[[Counted], Floats]


def _sensitivity(specificity: float) -> _Measure:
    def value(labels: Floats, scores: Floats) -> float:
        false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
        return float(true[false <= 1 - specificity + 1e-9].max())

    return _Measure(value, lambda counted: counted.sensitivity_at(specificity))


def measures() -> dict[str, _Measure]:
    """The figures by name."""
    return {
        "auc": _Measure(auc, Counted.auc),
        "average_precision": _Measure(
            lambda labels, scores: float(average_precision_score(labels, scores)), Counted.average_precision
        ),
        **{f"sensitivity_at_{round(100 * s)}": _sensitivity(s) for s in SPECIFICITIES},
    }


def discrimination(sample: Sample, draws: Draws, fewest: int = 1) -> Discrimination:
    """Every figure of a sample with its interval, or why there is none.

    Args:
        fewest: positives and negatives that are needed each.
    """
    labels, scores, women = sample.labels, sample.scores, sample.women
    problem = undefined(labels, fewest)
    figures: dict[str, Interval | str] = dict.fromkeys(measures(), problem)
    if not problem:
        curve = Cumulative.of(labels, scores)

        def all_figures(weights: Floats) -> Floats:
            counted = curve.weighted(weights)
            return np.stack([measure.replicates(counted) for measure in measures().values()], axis=1)

        drawn = bootstrap(women, all_figures, draws.bootstraps, draws.seed)
        for column, (name, measure) in enumerate(measures().items()):
            figures[name] = interval(measure.value(labels, scores), drawn[:, column])
    return Discrimination(len(labels), int(labels.sum()), len(set(women)), figures)


def undefined(labels: Floats, fewest: int = 1) -> str:
    """Why nothing can be computed, "" if it can."""
    positives, negatives = int(labels.sum()), int(len(labels) - labels.sum())
    if not positives or not negatives:
        return f"not defined: {positives} positive and {negatives} negative"
    if positives < fewest or negatives < fewest:
        return f"not computed: {positives} positive and {negatives} negative, {fewest} of each are needed"
    return ""


def interval(value: float, drawn: Floats) -> Interval | str:
    """A figure with the 95 % percentile interval of its replicates; those that are not defined are left out."""
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < 2:
        return "not defined: no replicate of the bootstrap holds both classes"
    low, high = np.percentile(defined, LIMITS)
    return Interval(value, float(low), float(high))


def difference(first: Sample, second: Sample, draws: Draws) -> Interval | str:
    """AUC of `first` − AUC of `second` on the same entries, with its interval by bootstrap over women."""
    if problem := undefined(first.labels):
        return problem
    curves = [Cumulative.of(first.labels, sample.scores) for sample in (first, second)]
    areas = [auc(first.labels, sample.scores) for sample in (first, second)]

    def gap(weights: Floats) -> Floats:
        return curves[0].weighted(weights).auc() - curves[1].weighted(weights).auc()

    return interval(areas[0] - areas[1], bootstrap(first.women, gap, draws.bootstraps, draws.seed))
