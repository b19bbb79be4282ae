"""Exact resampling of an image by two sparse matrices: area average when shrinking, linear when enlarging."""

from functools import lru_cache

import numpy as np
from scipy import sparse

from disasym.spec import Array

ACROSS = 64  # rows or columns that are turned at a time: a cache holds them


def resample_rows(image: Array, start: float, stop: float, count: int) -> Array:
    """The rows from edge `start` to edge `stop` of `image` [h, w] as `count` rows: float32 [count, w].

    Where the edges lie beyond the image, its first and last rows go on.
    """
    first, last = max(0, int(np.floor(start))), min(int(np.ceil(stop)), len(image))
    weights = axis_weights(last - first, start - first, stop - first, count)
    rows: Array = weights @ image[first:last]
    return rows


def resample_columns(image: Array, start: float, stop: float, count: int) -> Array:
    """The columns from edge `start` to edge `stop` of `image` [h, w] as `count` columns: float32 [h, count]."""
    first, last = max(0, int(np.floor(start))), min(int(np.ceil(stop)), image.shape[1])
    return turned(resample_rows(turned(image[:, first:last]), start - first, stop - first, count))


def turned(image: Array) -> Array:
    """`image.T` in an array of its own: by blocks in half of the time."""
    rows, columns = image.shape
    result = np.empty((columns, rows), image.dtype)
    for at in range(0, rows, ACROSS):
        result[:, at : at + ACROSS] = image[at : at + ACROSS].T
    return result


@lru_cache(maxsize=64)  # films of one size have those of their copies in common
def axis_weights(size: int, start: float, stop: float, count: int) -> sparse.csr_matrix:
    """The matrix [count, size] that resamples an axis of `size` pixels; each of its rows sums to 1.

    Pixel i covers [i, i + 1). Output pixel j covers [start + j·s, start + (j + 1)·s) with s = (stop − start) / count.
    s ≥ 1: weight = overlap of the two / s, the exact area average. s < 1: linear interpolation at the output
    pixel's centre, constant beyond the outer pixels' centres.
    """
    step = (stop - start) / count
    if step >= 1.0:
        edges = start + step * np.arange(count + 1)
        left = np.floor(edges[:-1]).astype(np.intp)
        taps = np.arange(int(np.ceil(step)) + 1)
        columns = left[:, None] + taps  # [count, taps]
        overlap = np.minimum(columns + 1, edges[1:, None]) - np.maximum(columns, edges[:-1, None])
        weights = np.clip(overlap, 0.0, None)
    else:
        centre = np.clip(start + step * (np.arange(count) + 0.5) - 0.5, 0.0, size - 1.0)
        left = np.minimum(np.floor(centre).astype(np.intp), max(size - 2, 0))
        fraction = centre - left
        columns = left[:, None] + np.arange(2)
        weights = np.stack([1.0 - fraction, fraction], axis=1)
    columns, weights = np.clip(columns, 0, size - 1), weights / weights.sum(axis=1, keepdims=True)
    weights = weights.astype(np.float32)
    kept = weights != 0
    ends = np.concatenate([[0], np.cumsum(np.count_nonzero(kept, axis=1))])
    matrix = sparse.csr_matrix((weights[kept], columns[kept], ends), shape=(count, size))
    matrix.sum_duplicates()  # beyond the image its first or last pixel goes on
    return matrix
