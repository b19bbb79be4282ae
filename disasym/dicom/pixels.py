"""A DICOM file → its picture: float32 [rows, columns] in [0, 1], brighter = denser, padding 0."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from disasym.dicom.decode import Cells, decode, decode_reduced, deepest_reduction, reduced
from disasym.dicom.grey import Grey, grey_table, read_grey, stored_values
from disasym.dicom.matrix import frame_of, read_matrix
from disasym.dicom.reader import Skip, open_dicom, quiet
from disasym.errors import ImageError
from disasym.levels import Whole
from disasym.spec import Array

STRAIGHT = (
    0.01  # of the range of grey: how far a straight window may be from a line, such as one without its last value
)
BLOCK = 1 << 16  # pixels looked up at a time: numpy widens an index to 64 bits, and these stay in the cache


@dataclass(frozen=True)
class Film:
    """One mammogram, not decoded yet: a `disasym.levels.Picture`. Holds the bytes of its frame, the file is closed."""

    path: Path
    transfer_syntax: str
    data: bytes
    word_vr: bool
    grey: Grey
    deepest: int  # the reduction up to which the stream itself holds what is asked for; no picture depends on it

    @property
    def shape(self) -> tuple[int, int]:
        return self.grey.matrix.rows, self.grey.matrix.columns

    def read(self, reduction: int = 0) -> Array:
        """Decode: float32 in [0, 1] as `read_pixels`, [ceil(rows / 2^reduction), ceil(columns / 2^reduction)].

        A reduced picture is the low pass of the greys (`disasym.lowpass`). Where these are a straight line of the
        stored values, it is taken of the stored values instead. Lossless JPEG 2000 holds just these at that size: the
        same cells, whether decoded whole or not. Without a VOI rule the line is another one than in the whole picture,
        as the range of its values is known only once all are decoded.

        Raises:
            ImageError: damaged; one sentence. Damage in what is not needed for this size stays unseen.
        """
        matrix = self.grey.matrix
        try:
            if not reduction:
                return to_grey(self._cells, self.grey)
            if not straight(self.grey):
                return Whole(to_grey(self._cells, self.grey)).read(reduction)
            if reduction <= self.deepest:
                cells = decode_reduced(self.transfer_syntax, self.data, matrix, reduction)
            else:
                cells = reduced(self._cells, matrix, reduction)
            return _looked_up(cells, grey_table(self.grey, np.ones(2**matrix.bits_stored, bool)), self.grey)
        except ImageError as error:
            raise ImageError(f"{self.path}: {error}") from None

    @cached_property
    def _cells(self) -> Cells:
        """All of them; kept, as a small crop asks for a finer level."""
        return decode(self.transfer_syntax, self.data, self.grey.matrix, self.word_vr)


def open_film(path: Path) -> Film:
    """Read what is needed to decode a mammogram at any resolution that it holds.

    Raises:
        ImageError: not a single grey DICOM image, damaged, contradictory or larger than the limits; one sentence.
    """
    try:
        with open_dicom(path) as file:
            with quiet():
                matrix = read_matrix(file)
                grey = read_grey(file.tags, matrix)
            pixels = frame_of(file, matrix)
            data = file.read_pixels(pixels)
            deepest = deepest_reduction(file.transfer_syntax, data, matrix)
            return Film(path, file.transfer_syntax, data, pixels.word_vr, grey, deepest)
    except Skip as skip:
        raise ImageError(f"{path}: {skip.reason}") from None


def read_pixels(path: Path) -> Array:
    """Decode one mammogram, whole.

    Returns float32 [rows, columns] in [0, 1] after modality LUT, VOI LUT and inversion, in the order and by the
    formulas of `grey.py`; the orientation is that of the file.

    Raises:
        ImageError: as `open_film` and `Film.read`.
    """
    return open_film(path).read()


def straight(grey: Grey) -> bool:
    """Whether the grey of an average of stored values is the average of their greys.

    Not with SIGMOID, a table that bends or a window that cuts off; nor where padding is black by rule and not by its
    value, or left out of the range of values that stands for a missing VOI rule.
    """
    stored = stored_values(grey.matrix)
    shown = grey_table(replace(grey, padding=None), np.ones(len(stored), bool))
    if grey.padding is not None:
        padding = (stored >= grey.padding[0]) & (stored <= grey.padding[1])
        if grey.voi is None or shown[padding].any():
            return False
    first, last = stored.argmin(), stored.argmax()
    line = np.interp(stored, stored[[first, last]], shown[[first, last]])
    return bool(np.abs(shown - line).max() <= STRAIGHT)


def to_grey(cells: Cells, grey: Grey) -> Array:
    """Apply the grey-scale rules to stored cells [rows, columns] of any size: float32 of the same shape."""
    present = np.ones(2**grey.matrix.bits_stored, bool) if grey.voi else _present(cells, grey)
    return _looked_up(cells, grey_table(grey, present), grey)


def _looked_up(cells: Cells, table: Array, grey: Grey) -> Array:
    """The grey of each cell; the table is spread over all patterns of a cell first, so that a pixel is one look-up."""
    spread = table[_stored_bits(np.arange(2 ** (8 * cells.itemsize), dtype=np.uint32), grey)]
    flat, out = cells.reshape(-1), np.empty(cells.size, np.float32)
    for start in range(0, len(flat), BLOCK):
        np.take(spread, flat[start : start + BLOCK].astype(np.intp), out=out[start : start + BLOCK], mode="clip")
    return out.reshape(cells.shape)


def _present(cells: Cells, grey: Grey) -> npt.NDArray[np.bool_]:
    """Which stored values occur: bool [2^BitsStored]."""
    matrix = grey.matrix
    present = np.zeros(2**matrix.bits_stored, bool)
    if not (matrix.signed or grey.modality or grey.padding or matrix.high_bit != matrix.bits_stored - 1):
        low, high = cells.min(), cells.max()
        if high < len(present):  # the range is all that a rule without LUT and padding asks for
            present[[low, high]] = True
            return present
    seen = np.zeros(2 ** (8 * cells.itemsize), bool)
    flat = cells.reshape(-1)
    for start in range(0, len(flat), BLOCK):
        seen[flat[start : start + BLOCK].astype(np.intp)] = True
    present[_stored_bits(np.flatnonzero(seen).astype(np.uint32), grey)] = True
    return present


def _stored_bits(patterns: npt.NDArray[np.uint32], grey: Grey) -> npt.NDArray[np.intp]:
    """Bits outside of BitsStored may hold an overlay, or anything."""
    matrix = grey.matrix
    shifted = patterns >> np.uint32(matrix.high_bit + 1 - matrix.bits_stored)
    return (shifted & np.uint32(2**matrix.bits_stored - 1)).astype(np.intp)
