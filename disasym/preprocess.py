"""One mammogram → the network's pixels, and the way back to the pixels of its file.

The steps, for DICOM files and for images named in a manifest alike: breast mask, chest wall to column 0, crop to the
breast, grey window, resize with the aspect kept, pad. Pure functions; no torch.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from disasym.breast import WORKING_HEIGHT, check_image, find_breast, reduced
from disasym.discs import Mask
from disasym.errors import ImageError, InputError
from disasym.levels import Level, Picture, Whole, keeping, read_level, sufficient
from disasym.resample import resample_columns, resample_rows
from disasym.spec import Array, Laterality, View

Side = Literal["left", "right"]
Box = tuple[float, float, float, float]

PREPROCESSING = "2"  # rises when films get other pixels: results of both are never mixed
WINDOW = (0.5, 99.5)  # percentiles of the breast's pixels that become 0 and 1
FLOOR = np.float32(1 / 256)  # the darkest pixel inside the breast, so that pixels > 0 is the breast
COARSE = 128  # rows of the copy that shows on which side the chest wall is
OUTER = 0.1  # share of the breast's columns, at either side, in which the chest wall is looked for
DETAIL = 2  # times the rows that are needed: room for the crop, and for an area average to be one
CLEAR = 0.1  # how much more tissue one side must hold for the image alone to decide


@dataclass(frozen=True)
class Geometry:
    """The way between the network's pixels and the pixels of the file.

    Coordinates are continuous and count pixel edges: pixel (row i, column j) covers x in [j, j + 1) and y in
    [i, i + 1); the centre of pixel index i is i + 0.5.
    """

    source_height: int  # the file's pixel matrix
    source_width: int
    mirrored: bool  # columns were reversed so that the chest wall is at column 0
    top: int  # crop, in the source after mirroring
    left: int
    height: int
    width: int
    scale_y: float  # network pixels per source pixel
    scale_x: float
    pad_top: int  # where the crop begins in the network's frame
    pad_left: int

    def to_network(self, x: float, y: float) -> tuple[float, float]:
        """A point of the file in the network's frame; may lie outside of it."""
        x = self.source_width - x if self.mirrored else x
        return (x - self.left) * self.scale_x + self.pad_left, (y - self.top) * self.scale_y + self.pad_top

    def to_source(self, x: float, y: float) -> tuple[float, float]:
        """A point of the network's frame in the file: the inverse of `to_network`."""
        x = (x - self.pad_left) / self.scale_x + self.left
        return self.source_width - x if self.mirrored else x, (y - self.pad_top) / self.scale_y + self.top

    def box_to_network(self, box: Box) -> Box:
        """(x0, y0, x1, y1) of the file with x0 ≤ x1 in the network's frame, again with x0 ≤ x1."""
        return _ordered(self.to_network(*box[:2]), self.to_network(*box[2:]))

    def box_to_source(self, box: Box) -> Box:
        """(x0, y0, x1, y1) of the network's frame in the file, with x0 ≤ x1."""
        return _ordered(self.to_source(*box[:2]), self.to_source(*box[2:]))


@dataclass(frozen=True)
class Mammogram:
    """What the network sees of one view, and where it was."""

    pixels: Array  # float32 [H, W] in [0, 1]; background exactly 0, breast > 0, chest wall at column 0
    laterality: Laterality
    view: View
    geometry: Geometry
    reduction: int = 0  # of the image, 1/2^reduction of its size was used; the geometry is that of the whole image


