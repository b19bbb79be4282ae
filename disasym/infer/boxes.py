"""Where in a film the abnormality is: regions of the heat map, outlined by the abnormality image, as boxes in the file.

1. heat = CAM, smoothly enlarged to the view, on breast tissue only; it is what the picture shows. The CAM is scaled by
   its side's probability, so heat ≤ p.
2. A region is a connected part (8 neighbours) where heat ≥ HOT. HOT = 1/2 asks two things at once: the side is more
   probably abnormal than not, for elsewhere heat cannot reach 1/2; and the place is within the half maximum of a side
   that is certain, the customary width of a peak. It is not tuned: no model here finds lesions of a set with outlines.
3. Regions below LEAST pixels are slivers that the breast's border cuts off a cell of the CAM, and are left out.
4. One cell of the CAM covers 32 × 32 pixels; the abnormality image has them all. Where it shows something in a region
   (its peak ≥ SEEN of the grey range, after SMOOTH), the region shrinks to where it reaches half of that peak. SEEN is
   twice what an untrained decoder gives everywhere, σ(−3) ≈ 0.05 of the view (ADR 0003).
5. The score of a region is its largest heat. It ranks regions; it is no calibrated probability.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from disasym.infer.stages import Scored
from disasym.preprocess import Box, Geometry, Mammogram
from disasym.spec import STRIDE, Array, Laterality

Mask = npt.NDArray[np.bool_]

HOT = 0.5
LEAST = (STRIDE // 2) ** 2  # pixels of the network's view: a quarter of a cell
SEEN = 0.1
SMOOTH = STRIDE / 8  # standard deviation in pixels of the network's view
DIGITS = 2  # of a coordinate in the file: a hundredth of a pixel


@dataclass(frozen=True, eq=False)
class Region:
    """One suspicious region of one breast."""

    laterality: Laterality
    box: Box  # (x0, y0, x1, y1) in the file, counted in pixel edges as in `disasym.preprocess.Geometry`
    score: float  # in [HOT, 1]
    outline: Literal["cam", "abnormality"]  # what its borders come from
    frame: Box  # the box in the network's view
    mask: Mask  # [H, W], the network's view


def regions_of(pair: Scored) -> tuple[Region, ...] | None:
    """The regions of both breasts, those of the right one first. None if the model makes no CAM: nobody has looked."""
    if pair.cam is None:
        return None
    found: list[Region] = []
    for side, view in enumerate((pair.right, pair.left)):
        found += find_regions(view, pair.cam[side], None if pair.abnormality is None else pair.abnormality[side])
    return tuple(found)


def find_regions(view: Mammogram, cam: Array, abnormality: Array | None = None) -> tuple[Region, ...]:
    """The regions of one breast, hottest first.

    Args:
        cam: float32 [H/32, W/32] in [0, 1], scaled by the side's probability.
        abnormality: float32 [H, W] in [0, 1]; None if the model makes none.
    """
    if cam.max() < HOT:  # heat is nowhere above the map: most breasts end here
        return ()
    heat = heat_of(view.pixels, cam)
    labels, count = ndimage.label(heat >= HOT, structure=np.ones((3, 3)))
    shown = None if abnormality is None else ndimage.gaussian_filter(abnormality, SMOOTH)
    found = []
    for label in range(1, count + 1):
        part: Mask = labels == label
        if part.sum() >= LEAST:
            found.append(_region(view, part, float(heat[part].max()), shown))
    return tuple(sorted(found, key=lambda region: (-region.score, region.box)))


def heat_of(pixels: Array, cam: Array) -> Array:
    """The CAM [h, w] over the view [H, W], smooth, 0 outside of the breast."""
    heat: Array = np.minimum(enlarge(cam, *pixels.shape), cam.max()) * (pixels > 0)  # interpolation overshoots
    return heat


def enlarge(values: npt.NDArray[Any], height: int, width: int) -> Array:
    """[h, w] in [0, 1] → [height, width] by bicubic interpolation, kept in [0, 1]."""
    image = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image, np.float32), 0, 1)


def _region(view: Mammogram, part: Mask, score: float, shown: Array | None) -> Region:
    peak = 0.0 if shown is None else float(shown[part].max())
    outlined = shown is not None and peak >= SEEN
    mask: Mask = part & (shown >= peak / 2) if shown is not None and outlined else part
    frame = bounds(mask)
    return Region(
        laterality=view.laterality,
        box=in_file(frame, view.geometry),
        score=score,
        outline="abnormality" if outlined else "cam",
        frame=frame,
        mask=mask,
    )


def bounds(mask: Mask) -> Box:
    """The smallest box around the pixels of a mask that is not empty, in pixel edges."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def in_file(frame: Box, geometry: Geometry) -> Box:
    """A box of the network's view in the pixels of the file, cut off at its borders, in hundredths of a pixel."""
    x0, y0, x1, y1 = geometry.box_to_source(frame)
    across, down = float(geometry.source_width), float(geometry.source_height)
    x0, x1 = (round(min(max(x, 0.0), across), DIGITS) for x in (x0, x1))
    y0, y1 = (round(min(max(y, 0.0), down), DIGITS) for y in (y0, y1))
    return x0, y0, x1, y1


def mask_in_file(mask: Mask, geometry: Geometry) -> Mask:
    """A mask of the network's view [H, W] as a mask of the file [rows, columns]: each pixel asks at its centre."""
    placed = np.zeros((geometry.source_height, geometry.source_width), np.bool_)
    rows, columns, window = window_in_file(mask, geometry)
    placed[rows, columns] = window
    return placed


def window_in_file(mask: Mask, geometry: Geometry) -> tuple[slice, slice, Mask]:
    """The rows and columns of the file that hold `mask_in_file`, and the mask there; the rest of the file is False."""
    down = (np.arange(geometry.source_height) + 0.5 - geometry.top) * geometry.scale_y + geometry.pad_top
    across = np.arange(geometry.source_width) + 0.5
    if geometry.mirrored:
        across = geometry.source_width - across
    across = (across - geometry.left) * geometry.scale_x + geometry.pad_left
    x0, y0, x1, y1 = bounds(mask)
    rows, columns = _between(down, y0, y1), _between(across, x0, x1)
    at = np.floor(down[rows]).astype(np.intp), np.floor(across[columns]).astype(np.intp)
    window: Mask = mask[np.ix_(*at)]
    return rows, columns, window


def _between(places: npt.NDArray[np.floating[Any]], low: float, high: float) -> slice:
    """Where monotonic `places` lie in [low, high)."""
    inside = np.flatnonzero((places >= low) & (places < high))
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)
