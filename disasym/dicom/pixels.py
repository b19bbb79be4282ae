"""A DICOM file → its picture: float32 [rows, columns] in [0, 1], brighter = denser, padding 0."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from disasym.dicom.decode import Cells, decode
from disasym.dicom.grey import Grey, grey_table, read_grey
from disasym.dicom.matrix import read_matrix
from disasym.dicom.reader import Skip, open_dicom, quiet
from disasym.errors import ImageError
from disasym.spec import Array

BLOCK = 1 << 20  # pixels looked up at a time: numpy widens an index to 64 bits


@dataclass(frozen=True)
class _Frame:
    transfer_syntax: str
    data: bytes
    word_vr: bool
    grey: Grey


def read_pixels(path: Path) -> Array:
    """Decode one mammogram.

    Returns float32 [rows, columns] in [0, 1] after modality LUT, VOI LUT and inversion, in the order and by the
    formulas of `grey.py`; the orientation is that of the file.

    Raises:
        ImageError: not a single grey DICOM image, damaged, contradictory or larger than the limits; one sentence.
    """
    try:
        frame = _read_frame(path)
        cells = decode(frame.transfer_syntax, frame.data, frame.grey.matrix, frame.word_vr)
    except Skip as skip:
        raise ImageError(f"{path}: {skip.reason}") from None
    except ImageError as error:
        raise ImageError(_with_path(path, error)) from None
    return to_grey(cells, frame.grey)


def to_grey(cells: Cells, grey: Grey) -> Array:
    """Apply the grey-scale rules to stored cells [rows, columns] of any size: float32 of the same shape."""
    shift = grey.matrix.high_bit + 1 - grey.matrix.bits_stored
    mask = np.uint16(2**grey.matrix.bits_stored - 1)  # bits outside BitsStored may hold an overlay, or anything
    flat = cells.reshape(-1)
    present = np.zeros(2**grey.matrix.bits_stored, bool)
    if grey.voi is None:
        for start in range(0, len(flat), BLOCK):
            present[_index(flat[start : start + BLOCK], shift, mask)] = True
    table = grey_table(grey, present)
    out = np.empty(len(flat), np.float32)
    for start in range(0, len(flat), BLOCK):
        out[start : start + BLOCK] = table[_index(flat[start : start + BLOCK], shift, mask)]
    return out.reshape(cells.shape)


def _index(cells: Cells, shift: int, mask: np.uint16) -> npt.NDArray[np.intp]:
    return ((cells >> shift) & mask).astype(np.intp)


def _read_frame(path: Path) -> _Frame:
    with open_dicom(path) as file:
        with quiet():
            matrix = read_matrix(file)
            grey = read_grey(file.tags, matrix)
        pixels = file.locate_pixels()
        return _Frame(file.transfer_syntax, file.read_pixels(pixels), pixels.word_vr, grey)


def _with_path(path: Path, error: ImageError) -> str:
    message = str(error)
    return message if message.startswith(f"{path}: ") else f"{path}: {message}"
