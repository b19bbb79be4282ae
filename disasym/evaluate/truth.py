"""Where the lesions of an image are in the network's view, whatever shape their annotation has."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from disasym.data.rows import ImageRow, Lesion
from disasym.preprocess import Geometry

Mask = npt.NDArray[np.bool_]
NEIGHBOURS = np.ones((3, 3))  # of a pixel, with the diagonal ones


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotated lesions of one image."""

    mask: Mask  # [H, W], the network's view: all lesions together
    outside: int = 0  # lesions of which nothing is in the view: no map can show them, and they count as missed

    @classmethod
    def of(cls, row: ImageRow, geometry: Geometry, height: int, width: int) -> "Truth":
        """The lesions of a manifest's row. ImageError when a mask cannot be read or has another size than its image."""
        found = np.zeros((height, width), np.bool_)
        outside = 0
        for lesion in row.lesions:
            placed = in_view(lesion, geometry, height, width)
            outside += not placed.any()
            found |= placed
        return cls(found, outside)

    def targets(self) -> tuple[npt.NDArray[np.int32], int]:
        """Each target's pixels by its number from 1, int32 [H, W], and how many there are in the view.

        Lesions that touch are one target: a cluster and its calcifications, a mass and its spicules.
        """
        labels, count = ndimage.label(self.mask, structure=NEIGHBOURS)
        return labels, int(count)


def in_view(lesion: Lesion, geometry: Geometry, height: int, width: int) -> Mask:
    """bool [height, width]: pixels of the network's view whose centre is in the lesion, or the one that holds it all.

    Shapes are moved to the view and asked there; a mask is asked at the place of each pixel's centre in the file.
    """
    if lesion.path is not None:
        placed = _sampled(lesion, geometry, height, width)
    elif lesion.kind == "polygon":
        placed = Lesion.polygon([geometry.to_network(*point) for point in lesion.points]).mask(height, width)
    else:
        placed = _in_box(geometry.box_to_network(lesion.bounds()), height, width, round_=lesion.kind == "circle")
    if not placed.any():  # smaller than a pixel, or outside
        x0, y0, x1, y1 = geometry.box_to_network(lesion.bounds())
        row, column = int(np.floor((y0 + y1) / 2)), int(np.floor((x0 + x1) / 2))
        if 0 <= row < height and 0 <= column < width:
            placed[row, column] = True
    return placed


def _in_box(box: tuple[float, float, float, float], height: int, width: int, round_: bool) -> Mask:
    """Pixels in a box, or in the ellipse that a circle becomes where a pixel of the file is no square."""
    x0, y0, x1, y1 = box
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    if not round_:
        inside: Mask = (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)
        return inside
    disc: Mask = np.hypot((2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)) <= 1
    return disc


def _sampled(lesion: Lesion, geometry: Geometry, height: int, width: int) -> Mask:
    inside = lesion.mask(geometry.source_height, geometry.source_width)
    across = [geometry.to_source(column + 0.5, 0)[0] for column in range(width)]
    down = [geometry.to_source(0, row + 0.5)[1] for row in range(height)]
    rows, columns = (np.floor(places).astype(np.intp) for places in (down, across))
    known = np.ix_((rows >= 0) & (rows < inside.shape[0]), (columns >= 0) & (columns < inside.shape[1]))
    placed = np.zeros((height, width), np.bool_)
    placed[known] = inside[np.ix_(rows.clip(0, inside.shape[0] - 1), columns.clip(0, inside.shape[1] - 1))][known]
    return placed
