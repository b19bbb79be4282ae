"""What the integers of an int8 graph stand for: how wide a level is, which one is 0, and how far they may go."""

from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]
Integer = type[np.uint8] | type[np.int8]
# Largest |integer| of an int8 activation: two products with uint8, 2·255·64, stay below 2¹⁵ (docs/adr/0015).
NARROW = 64


@dataclass(frozen=True)
class Stored:
    """A tensor's integers: value = (integer − zero) · scale."""

    name: str
    scale: np.ndarray  # float32; [] or, along the last axis or that of channels, [C]
    zero: int
    dtype: Integer
    only: bool  # nobody may read the float tensor any more: it was the output of a fused kernel


def weight_scale(weight: np.ndarray, axis: int) -> np.ndarray:
    """One scale a channel; a channel of zeros gets 1, and none is so small that its bias overflows int32."""
    others = tuple(at for at in range(weight.ndim) if at != axis)
    largest = np.abs(weight).max(others)
    return np.where(largest > 0, np.maximum(largest, 1e-6) / 127, 1).astype(np.float32)


def span_of(x: Stored) -> Range:
    """What the integers of a tensor can hold."""
    low, high = (-NARROW, NARROW) if x.dtype is np.int8 else (0, 255)
    scale = float(x.scale.max())
    return (low - x.zero) * scale, (high - x.zero) * scale


def step_and_zero(span: Range, dtype: Integer) -> tuple[np.ndarray, int]:
    """How wide a level is and which one is 0. uint8: the whole span; int8: symmetric about 0, up to NARROW."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    if dtype is np.int8:
        return np.asarray(max(high, -low, 1e-8) / NARROW, np.float32), 0
    scale = max(high - low, 1e-8) / 255
    return np.asarray(scale, np.float32), round(-low / scale)
