"""The parity gate: an exported model must give what eager PyTorch gives, on pairs, before its folder appears."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from disasym.engines.base import Engine
from disasym.errors import ExportError
from disasym.export.manifest import Parity
from disasym.spec import OUTPUTS, Array, Outputs

BATCH = 3  # the size above 1 that is run: odd, so that a graph that mixes pairs up does not get away with it


@dataclass(frozen=True)
class Tolerance:
    """Largest |Δ| accepted against eager, and why that much."""

    absolute: float
    reason: str


SCORE = Tolerance(1e-4, "float32 sums in another order over the blocks, then a sigmoid, whose slope is at most 1/4")
CAM = Tolerance(1e-3, "min–max scaling divides by the range of the map, which enlarges rounding")
IMAGE = Tolerance(1e-3, "a quarter of one grey level of an 8-bit display; the decoder sums over many terms")
TOLERANCES = {"asymmetry": SCORE, "abnormal": SCORE, "cam": CAM, "normal": IMAGE, "abnormality": IMAGE}


def gate(reference: Engine, exported: Engine, views: Array | None) -> Parity:
    """Run both engines on `views` (None: synthetic pairs), one by one and in batches, and compare every output.

    Raises:
        ExportError: an output is further from the reference than TOLERANCES allows.
        InputError: `views` does not fit the model.
    """
    source: Literal["real", "synthetic"] = "real"
    if views is None:
        source, views = "synthetic", synthetic_pairs(reference.info.height, reference.info.width)
    measured = measure(reference, exported, views)
    for name in OUTPUTS:
        allowed = TOLERANCES[name].absolute
        if not measured[name] <= allowed:  # written so that NaN fails too
            raise ExportError(
                f"the exported model differs from eager PyTorch: |Δ {name}| is {measured[name]:.3g} on {len(views)}"
                f" {source} pairs with {exported.name}, at most {allowed:g} is accepted; nothing was exported. Try"
                " the tool versions of constraints.txt"
            )
    return Parity(
        pairs=len(views),
        source=source,
        batches=(1, BATCH),
        measured={exported.name: measured},
        tolerance={name: TOLERANCES[name].absolute for name in OUTPUTS},
    )


def measure(reference: Engine, exported: Engine, views: Array) -> dict[str, float]:
    """Largest |Δ| of each output; the reference sees one pair at a time, the exported model batches of 1 and BATCH."""
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for start in range(0, len(views), BATCH):
        places = [place % len(views) for place in range(start, start + BATCH)]  # the first pairs again, to fill up
        together = exported.run(views[places])
        expected = {pair: reference.run(views[pair : pair + 1]) for pair in set(places)}
        for place, pair in enumerate(places):
            _take_worst(worst, together, place, expected[pair])
        for pair in set(places):
            _take_worst(worst, exported.run(views[pair : pair + 1]), 0, expected[pair])
    return worst


def _take_worst(worst: dict[str, float], found: Outputs, place: int, expected: Outputs) -> None:
    for name in OUTPUTS:
        delta = float(np.abs(getattr(found, name)[place] - getattr(expected, name)[0]).max())
        worst[name] = float(np.maximum(worst[name], delta))  # maximum keeps NaN


def synthetic_pairs(height: int, width: int, n: int = BATCH, seed: int = 0) -> Array:
    """Breast-like pairs for when no real ones are given: float32 [n, 2, H, W] in [0, 1], background exactly 0.

    A half ellipse at the chest wall, filled with smooth fields of several sizes; both sides share most of them, and
    some sides carry a bright spot. Deterministic in `seed`.
    """
    rng = np.random.default_rng(seed)
    views = np.zeros((n, 2, height, width), np.float32)
    for pair in views:
        shared = _field(rng, height, width)
        for side in pair:
            tissue = 0.8 * shared + 0.2 * _field(rng, height, width)
            if rng.random() < 0.5:
                tissue += 0.5 * _spot(rng, height, width)
            side[:] = np.clip(0.15 + 0.7 * tissue, 0, 1) * _breast(rng, height, width)
    return views


def _field(rng: np.random.Generator, height: int, width: int) -> Array:
    """A random field in [0, 1], the sum of noise smoothed over three lengths."""
    total = np.zeros((height, width))
    for cells in (4, 10, 30):
        noise = rng.random((cells + 1, cells + 1))
        total += ndimage.zoom(noise, (height / (cells + 1), width / (cells + 1)), order=1) / np.sqrt(cells)
    scaled: Array = ((total - total.min()) / np.ptp(total)).astype(np.float32)
    return scaled


def _breast(rng: np.random.Generator, height: int, width: int) -> Array:
    y, x = np.mgrid[0:height, 0:width]
    middle, half, depth = height * rng.uniform(0.45, 0.55), height * 0.45, width * rng.uniform(0.6, 0.95)
    inside: Array = (((y - middle) / half) ** 2 + (x / depth) ** 2 < 1).astype(np.float32)
    return inside


def _spot(rng: np.random.Generator, height: int, width: int) -> Array:
    y, x = np.mgrid[0:height, 0:width]
    row, column, size = height * rng.uniform(0.3, 0.7), width * rng.uniform(0.1, 0.5), width * rng.uniform(0.03, 0.1)
    spot: Array = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * size**2)).astype(np.float32)
    return spot
