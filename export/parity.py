"""The parity gate: an exported model must give what eager PyTorch gives, on pairs, before its folder appears."""

from typing import Literal

import numpy as np
from scipy import ndimage

from disasym.engines.base import Engine
from disasym.errors import ExportError
from disasym.export.manifest import Parity
from disasym.export.tolerances import tolerance
from disasym.spec import Array, Outputs

BATCH = 3  # the size above 1 that is run: odd, so that a graph that mixes pairs up does not get away with it


def gate(reference: Engine, exported: Engine, views: Array | None) -> Parity:
    """`compare`, and refuse what is too far away.

    Raises:
        ExportError: an output is further from the reference than the table of tolerances allows.
        InputError: `views` does not fit the model.
    """
    found = compare(reference, exported, views)
    if beyond := found.beyond():
        name = beyond[0]
        raise ExportError(
            f"the exported model differs from eager PyTorch: |Δ {name}| is {found.measured[name]:.3g} on {found.pairs}"
            f" {found.source} pairs with {exported.name} ({exported.info.precision}), at most"
            f" {found.tolerance[name]:g} is accepted; nothing was exported. Try the tool versions of constraints.txt"
        )
    return found


def compare(reference: Engine, exported: Engine, views: Array | None) -> Parity:
    """Run both engines on `views` (None: synthetic pairs), one by one and in batches, and compare each output."""
    source: Literal["real", "synthetic"] = "real"
    if views is None:
        source, views = "synthetic", synthetic_pairs(reference.info.height, reference.info.width)
    batch = min(BATCH, exported.info.max_batch or BATCH)
    return Parity(
        pairs=len(views),
        source=source,
        batches=tuple(sorted({1, batch})),
        device=exported.info.device,
        measured=measure(reference, exported, views, batch),
        tolerance={name: tolerance(exported.info.precision, name) for name in exported.info.outputs},
    )


def measure(reference: Engine, exported: Engine, views: Array, batch: int = BATCH) -> dict[str, float]:
    """Largest |Δ| of each output; the reference sees one pair at a time, the exported model also `batch` at a time."""
    worst = dict.fromkeys(exported.info.outputs, 0.0)
    for start in range(0, len(views), batch):
        places = [place % len(views) for place in range(start, start + batch)]  # the first pairs again, to fill up
        together = exported.run(views[places])
        expected = {pair: reference.run(views[pair : pair + 1]) for pair in set(places)}
        for place, pair in enumerate(places):
            _take_worst(worst, together, place, expected[pair])
        for pair in set(places):
            _take_worst(worst, exported.run(views[pair : pair + 1]), 0, expected[pair])
    return worst


def _take_worst(worst: dict[str, float], found: Outputs, place: int, expected: Outputs) -> None:
    for name in worst:
        delta = float(np.abs(found.named()[name][place] - expected.named()[name][0]).max())
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