def preprocess(
    image: Array | Picture,
    laterality: Laterality,
    view: View,
    height: int,
    width: int,
    pixel_aspect: float = 1.0,
    chest_wall: Side | None = None,
) -> Mammogram:
    """Bring one image into the network's frame of `height` × `width` pixels.

    pixels = FLOOR + (1 − FLOOR)·clip((g − p₀) / (p₁ − p₀), 0, 1) inside the breast and 0 outside, with g the
    image resampled (area average) to the frame and p₀, p₁ the WINDOW percentiles of the breast at about 512 rows.
    g → a·g + b with a > 0 leaves them unchanged, and so does mirroring an image that is used whole.

    An image is used at 1/2^r of its size (`lowpass.py`), as far as DETAIL times the rows of the mask's copy and of the
    frame are left. If the crop, once it is known, has fewer pixels there than the network, a finer level is taken. r
    depends on size and crop alone, not on the file's format: JPEG 2000 only gets there sooner (ADR 0026).

    Args:
        image: float32 [h, w], brighter = denser (as MONOCHROME2), any finite range; or a picture of such pixels.
        pixel_aspect: height of a pixel over its width (DICOM PixelAspectRatio, PS3.3 C.7.6.3.1.7, as a quotient).
        chest_wall: the side on which the file says the chest wall is; see `chest_wall_side`.

    Raises:
        ImageError: not [h, w], not finite, constant, no breast found.
        InputError: a frame or an aspect that is not positive.
    """
    if height < 1 or width < 1 or not (0.0 < pixel_aspect < float("inf")):
        raise InputError(f"frame and pixel aspect must be positive, got {height} × {width} and {pixel_aspect}")
    if isinstance(image, np.ndarray):
        check_image(image)
    picture = Whole(image) if isinstance(image, np.ndarray) else image
    source_height, source_width = picture.shape
    level = read_level(picture, keeping(picture, DETAIL * max(WORKING_HEIGHT, height)))
    rows_of_it = level.rows(0, source_height, WORKING_HEIGHT) if source_height > WORKING_HEIGHT else level.pixels
    small = _overview(level, rows_of_it, mirrored=False)
    coarse = find_breast(reduced(small, COARSE))
    mirrored = chest_wall_side(coarse, laterality, chest_wall) == "right"
    if mirrored:  # before the mask is found, so that an image and its mirror image agree to the last bit
        small = _overview(level, rows_of_it, mirrored=True)
    mask = find_breast(small)

    y0, x0, y1, x1 = _bounds(mask)  # in the reduced copy
    rows, columns = source_height / mask.shape[0], source_width / mask.shape[1]
    top, left = int(np.floor(y0 * rows)), int(np.floor(x0 * columns))
    bottom, right = min(source_height, int(np.ceil(y1 * rows))), min(source_width, int(np.ceil(x1 * columns)))
    fit = min(height / ((bottom - top) * pixel_aspect), width / (right - left))
    inner_height = min(height, max(1, round((bottom - top) * pixel_aspect * fit)))
    inner_width = min(width, max(1, round((right - left) * fit)))
    geometry = Geometry(
        source_height=source_height,
        source_width=source_width,
        mirrored=mirrored,
        top=top,
        left=left,
        height=bottom - top,
        width=right - left,
        scale_y=inner_height / (bottom - top),
        scale_x=inner_width / (right - left),
        pad_top=(height - inner_height) // 2,
        pad_left=0,
    )
    reduction = min(level.reduction, sufficient(max(geometry.scale_y, geometry.scale_x)))
    if reduction != level.reduction:
        level = read_level(picture, reduction)
    grey = _resampled_crop(level, geometry, inner_height, inner_width)
    inside = _resampled_mask(mask, geometry, inner_height, inner_width)
    pixels = np.zeros((height, width), np.float32)
    frame = pixels[geometry.pad_top : geometry.pad_top + inner_height, :inner_width]
    frame[inside] = _window(grey[inside], small[mask])
    return Mammogram(pixels, laterality, view, geometry, reduction)


def chest_wall_side(mask: Mask, laterality: Laterality, hint: Side | None = None) -> Side:
    """The side of the image on which the chest wall is.

    1. The image: the film cuts the breast off in a straight line there, while the skin is curved, so the outer
       columns of the breast (a share of OUTER on either side) hold more tissue, n_left against n_right. Clear when
       |n_left − n_right| / (n_left + n_right) ≥ CLEAR.
    2. The hint of the file (DICOM PatientOrientation).
    3. The laterality: films hang with the right breast's chest wall at the right.
    """
    _, x0, _, x1 = _bounds(mask)
    outer = max(1, round(OUTER * (x1 - x0)))
    on_left, on_right = int(mask[:, x0 : x0 + outer].sum()), int(mask[:, x1 - outer : x1].sum())
    if abs(on_left - on_right) >= CLEAR * (on_left + on_right):
        return "left" if on_left > on_right else "right"
    if hint is not None:
        return hint
    return "right" if laterality == "R" else "left"


def _overview(level: Level, rows: Array, mirrored: bool) -> Array:
    """The whole picture, or its mirror image, at WORKING_HEIGHT rows (`rows` are); a lower one as it is."""
    height, width = level.shape
    if height <= WORKING_HEIGHT:
        return np.ascontiguousarray(rows[:, ::-1]) if mirrored else rows
    return level.columns(rows, 0, width, max(1, round(width * WORKING_HEIGHT / height)), mirrored)


def _resampled_crop(level: Level, geometry: Geometry, height: int, width: int) -> Array:
    rows = level.rows(geometry.top, geometry.top + geometry.height, height)
    return level.columns(rows, geometry.left, geometry.left + geometry.width, width, geometry.mirrored)


def _resampled_mask(mask: Mask, geometry: Geometry, height: int, width: int) -> Mask:
    """Where at least half of a network pixel is breast. Column 0 keeps its tissue, however thin the breast."""
    rows, columns = mask.shape[0] / geometry.source_height, mask.shape[1] / geometry.source_width
    share = mask.astype(np.float32)
    share = resample_rows(share, geometry.top * rows, (geometry.top + geometry.height) * rows, height)
    share = resample_columns(share, geometry.left * columns, (geometry.left + geometry.width) * columns, width)
    inside: Mask = share >= 0.5
    inside[:, 0] |= share[:, 0] >= share[:, 0].max()
    return inside


def _window(grey: Array, breast: Array) -> Array:
    low, high = (np.float32(p) for p in np.percentile(breast, WINDOW))
    if not high > low:
        raise ImageError(f"the breast has one grey level, {low:g}, throughout: nothing to see in it")
    scaled: Array = FLOOR + (1 - FLOOR) * np.clip((grey - low) / (high - low), 0, 1)
    return scaled


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the region, half-open."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _ordered(a: tuple[float, float], b: tuple[float, float]) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])
