"""Where a mass enhances in a contrast-subtracted mammogram (CDD-CESM), which has no annotation.

A heuristic for one purpose: tumours for synthesis, where a missed mass costs nothing and a wrong one costs little.
It is not a detector, and nothing is evaluated against it.
"""

import re
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from disasym.resample import resample_columns, resample_rows
from disasym.spec import Array

WORKING_HEIGHT = 256  # rows of the copy that is searched: masses span many pixels even there
RADII = (
    4.5,
    5.5,
    7.0,
    9.0,
    11.5,
    14.0,
)  # working pixels: 18 to 56 of 1024 rows; a gland that enhances as a whole is larger
RIM = 0.07  # of the height: skin, nipple, skin markers and the corners of the chest wall are no place for a mass
CLEAREST = 0.1  # least difference between the mass and the brightest of its surroundings, in the grey window
SATURATED = 0.9  # of the grey window, as a mean: a blown-out region has no texture left to learn from
MASS = re.compile(r"(?<!non )(?<!no )\bmass(es)?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Spot:
    """A lesion in a view's pixels: centre (pixel edges count, as in `Geometry`) and half axes."""

    y: float
    x: float
    half_height: float
    half_width: float


def names_a_mass(finding: str) -> bool:
    """Whether a radiologist's words name a mass, as opposed to "non mass enhancement" or "no mass"."""
    return MASS.search(finding) is not None


def enhancing_lesions(view: Array) -> tuple[Spot, ...]:
    """The clearest bright blob of a view float32 [H, W] (background 0), or none.

    At each radius r of RADII: d(p) = m(p) − max m(p + 2r·e) over eight directions e, with m the Gaussian mean over
    tissue with σ = r/√2. So a mass is brighter than what lies on every side of it; the edge of a gland that enhances
    as a whole, a band or a fold is not. The largest d wins that lies RIM·H inside the breast's outline, is at least
    CLEAREST and is not blown out.
    """
    scale = view.shape[0] / WORKING_HEIGHT
    columns = max(1, round(view.shape[1] / scale))
    small = resample_columns(resample_rows(view, 0, view.shape[0], WORKING_HEIGHT), 0, view.shape[1], columns)
    tissue = small > 0
    allowed = _depth(tissue) > RIM * WORKING_HEIGHT
    best: tuple[float, Spot] | None = None
    for radius in RADII:
        mean = _mean(small, tissue, radius / np.sqrt(2))
        contrast = np.where(allowed & (mean < SATURATED), mean - _brightest_around(mean, 2 * radius), -np.inf)
        y, x = np.unravel_index(int(np.argmax(contrast)), contrast.shape)
        value = float(contrast[y, x])
        if value >= CLEAREST and (best is None or value > best[0]):
            half = radius * scale
            best = (value, Spot((float(y) + 0.5) * scale, (float(x) + 0.5) * scale, half, half))
    return () if best is None else (best[1],)


def _depth(tissue: np.ndarray) -> Array:
    """Distance of each pixel from the breast's outline; the chest wall at column 0 counts as tissue beyond."""
    reach = int(RIM * WORKING_HEIGHT) + 2
    padded = np.pad(np.pad(tissue, ((1, 1), (0, 1))), ((0, 0), (reach, 0)), mode="edge")
    depth: Array = ndimage.distance_transform_edt(padded)[1:-1, reach:-1]
    return depth


def _brightest_around(mean: Array, distance: float) -> Array:
    """The largest of the eight values at `distance` from each pixel; float32 [h, w]."""
    angles = np.arange(8) * (np.pi / 4)
    offsets = np.rint(distance * np.stack([np.sin(angles), np.cos(angles)], axis=1)).astype(int)
    reach = int(np.abs(offsets).max())
    padded = np.pad(mean, reach, mode="edge")
    height, width = mean.shape
    shifted = [padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width] for dy, dx in offsets]
    brightest: Array = np.max(shifted, axis=0)
    return brightest


def _mean(values: Array, tissue: np.ndarray, sigma: float) -> Array:
    """Gaussian mean over tissue pixels only."""
    weight = ndimage.gaussian_filter(tissue.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(tissue, values, np.float32(0)), sigma)
    mean: Array = total / np.maximum(weight, np.float32(1e-6))
    return mean
