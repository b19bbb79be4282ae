"""A picture that is read at 1/2^r of its size, and how its pixels lie on those of the whole picture.

Level r is what JPEG 2000 keeps of a picture (`lowpass.py`): every 2^r-th sample of a low-pass filter that is
symmetric around that sample. So pixel k of an axis is centred on pixel 2^r·k of the whole picture, not on the middle of
2^r pixels as an average would be. Taking one for the other would move the picture by (2^r − 1)/2 pixels.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from disasym.lowpass import low_pass
from disasym.resample import resample_columns, resample_rows
from disasym.spec import Array


class Picture(Protocol):
    """A picture that is read only when it is asked for, and no finer than it is asked for."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the whole picture."""

    def read(self, reduction: int) -> Array:
        """float32 [ceil(rows / 2^reduction), ceil(columns / 2^reduction)]. ImageError where it cannot be decoded.

        However it is decoded: the low-pass picture of all its grey levels, but for rounding.
        """


@dataclass(frozen=True)
class Whole:
    """A picture that is in memory already."""

    pixels: Array  # float32 [rows, columns]

    @property
    def shape(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def read(self, reduction: int) -> Array:
        """Held to the picture's own range, beyond which the filter overshoots at sharp edges."""
        if reduction == 0:
            return self.pixels
        grey: Array = low_pass(self.pixels.astype(np.float32, copy=False), reduction)
        return grey.clip(self.pixels.min(), self.pixels.max(), out=grey)


@dataclass(frozen=True)
class Level:
    """One resolution of a picture. All coordinates are edges of pixels of the whole picture."""

    pixels: Array
    shape: tuple[int, int]  # rows and columns of the whole picture
    reduction: int

    def rows(self, start: float, stop: float, count: int) -> Array:
        """The rows from `start` to `stop` as `count` rows: float32 [count, columns of the level]."""
        return resample_rows(self.pixels, self._edge(start), self._edge(stop), count)

    def columns(self, rows: Array, start: float, stop: float, count: int, mirrored: bool) -> Array:
        """The columns from `start` to `stop` of what `rows` gave, or of its mirror image, as `count` columns."""
        if mirrored:
            width = rows.shape[1]
            first, last = (width - self._edge(self.shape[1] - edge) for edge in (start, stop))
            return resample_columns(rows[:, ::-1], first, last, count)
        return resample_columns(rows, self._edge(start), self._edge(stop), count)

    def _edge(self, edge: float) -> float:
        scale = float(2**self.reduction)
        return (edge + (scale - 1) / 2) / scale


def read_level(picture: Picture, reduction: int) -> Level:
    return Level(picture.read(reduction), picture.shape, reduction)


def keeping(picture: Picture, height: int) -> int:
    """The largest reduction that keeps at least `height` rows; 0 if the picture has fewer."""
    return max(0, (picture.shape[0] // height).bit_length() - 1)


def sufficient(scale: float) -> int:
    """The largest reduction that has a pixel for each of a result with `scale` pixels for one of the picture's."""
    return max(0, int(1 / scale).bit_length() - 1)
