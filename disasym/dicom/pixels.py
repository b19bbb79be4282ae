"""A DICOM file → its picture: float32 [rows, columns] in [0, 1], brighter = denser, padding 0."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from disasym.dicom.decode import Cells, decode, decode_reduced, deepest_reduction
from disasym.dicom.grey import Grey, grey_table, read_grey, stored_values
from disasym.dicom.matrix import frame_of, read_matrix
from disasym.dicom.reader import Skip, open_dicom, quiet
from disasym.errors import ImageError
from disasym.spec import Array

MOST = 1  # the largest reduction: at a quarter of the size scores moved by up to 0.0065 (docs/log.md)
BENT_OVERSAMPLING = 2  # pixels for each of the network's, along each axis, where the window bends or cuts off
STRAIGHT = (
    0.01  # of the range of grey: how far a straight window may be from a line, such as one without its last value
)
BLOCK = 1 << 16  # pixels looked up at a time: numpy widens an index to 64 bits, and these stay in the cache


@dataclass(frozen=True)
class Film:
    """One mammogram, not decoded yet: a `disasym.levels.Picture`. Holds the bytes of its frame, the file is closed.

    JPEG 2000 and HTJ2K are decoded at the resolution that is asked for; every other transfer syntax has one.
    """

    path: Path
    transfer_syntax: str
    data: bytes
    word_vr: bool
    grey: Grey
    deepest: int

    @property
    def oversampling(self) -> int:
        return BENT_OVERSAMPLING if bends(self.grey) else 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.grey.matrix.rows, self.grey.matrix.columns

    def read(self, reduction: int = 0) -> Array:
        """Decode: float32 [ceil(rows / 2^reduction), ceil(columns / 2^reduction)] in [0, 1], as `read_pixels`.

        Without a VOI rule a reduced picture has another grey scale than the whole one, by a positive affine change: of
        what range its values are is known only once all are decoded.

        Raises:
            ImageError: damaged; one sentence.
        """
        matrix = self.grey.matrix
        try:
            if reduction:
                cells = decode_reduced(self.transfer_syntax, self.data, matrix, reduction)
                return _looked_up(cells, grey_table(self.grey, np.ones(2**matrix.bits_stored, bool)), self.grey)
            return to_grey(decode(self.transfer_syntax, self.data, matrix, self.word_vr), self.grey)
        except ImageError as error:
            raise ImageError(f"{self.path}: {error}") from None


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
            deepest = min(MOST, deepest_reduction(file.transfer_syntax, data, matrix)) if averages(grey) else 0
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


def averages(grey: Grey) -> bool:
    """Whether stored values may be averaged before these rules are applied.

    Not where padding is black by rule and not by its value: an average of it and of its neighbours is neither.
    """
    if grey.padding is None:
        return True
    shown, stored = _without_padding(grey), stored_values(grey.matrix)
    padding = (stored >= grey.padding[0]) & (stored <= grey.padding[1])
    return grey.voi is not None and not shown[padding].any()  # without a VOI rule, it is left out of the range of grey


def bends(grey: Grey) -> bool:
    """Whether the grey of an average is not the average of the greys: SIGMOID, a table, a window that cuts off."""
    shown = _without_padding(grey)[np.argsort(stored_values(grey.matrix), kind="stable")]
    return bool(np.abs(shown - np.linspace(shown[0], shown[-1], len(shown))).max() > STRAIGHT)


def _without_padding(grey: Grey) -> Array:
    return grey_table(replace(grey, padding=None), np.ones(2**grey.matrix.bits_stored, bool))


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
