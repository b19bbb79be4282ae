"""How well a map shows where the lesions are: IoU, IoR, Dice, and mean TIoU and TIoR as in the paper's table 2.

P: pixels where the map is at least THRESHOLD; T: pixels of all lesions of that image. Both in the network's view.

    IoU = |P ∩ T| / |P ∪ T|    IoR = |P ∩ T| / |P|    Dice = 2·|P ∩ T| / (|P| + |T|)

IoR is the intersection over the detected region. An image is found at T when IoU > T (IoR > T); the mean over TIOU
(TIOR) of the share of images that are found is mean TIoU (TIoR), with the thresholds of Wang et al. 2017 (ChestX-ray8,
arXiv 1705.02315, section 4.2, which says IoBB). The paper leaves open what P and T are: docs/adr/0019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from disasym.errors import InputError
from disasym.evaluate.discrimination import Draws, interval
from disasym.evaluate.truth import Mask
from disasym.metrics import Floats, Interval, bootstrap

THRESHOLD = 0.5  # of a map in [0, 1] with maximum 1: half of its maximum
TIOU = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
TIOR = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Overlap:
    """How far a predicted region covers the lesions of one image."""

    iou: float
    ior: float
    dice: float


def overlap(predicted: Mask, truth: Mask) -> Overlap:
    """Compare two regions of one image; where nothing is predicted, or nothing in the view is true, all are 0.

    Args:
        predicted, truth: bool [H, W].

    Raises:
        InputError: their shapes differ.
    """
    if predicted.shape != truth.shape:
        raise InputError(f"a region of {predicted.shape} and lesions of {truth.shape}: bring both into one view")
    both, found, there = (int(mask.sum()) for mask in (predicted & truth, predicted, truth))
    if not found or not there:
        return Overlap(0.0, 0.0, 0.0)
    return Overlap(both / (found + there - both), both / found, 2 * both / (found + there))


@dataclass(frozen=True)
class Localisation:
    """Means over images with their 95 % intervals over women; a text says why there is none."""

    images: int
    women: int
    figures: dict[str, Interval | str]  # iou, ior, dice, mean_tiou, mean_tior, then tiou_0.1 … and tior_0.1 …


def localisation(overlaps: Sequence[Overlap], women: Sequence[str], draws: Draws) -> Localisation:
    """The figures of abnormal images whose lesions are annotated.

    Args:
        overlaps, women: one entry an image; equal women are drawn together.
    """
    values = _values(overlaps)
    figures: dict[str, Interval | str] = dict.fromkeys(values, "not defined: no abnormal image has an annotated lesion")
    if overlaps:
        table = np.stack(list(values.values()), axis=1)  # [n, figures]

        def means(weights: Floats) -> Floats:
            found: Floats = weights @ table / weights.sum(axis=1, keepdims=True)
            return found

        drawn = bootstrap(women, means, draws.bootstraps, draws.seed)
        for column, name in enumerate(values):
            figures[name] = interval(float(table[:, column].mean()), drawn[:, column])
    return Localisation(len(overlaps), len(set(women)), figures)


def _values(overlaps: Sequence[Overlap]) -> dict[str, Floats]:
    """Each figure of each image: float64 [n]."""
    iou, ior, dice = (np.array([getattr(each, name) for each in overlaps]) for name in ("iou", "ior", "dice"))
    found_iou = {f"tiou_{t:g}": (iou > t).astype(np.float64) for t in TIOU}
    found_ior = {f"tior_{t:g}": (ior > t).astype(np.float64) for t in TIOR}
    means = {
        "mean_tiou": np.mean(list(found_iou.values()), axis=0),
        "mean_tior": np.mean(list(found_ior.values()), axis=0),
    }
    return {"iou": iou, "ior": ior, "dice": dice, **means, **found_iou, **found_ior}
