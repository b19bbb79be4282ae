"""One image, one lesion, one pair of a manifest, as values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from disasym.data.read import read_image
from disasym.errors import ImageError, ManifestError
from disasym.spec import Laterality, View

Box = tuple[float, float, float, float]
Point = tuple[float, float]  # x, y


@dataclass(frozen=True)
class Lesion:
    """Where one abnormality is, in the pixels of its file: x to the right, y downwards, from the top-left corner.

    A circle is its bounding box (x0 = x − r, x1 = x + r, …); a polygon is closed and has its bounding box beside its
    points; a mask is an image file of the same size as the mammogram whose pixels above half of its maximum are the
    lesion, and its bounds are in the file.
    """

    kind: Literal["circle", "box", "polygon", "mask"]
    x0: float = math.nan
    y0: float = math.nan
    x1: float = math.nan
    y1: float = math.nan
    path: Path | None = None  # of a mask
    points: tuple[Point, ...] = ()  # of a polygon

    @staticmethod
    def circle(x: float, y: float, r: float) -> "Lesion":
        return Lesion("circle", x - r, y - r, x + r, y + r)

    @staticmethod
    def polygon(points: Sequence[Point]) -> "Lesion":
        """The outline through `points`; where it has no area (a dot, a line), the box of whole pixels around it."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        x0, y0, x1, y1 = min(xs), min(ys), max(xs), max(ys)
        if len(points) < 3 or x0 == x1 or y0 == y1:
            return Lesion("box", math.floor(x0), math.floor(y0), math.floor(x1) + 1, math.floor(y1) + 1)
        return Lesion("polygon", x0, y0, x1, y1, points=tuple(points))

    def bounds(self) -> Box:
        """(x0, y0, x1, y1) in pixel edges. ImageError when a mask's file cannot be read or is empty."""
        if self.path is None:
            return self.x0, self.y0, self.x1, self.y1
        inside = self._read(self.path)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)

    def mask(self, height: int, width: int) -> npt.NDArray[np.bool_]:
        """bool [height, width]: pixels of a `height` × `width` file whose centre is in the lesion.

        Raises:
            ImageError: a mask's file is unreadable, empty, or of another size than the mammogram.
        """
        if self.path is not None:
            inside = self._read(self.path)
            if inside.shape != (height, width):
                raise ImageError(f"{self.path}: the mask is {inside.shape}, its mammogram {(height, width)}")
            return inside
        y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
        if self.kind == "polygon":
            return _inside(self.points, height, width)
        if self.kind == "box":
            return (self.x0 <= x) & (x < self.x1) & (self.y0 <= y) & (y < self.y1)
        radius = (self.x1 - self.x0) / 2
        disc: npt.NDArray[np.bool_] = np.hypot(x - self.x0 - radius, y - self.y0 - radius) <= radius
        return disc

    def _read(self, path: Path) -> npt.NDArray[np.bool_]:
        levels = read_image(path)
        inside: npt.NDArray[np.bool_] = levels > levels.max() / 2
        if not inside.any():
            raise ImageError(f"{path}: the mask is empty, so its image has no lesion to show")
        return inside


def _inside(points: Sequence[Point], height: int, width: int) -> npt.NDArray[np.bool_]:
    """bool [height, width]: pixels whose centre is inside the closed outline, by the even-odd rule."""
    inside = np.zeros((height, width), np.bool_)
    centres = np.arange(width) + 0.5
    outline = np.asarray(points, np.float64)
    (x0, y0), (x1, y1) = outline.T, np.roll(outline, -1, axis=0).T
    first, last = max(0, math.floor(y0.min())), min(height, math.ceil(y0.max()) + 1)
    for row in range(first, last):
        crossed = (y0 <= row + 0.5) != (y1 <= row + 0.5)
        ends = np.sort(x0[crossed] + (row + 0.5 - y0[crossed]) * (x1 - x0)[crossed] / (y1 - y0)[crossed])
        inside[row] = np.searchsorted(ends, centres, side="right") % 2 == 1
    return inside


@dataclass(frozen=True)
class ImageRow:
    """One row of a manifest: one view of one breast."""

    dataset: str
    pair_id: str
    patient_id: str
    view: View
    laterality: Laterality
    path: Path
    abnormal: bool | None  # None: unknown, as in a manifest for inference
    finding: str
    pathology: str
    lesions: tuple[Lesion, ...]
    split: str | None
    pixel_aspect: float  # height of a pixel over its width
    study_id: str = ""
    birads: str = ""  # as the data set writes it: "4c", "2"
    density: str = ""  # as the data set writes it: ACR 1 to 4, A to D, mini-MIAS's F, G, D


@dataclass(frozen=True)
class PairRow:
    """Both breasts of one woman in one view."""

    right: ImageRow
    left: ImageRow

    @property
    def pair_id(self) -> str:
        return self.right.pair_id

    @property
    def patient_id(self) -> str:
        return self.right.patient_id

    @property
    def view(self) -> View:
        return self.right.view

    @property
    def dataset(self) -> str:
        return self.right.dataset

    @property
    def labels(self) -> tuple[int, int, int]:
        """(asymmetry, right, left): a pair is asymmetric when at least one side is abnormal.

        Raises:
            ManifestError: a side's label is unknown.
        """
        right, left = self.right.abnormal, self.left.abnormal
        if right is None or left is None:
            raise ManifestError(f"pair {self.pair_id!r} has no labels: fill in its column 'abnormal' with 0 or 1")
        return int(right or left), int(right), int(left)
