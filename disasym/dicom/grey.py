"""Stored values → grey in [0, 1], as one table: modality LUT, VOI LUT, inversion and padding (PS3.3 C.11.1, C.11.2).

A stored value has at most 16 bits, so the whole chain is computed once for each of the 2^bits values, in float64, and
applied by look-up: exact, and without an intermediate copy of the image.

Order: stored → ModalityLUTSequence, or RescaleSlope·x + RescaleIntercept → the first item of VOILUTSequence, or the
first window by VOILUTFunction, or (neither) the range of values present → [0, 1]. MONOCHROME1 or PresentationLUTShape
INVERSE turns it round, once: the standard asks for both on the same image. Padding is 0, last.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from disasym.dicom.matrix import Matrix
from disasym.dicom.tags import Tags, Words
from disasym.errors import ImageError
from disasym.spec import Array

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LookUp:
    """One LUT item: `first` is the input that maps to `entries[0]`; inputs outside take the first or last entry."""

    first: int
    entries: Doubles
    bits: int

    def __call__(self, values: Doubles) -> Doubles:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        result: Doubles = self.entries[index]
        return result


@dataclass(frozen=True)
class Window:
    """A VOI window (PS3.3 C.11.2.1.2, C.11.2.1.3)."""

    center: float
    width: float
    function: str  # LINEAR, LINEAR_EXACT or SIGMOID


@dataclass(frozen=True)
class Grey:
    """The grey-scale rules of one image."""

    matrix: Matrix
    modality: LookUp | None
    slope: float
    intercept: float
    voi: LookUp | Window | None
    inverted: bool
    padding: tuple[int, int] | None  # inclusive range of stored values


def read_grey(tags: Tags, matrix: Matrix) -> Grey:
    """Read the grey-scale rules.

    Raises:
        ImageError: a rule that cannot be followed: a window without width, an unknown function, a damaged LUT.
    """
    slope = tags.number("RescaleSlope", 1.0)
    if slope == 0:
        raise ImageError("RescaleSlope is 0: every pixel would be equal")
    modality = _look_up(tags, "ModalityLUTSequence", signed=matrix.signed)
    intercept = tags.number("RescaleIntercept", 0.0)
    low = -(2.0 ** (matrix.bits_stored - 1)) if matrix.signed else 0.0
    below_zero = modality is None and min(slope * low, slope * (low + 2.0**matrix.bits_stored)) + intercept < 0
    return Grey(
        matrix=matrix,
        modality=modality,
        slope=slope,
        intercept=intercept,
        voi=_look_up(tags, "VOILUTSequence", signed=below_zero) or _window(tags),
        inverted=matrix.monochrome1 or tags.first("PresentationLUTShape") == "INVERSE",
        padding=_padding(tags, matrix),
    )


def grey_table(grey: Grey, present: Mask) -> Array:
    """The grey of every stored value: float32 [2^BitsStored], index = the stored bits read as unsigned.

    `present`: bool [2^BitsStored], which values occur in the image; used only where the file has no VOI rule.
    """
    stored = stored_values(grey.matrix)
    padding = np.zeros(len(stored), bool)
    if grey.padding:
        padding = (stored >= grey.padding[0]) & (stored <= grey.padding[1])
    values = grey.modality(stored) if grey.modality else grey.slope * stored + grey.intercept
    if isinstance(grey.voi, Window):
        table = _apply_window(values, grey.voi, grey.inverted)
    elif grey.voi:
        table = grey.voi(values) / (2.0**grey.voi.bits - 1)
        table = 1 - table if grey.inverted else table
    else:
        table = _apply_range(values, present & ~padding, grey.inverted)
    table[padding] = 0
    return np.clip(table, 0, 1).astype(np.float32)


def stored_values(matrix: Matrix) -> Doubles:
    """The number that each pattern of BitsStored bits stands for: unsigned, or two's complement."""
    values = np.arange(2**matrix.bits_stored, dtype=np.float64)
    if matrix.signed:
        values[len(values) // 2 :] -= len(values)
    return values


def _apply_window(x: Doubles, window: Window, inverted: bool) -> Doubles:
    """PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT), C.11.2.1.3.1 (SIGMOID), for output range [0, 1]."""
    c, w = window.center, window.width
    if window.function == "SIGMOID":
        sign = 1.0 if inverted else -1.0
        return 1 / (1 + np.exp(np.clip(sign * 4 * (x - c) / w, -700, 700)))
    if window.function == "LINEAR":
        c, w = c - 0.5, w - 1
    return _ramp(x, c - w / 2, c + w / 2, inverted)


def _apply_range(x: Doubles, present: Mask, inverted: bool) -> Doubles:
    """Without a VOI rule: the lowest value present → 0, the highest → 1."""
    if not present.any():
        return np.zeros_like(x)
    return _ramp(x, float(x[present].min()), float(x[present].max()), inverted)


def _ramp(x: Doubles, low: float, high: float, inverted: bool) -> Doubles:
    """0 at or below `low`, 1 above `high`, linear between; computed from the other end when inverted.

    So a MONOCHROME1 copy gives the same bits as its original, not 1 − (1 − y).
    """
    if low == high:
        return (x <= low if inverted else x > low).astype(np.float64)
    ramp = (high - x if inverted else x - low) / (high - low)
    return np.clip(ramp, 0, 1)


def _window(tags: Tags) -> Window | None:
    centers, widths = tags.numbers("WindowCenter"), tags.numbers("WindowWidth")
    if not centers and not widths:
        return None
    if not centers or not widths:
        raise ImageError("the VOI window has a centre or a width, not both: the grey scale is undefined")
    function = tags.first("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ImageError("VOILUTFunction is none of LINEAR, LINEAR_EXACT, SIGMOID")
    if widths[0] < 1 if function == "LINEAR" else widths[0] <= 0:
        raise ImageError(f"WindowWidth {widths[0]:g} is too small for {function}")
    return Window(centers[0], widths[0], function)


def _look_up(tags: Tags, keyword: str, signed: bool) -> LookUp | None:
    """The first item of a LUT sequence (PS3.3 C.11.1.1.1, C.11.2.1.1)."""
    items = tags.items(keyword)
    if not items:
        return None
    descriptor, data = items[0].words("LUTDescriptor"), items[0].words("LUTData")
    if descriptor is None or data is None or len(descriptor.data) != 6:
        raise ImageError(f"damaged: {keyword} has no LUTDescriptor of three values, or no LUTData")
    count, first, bits = descriptor.unsigned()
    count = count or 65536
    if descriptor.vr == "SS" or (descriptor.vr != "US" and signed):
        first -= 65536 if first >= 32768 else 0
    entries = _entries(data, count)
    if not 8 <= bits <= 16 or len(entries) != count:
        raise ImageError(f"damaged: {keyword} declares {count} entries of {bits} bits and holds {len(data.data)} bytes")
    return LookUp(first, entries, bits)


def _entries(data: Words, count: int) -> Doubles:
    if len(data.data) in (count, count + count % 2):  # 8-bit entries, one a byte
        return np.frombuffer(data.data, np.uint8, count).astype(np.float64)
    return np.array(data.unsigned(), np.float64)


def _padding(tags: Tags, matrix: Matrix) -> tuple[int, int] | None:
    """PixelPaddingValue to PixelPaddingRangeLimit, inclusive, in either order (PS3.3 C.7.5.1.1.2)."""
    value, limit = tags.integer("PixelPaddingValue"), tags.integer("PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [_as_stored(word, matrix) for word in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _as_stored(word: int, matrix: Matrix) -> int:
    """A 16-bit US or SS word as a stored value."""
    return word - 65536 if matrix.signed and word >= 32768 else word
