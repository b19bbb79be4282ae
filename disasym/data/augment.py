"""Random zoom and crop, the same for both breasts of a pair (paper, section 3, implementation details).

Both sides get one transform: what differs between them afterwards differed before, so the asymmetry label stays
true. Views are never turned or flipped: the model may learn where the pectoral muscle and the nipple are. The two
sides are not swapped either, since the model is equivariant to that by construction.
"""

import numpy as np
import numpy.typing as npt

from disasym.errors import InputError
from disasym.spec import Array

ZOOM = (0.9, 1.15)  # output pixels per input pixel: women differ more than this, one woman's two exams differ less
SHIFT = 0.05  # of the height, up or down


def augment(
    views: Array,
    rng: np.random.Generator,
    zoom: tuple[float, float] = ZOOM,
    shift: float = SHIFT,
    gamma: float = 0.0,
) -> Array:
    """A randomly zoomed and vertically shifted copy of a pair.

    z ~ U(zoom), d ~ U(−shift, shift)·H; output pixel (y, x) takes the input at ((y − c − d) / z + c, x / z) with
    c = (H − 1) / 2: the chest wall stays at column 0, so that a zoom crops at the nipple's side only. Bilinear;
    a pixel is breast exactly when the nearest input pixel is, so the skin line gets no dim halo.

    Args:
        views: float32 [2, H, W] in [0, 1], background exactly 0.
        zoom, shift: ranges as above; (1, 1) and 0 change nothing.
        gamma: x → x^exp(g), g ~ U(−gamma, gamma), one g for both sides: exposure differs between exams, not between
            the breasts of one. 0, the default, leaves grey levels as they are. 0.2 is mild.

    Raises:
        InputError: views of another shape, a range that is empty or not positive.
    """
    if views.ndim != 3 or views.shape[0] != 2:
        raise InputError(f"augment takes one pair of views [2, H, W], got shape {list(views.shape)}")
    if not (0 < zoom[0] <= zoom[1] and shift >= 0 and gamma >= 0):
        raise InputError(f"zoom must be 0 < low ≤ high, shift and gamma ≥ 0, got {zoom}, {shift} and {gamma}")
    scale = rng.uniform(*zoom)
    offset = rng.uniform(-shift, shift) * views.shape[1]
    exponent = np.float32(np.exp(rng.uniform(-gamma, gamma)))
    moved = zoom_and_shift(views, scale, offset)
    return moved if gamma == 0 else moved**exponent


def zoom_and_shift(views: Array, zoom: float, shift: float) -> Array:
    """`augment` with z = zoom and d = shift pixels given."""
    height, width = views.shape[1:]
    middle = (height - 1) / 2
    y = (np.arange(height) - middle - shift) / zoom + middle
    x = np.arange(width) / zoom
    rows = _interpolate(views, y, axis=1)
    moved = _interpolate(rows, x, axis=2)
    tissue = _nearest(_nearest(views > 0, y, axis=1), x, axis=2)
    return np.where(tissue, np.clip(moved, 0, 1), np.float32(0))


def _interpolate(values: Array, at: npt.NDArray[np.float64], axis: int) -> Array:
    """Linear interpolation of `values` along `axis`; what lies outside is 0."""
    size = values.shape[axis]
    first = np.floor(at).astype(np.intp)
    weight = (at - first).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    below = np.where((first >= 0) & (first < size), 1 - weight, 0).astype(np.float32).reshape(shape)
    above = np.where((first >= -1) & (first < size - 1), weight, 0).astype(np.float32).reshape(shape)
    result = np.take(values, first.clip(0, size - 1), axis) * below
    result += np.take(values, (first + 1).clip(0, size - 1), axis) * above
    return result


def _nearest(mask: npt.NDArray[np.bool_], at: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.bool_]:
    """The nearest value along `axis`; what lies outside is False."""
    size = mask.shape[axis]
    index = np.floor(at + 0.5).astype(np.intp)
    shape = [1] * mask.ndim
    shape[axis] = -1
    inside = ((index >= 0) & (index < size)).reshape(shape)
    nearest: npt.NDArray[np.bool_] = np.take(mask, index.clip(0, size - 1), axis) & inside
    return nearest
