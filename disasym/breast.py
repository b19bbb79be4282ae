"""Where the breast is in a mammogram: background, labels, film edges and frames told apart from tissue.

Films differ: mini-MIAS pads columns with zeros and shows bright lead labels and white film edges; CBIS-DDSM has
scratches, frames of a scanner and a grey film base; digital mammograms have a background of exactly 0; CDD-CESM
subtractions have tissue hardly brighter than the background, and a clip that is far brighter. No absolute grey level is
used, so that a positive affine change of grey levels changes nothing.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from disasym.discs import Mask, dilate, erode
from disasym.errors import ImageError
from disasym.resample import resample_columns, resample_rows
from disasym.spec import Array

Labels = npt.NDArray[Any]  # whole numbers, 0 is background

WORKING_HEIGHT = 512  # rows of the reduced copy on which the mask is found: 0.4 mm a pixel on a 24 cm film
LARGEST = 1e30  # float32 ends at 3.4e38; some writers mark missing pixels with it
BINS = 256
OPENING = 0.02  # radius of the opening, in image heights: wider than a film edge or the stroke of a letter
SMALLEST_BREAST = 0.01  # of the image's area
NOISE = 0.99  # quantile of the film base's grey levels above which its noise and glow end
STEP = 0.01  # above that quantile, of the way from film base to tissue
RISE = 0.04  # above the film base's median, of the way to tissue: the skin line is dim
BODY = 0.06  # radius, in image heights, of a disc that fits into a breast but not into a nipple clip
CLIP, METAL = 0.995, 1.3  # a clip is this factor brighter than this quantile of the breast, both above black
FRAME = 0.03  # widest white frame at top or bottom that is taken off, in image heights
SLANT = 3  # rows of the reduced copy: a frame stands a little askew
LEAST_BACKGROUND = 0.1  # of a row, to tell a frame from the breast itself
SMALL_HOLE = 0.01  # of the image's area
MARGIN = 0.05  # image heights around everything bright that say nothing about the film base: skin line and halos
LEAST_BASE = 0.01  # of the image
FEW = 16  # labels
BLANK = 0.08  # normalised grey level, after the square root, of columns outside of the film


def breast_mask(image: Array) -> Mask:
    """Pixels of the breast (pectoral muscle included) in an image of any size.

    Args:
        image: float32 [h, w], brighter = denser, any finite range.

    Returns:
        bool [h, w]: one connected region without holes.

    Raises:
        ImageError: not two-dimensional, empty, not finite, constant, or no region that could be a breast.
    """
    small = reduced(image)
    mask = find_breast(small)
    height, width = image.shape
    rows = ((np.arange(height) + 0.5) * small.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * small.shape[1] / width).astype(np.intp)
    enlarged: Mask = mask[rows[:, None], columns[None, :]]
    return enlarged


def reduced(image: Array, height: int = WORKING_HEIGHT) -> Array:
    """The area average of `image` at `height` rows; the image itself when it is no taller."""
    rows, columns = check_image(image)
    if rows <= height:
        return image
    shrunk = resample_rows(image, 0, rows, height)
    return resample_columns(shrunk, 0, columns, max(1, round(columns * height / rows)))


def find_breast(image: Array) -> Mask:
    """`breast_mask` at the resolution of `image`, which should be about WORKING_HEIGHT rows.

    1. x = √ of the grey levels between their 1st and 99th percentile, clipped to [0, 1].
    2. Otsu's threshold T on x splits dark from bright. The film base is what is dark, away from anything bright, and
       not constant padding: median b, quantile n at NOISE; m is the median of the bright part (b, n, m as grey levels).
    3. tissue = x > min(T, √max(b + RISE·(m − b), n + STEP·(m − b))), low enough to keep the skin line.
    4. White frames at top and bottom taken off, small black holes filled.
    5. Clips and labels beside the breast taken off: what does not fit a disc of BODY heights, and is METAL times
       brighter than the breast's quantile CLIP.
    6. Opening by a disc of OPENING heights, which cuts off letters and film edges; the largest component; grown back
       by one disc inside the tissue, which restores nipple and corners; holes filled.
    """
    x = _normalised(image)
    split = _otsu(x)
    tissue = _without_frames(x > _skin_level(x, split), x > split)
    radius = max(1.0, OPENING * image.shape[0])
    solid = _without_small_holes(tissue)
    metal = _clips(image, _largest(_open(solid, BODY * image.shape[0])), radius / 2)
    core = _largest(_open(solid & ~metal, radius))
    grown = dilate(core, radius) & tissue & ~metal
    mask: Mask = _without_holes(_largest(grown))
    if mask.sum() < SMALLEST_BREAST * mask.size:
        share = 100.0 * float(mask.sum()) / mask.size
        raise ImageError(
            f"no breast found: the largest bright region covers {share:.2f} % of the image, "
            f"at least {100 * SMALLEST_BREAST:.0f} % expected; look at the image and leave it out if it shows none"
        )
    return mask


def check_image(image: Array) -> tuple[int, int]:
    """Height and width of a two-dimensional, not empty image; ImageError for anything else."""
    if image.ndim != 2 or 0 in image.shape:
        raise ImageError(f"an image must be [height, width] and not empty, got shape {list(image.shape)}")
    return image.shape[0], image.shape[1]


def _normalised(image: Array) -> Array:
    """√ of the grey levels between two percentiles: noise of a film base does not stretch, dim tissue does."""
    if not np.abs(image).max() < LARGEST:  # written so that NaN fails too
        raise ImageError(f"a grey level is NaN, infinite or above {LARGEST:g}: damaged, or its rescaling overflowed")
    low, high = np.percentile(image, [1.0, 99.0])
    if low == high:  # a small bright thing on a constant background
        low, high = image.min(), image.max()
    if low == high:
        raise ImageError(f"every pixel has the grey level {low:g}: no breast in it")
    x: Array = np.sqrt(np.clip((image - low) / (high - low), 0.0, 1.0), dtype=np.float32)
    return x


def _skin_level(x: Array, split: float) -> float:
    """The value of x above which a pixel is tissue: step 3 of `find_breast`."""
    bright = x > split
    away = ~dilate(bright, MARGIN * x.shape[0])
    base = x[away & ~_padding(x)]
    if base.size < LEAST_BASE * x.size:
        base = x[~bright]
    b, noise = np.quantile(base, [0.5, NOISE]) ** 2  # film noise and tissue add up in grey levels, not in their roots
    rise = float(np.median(x[bright])) ** 2 - b
    return min(split, float(np.sqrt(max(b + RISE * rise, noise + STEP * rise))))


def _otsu(x: Array) -> float:
    """The split t of values in [0, 1] that maximises the variance between the classes, w₀·w₁·(μ₀ − μ₁)².

    Otsu, IEEE Trans. SMC 9(1), 1979.
    """
    counts = np.bincount((x.ravel() * (BINS - 1)).astype(np.intp), minlength=BINS).astype(np.float64)
    centres = (np.arange(BINS) + 0.5) / BINS
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float((np.argmax(np.nan_to_num(between)) + 1) / BINS)


def _padding(x: Array) -> Mask:
    """Rows and columns in which hardly a pixel differs from the darkest grey level: no film was there."""
    rows, columns = _mostly_blank(x), _mostly_blank(x.T)
    padding: Mask = rows[:, None] | columns[None, :]
    return padding


def _mostly_blank(x: Array) -> Mask:
    """Rows whose quantile 0.95 is at most BLANK; it is worked out only where counting does not settle it."""
    below = int(0.95 * (x.shape[1] - 1))  # the quantile lies between this and the next of the sorted pixels
    count = np.count_nonzero(x <= BLANK, axis=1)
    blank: Mask = count > below + 1
    unsettled = np.flatnonzero(count == below + 1)
    blank[unsettled] = np.quantile(x[unsettled], 0.95, axis=1) <= BLANK
    return blank


def _without_frames(tissue: Mask, bright: Mask) -> Mask:
    """`tissue` without the rows at top and bottom that are bright where the image further in is background.

    Left and right are left alone: there the breast itself stands on the border, and the skin of the abdomen below it.
    """
    kept = tissue.copy()
    depth = min(len(tissue) - 1, max(1, round(FRAME * len(tissue))))
    for turn in (slice(None), slice(None, None, -1)):
        background = ~tissue[turn][depth]
        if background.mean() >= LEAST_BACKGROUND:
            framed = np.flatnonzero(bright[turn][:depth, background].mean(axis=1) > 0.5)
            if framed.size:
                kept[turn][: framed[-1] + 1 + SLANT] = False
    return kept


def _clips(image: Array, body: Mask, halo: float) -> Mask:
    """Pixels too bright to be tissue that are not in `body`, with the `halo` pixels around them."""
    if not body.any():
        return body
    black = np.percentile(image, 1.0)
    metal: Mask = image - black > METAL * (np.quantile(image[body], CLIP) - black)
    return dilate(metal & ~body, halo) & ~body


def _without_small_holes(mask: Mask) -> Mask:
    """Holes of up to SMALL_HOLE filled: texture clipped to black. A frame around the film encloses more than that."""
    labels, count = ndimage.label(~mask)
    small = _sizes(labels, count) <= SMALL_HOLE * mask.size
    small[0] = False
    return mask | _labelled(labels, small)


def _open(mask: Mask, radius: float) -> Mask:
    """Union of the discs of `radius` that fit into `mask`; outside of the image counts as background."""
    return dilate(erode(mask, radius), radius)


def _without_holes(mask: Mask) -> Mask:
    """Background that does not touch the image's border, filled."""
    labels, count = ndimage.label(~mask)
    inner = np.ones(count + 1, np.bool_)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        inner[border] = False
    inner[0] = False
    return mask | _labelled(labels, inner)


def _largest(mask: Mask) -> Mask:
    """The component with most pixels."""
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = _sizes(labels, count)
    sizes[0] = 0
    largest: Mask = labels == int(np.argmax(sizes))
    return largest


def _sizes(labels: Labels, count: int) -> npt.NDArray[np.intp]:
    """Pixels of each label from 0 to `count`. A few are counted one by one, in a quarter of the time."""
    if count < FEW:
        return np.array([np.count_nonzero(labels == label) for label in range(count + 1)])
    return np.bincount(labels.ravel(), minlength=count + 1)


def _labelled(labels: Labels, chosen: npt.NDArray[np.bool_]) -> Mask:
    """Pixels whose label is among those that `chosen` is true for."""
    some = np.flatnonzero(chosen)
    if len(some) >= FEW:
        found: Mask = chosen[labels]
        return found
    found = np.zeros(labels.shape, np.bool_)
    for label in some:
        found |= labels == label
    return found
