"""Where the breast is in a mammogram: background, labels, film edges and frames told apart from tissue.

Films differ: mini-MIAS pads columns with zeros and shows bright lead labels and white film edges; CBIS-DDSM has
scratches, frames of a scanner and a grey film base; digital mammograms have a background of exactly 0; CDD-CESM
subtractions have tissue hardly brighter than the background, and a clip that is far brighter. No absolute grey level is
used, so that a positive affine change of grey levels changes nothing.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from disasym.errors import ImageError
from disasym.resample import resample_columns, resample_rows
from disasym.spec import Array

Mask = npt.NDArray[np.bool_]

WORKING_HEIGHT = 512  # rows of the reduced copy on which the mask is found: 0.4 mm a pixel on a 24 cm film
BINS = 256
OPENING = 0.012  # radius of the opening, in image heights: wider than a film edge or the stroke of a letter
SMALLEST_BREAST = 0.01  # of the image's area
NOISE = 4.0  # standard deviations of the film base above which a pixel is not film base
BLANK = 0.08  # normalised grey level, after the square root, of columns outside of the film
RISE = 0.25  # of the way from the film base to the tissue's median (of square roots): the skin line is dim


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


def reduced(image: Array, mirrored: bool = False) -> Array:
    """The area average of `image`, or of its mirror image, at WORKING_HEIGHT rows; itself when it is no taller."""
    height, width = check_image(image)
    rows = resample_rows(image, 0, height, WORKING_HEIGHT) if height > WORKING_HEIGHT else image
    if mirrored:
        rows = rows[:, ::-1]
    columns = max(1, round(width * WORKING_HEIGHT / height))
    return resample_columns(rows, 0, width, columns) if height > WORKING_HEIGHT else np.ascontiguousarray(rows)


def find_breast(image: Array) -> Mask:
    """`breast_mask` at the resolution of `image`, which should be about WORKING_HEIGHT rows.

    1. x = √ of the grey levels between their 1st and 99th percentile, clipped to [0, 1].
    2. Otsu's threshold T on x splits dark from bright; film base b and noise σ are median and 1.48·MAD of the
       dark part that is not constant padding, m the median of the bright part.
    3. tissue = x > min(T, b + max(NOISE·σ, RISE·(m − b))), a threshold low enough to keep the skin line.
    4. Opening by a disc of OPENING heights, which cuts labels and film edges off; the largest component that is not
       a frame; grown back by one disc inside the tissue; holes filled.
    """
    x = _normalised(image)
    tissue = x > _threshold(x)
    radius = max(1.0, OPENING * max(image.shape))
    core = _open(tissue, radius)
    core = _largest(core)
    grown = _dilate(core, radius) & tissue
    mask: Mask = ndimage.binary_fill_holes(_largest(grown))
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
    if not np.isfinite(image).all():
        raise ImageError("the image holds NaN or infinite grey levels: it is damaged, or its rescaling overflowed")
    low, high = np.percentile(image, [1.0, 99.0])
    if low == high:  # a small bright thing on a constant background
        low, high = image.min(), image.max()
    if low == high:
        raise ImageError(f"every pixel has the grey level {low:g}: no breast in it")
    x: Array = np.sqrt(np.clip((image - low) / (high - low), 0.0, 1.0), dtype=np.float32)
    return x


def _threshold(x: Array) -> float:
    """The grey level above which a pixel is tissue: step 3 of `find_breast`."""
    split = _otsu(x)
    bright = x > split
    base = x[~bright & ~_padding(x)]
    if base.size == 0:
        base = x[~bright]
    b = float(np.median(base))
    sigma = 1.4826 * float(np.median(np.abs(base - b)))
    rise = RISE * (float(np.median(x[bright])) - b)
    return min(split, b + max(NOISE * sigma, rise))


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
    rows = np.quantile(x, 0.95, axis=1) <= BLANK
    columns = np.quantile(x, 0.95, axis=0) <= BLANK
    padding: Mask = rows[:, None] | columns[None, :]
    return padding


def _open(mask: Mask, radius: float) -> Mask:
    """Union of the discs of `radius` that fit into `mask`; outside of the image counts as background."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return _dilate(inside > radius, radius)


def _dilate(mask: Mask, radius: float) -> Mask:
    if not mask.any():
        return mask
    near: Mask = ndimage.distance_transform_edt(~mask) <= radius
    return near


def _largest(mask: Mask) -> Mask:
    """The component with most pixels."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Mask = labels == int(np.argmax(sizes))
    return largest
