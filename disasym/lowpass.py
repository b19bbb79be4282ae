"""A picture at 1/2^r of its size, by the low-pass filter of JPEG 2000's reversible 5-3 wavelet.

With x the samples of an axis, mirrored at its first and its last one (ITU-T T.800 annex F, equations F-9 and F-10):

    d[n] = x[2n+1] - floor((x[2n] + x[2n+2]) / 2)        s[n] = x[2n] + floor((d[n-1] + d[n] + 2) / 4)

A level keeps s, first along the columns, then along the rows. Of whole numbers it is bit for bit what a decoder of
lossless JPEG 2000 or HTJ2K gives at that size before it holds values to their range; of floats the same, not rounded.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 64  # rows at a time, which stay in the cache

Samples = npt.NDArray[Any]


def low_pass(values: Samples, reduction: int, bits: int = 16) -> Samples:
    """`values` [rows, columns], neither 0, at 1/2^reduction of their size, each side rounded up.

    Whole numbers, no two more than 2^bits apart, give int16 or int32, floats float32. At sharp edges the filter
    overshoots, so results can reach beyond the range of `values`.
    """
    span = 2.0**bits  # half as wide again with each pass, at most
    for _ in range(reduction):
        for halved in (_rows_halved, _columns_halved):
            kind = np.float32 if values.dtype.kind == "f" else np.int16 if 2 * span < 2**15 else np.int32
            values, span = halved(values, kind), 1.5 * span
    return values


def _rows_halved(values: Samples, kind: type[Any]) -> Samples:
    size, columns = values.shape
    halved = np.empty(((size + 1) // 2, columns), kind)
    for start in range(0, len(halved), BLOCK):
        stop = min(start + BLOCK, len(halved))
        even = values[_mirrored(2 * start - 2, 2 * stop + 1, size)]
        odd = values[_mirrored(2 * start - 1, 2 * stop, size)]
        halved[start:stop] = _filtered(even, odd, kind)
    return halved


def _columns_halved(values: Samples, kind: type[Any]) -> Samples:
    rows, size = values.shape
    halved = np.empty((rows, (size + 1) // 2), kind)
    even, odd = _mirrored(-2, 2 * halved.shape[1] + 1, size), _mirrored(-1, 2 * halved.shape[1], size)
    for start in range(0, rows, BLOCK):
        block = values[start : start + BLOCK]
        halved[start : start + BLOCK] = _filtered(block.take(even, 1).T, block.take(odd, 1).T, kind).T
    return halved


def _mirrored(first: int, stop: int, size: int) -> npt.NDArray[np.intp]:
    """Every second place from `first` on, folded back into an axis of `size` samples at its first and its last one."""
    period = max(1, 2 * (size - 1))
    places = np.arange(first, stop, 2) % period
    return np.minimum(places, period - places)


def _filtered(even: Samples, odd: Samples, kind: type[Any]) -> Samples:
    """s of n samples along the first axis, from the n + 2 even ones and the n + 1 odd ones in and around them."""
    even, odd = even.astype(kind, copy=False), odd.astype(kind, copy=False)
    if kind is np.float32:
        detail = odd - np.float32(0.5) * (even[:-1] + even[1:])
        floats: Samples = even[1:-1] + np.float32(0.25) * (detail[:-1] + detail[1:])
        return floats
    detail = odd - ((even[:-1] + even[1:]) >> 1)
    whole: Samples = even[1:-1] + ((detail[:-1] + detail[1:] + 2) >> 2)
    return whole
