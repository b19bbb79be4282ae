"""FROC: the share of lesions that are found, against false marks on an image (Bunch et al. 1978).

A mark is a peak of the heat map: the hottest place on the breast of a cell of the CAM that is not cooler than its eight
neighbours; its score is the heat there. A mark hits a target when it lies in it or at most REACH pixels from it in the
network's view, half a cell: the map cannot tell places that are nearer. Several marks that hit one target find it once,
with the largest score, and none of them is false. A mark that hits nothing is false. The images are both breasts of
every pair: normal ones, and abnormal ones whose lesions are annotated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from disasym.evaluate.discrimination import Draws, interval
from disasym.evaluate.truth import NEIGHBOURS, Truth
from disasym.metrics import Cumulative, Floats, Interval, bootstrap
from disasym.spec import STRIDE, Array

REACH = STRIDE / 2  # pixels of the network's view
RATES = (0.1, 0.25, 0.5, 1.0, 2.0)  # false marks on an image at which the sensitivity is reported


@dataclass(frozen=True)
class Mark:
    """One peak of a heat map."""

    row: float  # of its pixel's centre, in the network's view
    column: float
    score: float


@dataclass(frozen=True)
class Marked:
    """The marks of one image, compared with its lesions."""

    woman: str
    found: tuple[float, ...]  # of each target that a mark hits: the score of the best one
    missed: int  # targets that no mark hits
    false: tuple[float, ...]  # scores of the marks that hit nothing


@dataclass(frozen=True, eq=False)
class Froc:
    """The curve of all images and its sensitivity at RATES; a text says why there is none."""

    images: int
    lesions: int
    women: int
    rates: Floats  # false marks on an image, rising
    sensitivities: Floats  # share of the lesions that are found, rising
    figures: dict[str, Interval | str]  # sensitivity_at_0.1, …


def peaks(cam: Array, heat: Array) -> tuple[Mark, ...]:
    """The marks of one image, highest first; cells that are equally hot side by side have one.

    Args:
        cam: float32 [H/32, W/32] in [0, 1]. Peaks are looked for here, as enlarging it makes small ones of its own.
        heat: float32 [H, W] in [0, 1], the same enlarged, 0 outside of the breast.
    """
    tops = (cam > 0) & (cam >= ndimage.maximum_filter(cam, size=3))
    labels, count = ndimage.label(tops, structure=NEIGHBOURS)
    found = []
    for number in range(1, count + 1):
        here = np.kron(labels == number, np.ones((STRIDE, STRIDE), np.bool_))
        score = float(heat[here].max())
        if score > 0:
            points = np.argwhere(here & (heat == score))
            row, column = points[np.square(points - points.mean(axis=0)).sum(axis=1).argmin()]  # of a flat top
            found.append(Mark(float(row) + 0.5, float(column) + 0.5, score))
    return tuple(sorted(found, key=lambda mark: (-mark.score, mark.row, mark.column)))


def marked(woman: str, marks: Sequence[Mark], truth: Truth) -> Marked:
    """Which targets the marks of one image hit, and which marks hit nothing."""
    labels, count = truth.targets()
    near = np.zeros((len(marks), count), np.bool_)
    for target, (rows, columns) in ndimage.value_indices(labels, ignore_value=0).items() if count else ():
        for at, mark in enumerate(marks):
            near[at, target - 1] = np.hypot(rows + 0.5 - mark.row, columns + 0.5 - mark.column).min() <= REACH
    scores = np.array([mark.score for mark in marks])
    best = [float(scores[near[:, target]].max()) for target in range(count) if near[:, target].any()]
    false = tuple(mark.score for mark, hits in zip(marks, near, strict=True) if not hits.any())
    return Marked(woman, tuple(best), count - len(best) + truth.outside, false)


def froc(images: Sequence[Marked], draws: Draws) -> Froc:
    """The curve of these images, and its sensitivities with intervals over women."""
    lesions = np.array([len(image.found) + image.missed for image in images], np.float64)
    women = [image.woman for image in images]
    figures: dict[str, Interval | str] = {
        f"sensitivity_at_{rate:g}": "not defined: no annotated lesion" for rate in RATES
    }
    rates = sensitivities = np.zeros(1)
    if lesions.sum():
        curve = _Curve.of(images, lesions)
        whole = curve.at(np.ones((1, len(images))))
        rates, sensitivities = whole[0][0], whole[1][0]
        drawn = bootstrap(women, lambda weights: _sensitivity(*curve.at(weights)), draws.bootstraps, draws.seed)
        values = _sensitivity(*whole)[0]
        figures = {name: interval(float(values[at]), drawn[:, at]) for at, name in enumerate(figures)}
    return Froc(len(images), int(lesions.sum()), len(set(women)), rates, sensitivities, figures)


@dataclass(frozen=True, eq=False)
class _Curve:
    """Found lesions and false marks by falling score, and the image that each belongs to."""

    cumulative: Cumulative | None  # None: no mark at all
    image_of: np.ndarray
    lesions: Floats  # [n] on each image

    @classmethod
    def of(cls, images: Sequence[Marked], lesions: Floats) -> "_Curve":
        listed = [(score, True, at) for at, image in enumerate(images) for score in image.found]
        listed += [(score, False, at) for at, image in enumerate(images) for score in image.false]
        scores, hits, places = zip(*listed, strict=True) if listed else ((), (), ())
        cumulative = Cumulative.of(np.array(hits), np.array(scores)) if listed else None
        return cls(cumulative, np.array(places, np.intp), lesions)

    def at(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weights of the images [R, n] → rates and sensitivities [R, K]; NaN where there is no lesion."""
        start = np.zeros((len(weights), 1))  # no mark at all
        above = false = start
        if self.cumulative is not None:
            counted = self.cumulative.weighted(weights[:, self.image_of])
            above, false = (np.concatenate([start, part], axis=1) for part in (counted.above, counted.false))
        lesions = (weights @ self.lesions)[:, None]
        share = np.divide(above, lesions, out=np.full_like(above, np.nan), where=lesions > 0)
        return false / weights.sum(axis=1, keepdims=True), share


def _sensitivity(rates: Floats, sensitivities: Floats) -> Floats:
    """[R, len(RATES)]: the highest at a threshold with at most that many false marks on an image; no interpolation."""
    allowed = [np.where(rates <= rate + 1e-9, sensitivities, 0).max(axis=1) for rate in RATES]
    defined = ~np.isnan(sensitivities).any(axis=1, keepdims=True)
    return np.where(defined, np.stack(allowed, axis=1), np.nan)
