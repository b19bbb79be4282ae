"""Networks for tests, and pairs that fit them."""

import dataclasses
import functools

import disasym.bench.lively
from disasym.export.parity import synthetic_pairs
from disasym.model import PRESETS, DisAsymNet
from disasym.spec import Array

TINY = dataclasses.replace(
    PRESETS["small"], height=64, width=32, widths=(8, 8, 8, 16), blocks=1, heads=2, decoder=(8, 8, 8, 8, 8)
)


@functools.cache
def lively(preset: str, seed: int = 0) -> DisAsymNet:
    """A network in evaluation mode in which every part matters and whose outputs depend on the views.

    One network is shared by all tests: none may change it.
    """
    return disasym.bench.lively.lively(preset, seed)


def pairs_for(preset: str, count: int, seed: int = 0) -> Array:
    """Breast-like pairs that fit a preset, float32 [count, 2, H, W]."""
    config = PRESETS[preset]
    return synthetic_pairs(config.height, config.width, count, seed)
