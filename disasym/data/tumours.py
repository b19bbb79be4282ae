"""Annotated mammograms → a bank of tumours. Every lesion that is not used is reported with its reason."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from disasym.data.bank import (
    BORDER,
    FAINTEST,
    MARGIN,
    REFERENCE_HEIGHT,
    REFERENCE_WIDTH,
    RING,
    Tumour,
    TumourBank,
    mahalanobis,
    make_bank,
)
from disasym.data.enhancing import Spot, enhancing_lesions, names_a_mass
from disasym.data.manifest import ImageRow, Lesion, PairRow, load_mammogram
from disasym.errors import ImageError, InputError
from disasym.preprocess import Mammogram
from disasym.spec import Array

__all__ = ["BankBuild", "Tumour", "TumourBank", "build_bank", "cut"]

SMALLEST = 8.0  # reference pixels of a half axis: 2 pixels in the `small` preset
LARGEST = 110.0  # a fifth of a breast is not a focal tumour
TISSUE = 0.85  # of a tumour's Gaussian that must lie in the breast


@dataclass(frozen=True)
class BankBuild:
    """A bank, and what was left out of it."""

    bank: TumourBank
    skipped: tuple[tuple[str, str], ...]  # (path of the image, reason), one for each lesion or image not used


class _SkipError(Exception):
    """A lesion that does not become a tumour; the message says why."""


def build_bank(pairs: Iterable[PairRow], enhancing: bool = False) -> BankBuild:
    """Cut a tumour from each circle, box and mask of the pairs' images.

    Args:
        pairs: with labels or without; an image without lesions adds nothing and is not reported.
        enhancing: also look for the lesion of contrast-enhanced images that have no annotation but whose
            `finding` names a mass (`enhancing_lesions`, a heuristic).

    Raises:
        InputError: not one usable lesion.
    """
    found: list[tuple[str, Tumour]] = []
    skipped: list[tuple[str, str]] = []
    for row in (row for pair in pairs for row in (pair.right, pair.left)):
        searched = enhancing and not row.lesions and bool(row.abnormal) and names_a_mass(row.finding)
        if not (row.lesions or searched):
            continue
        try:
            mammogram = load_mammogram(row, REFERENCE_HEIGHT, REFERENCE_WIDTH)
            for spot in _spots(row, mammogram, searched):
                try:
                    found.append((row.dataset, cut(mammogram.pixels, spot)))
                except _SkipError as reason:
                    skipped.append((str(row.path), str(reason)))
        except (ImageError, _SkipError) as reason:
            skipped.append((str(row.path), str(reason)))
    if not found:
        reasons = "; ".join(sorted({reason for _, reason in skipped})) or "no image has a circle, box or mask"
        raise InputError(
            f"no tumour found ({reasons}): give a manifest with a column `lesions` or `mask`,"
            " or --enhancing for contrast-enhanced images"
        )
    return BankBuild(make_bank(found), tuple(skipped))


def cut(view: Array, spot: Spot) -> Tumour:
    """The tumour at `spot` of a view [H, W] at the reference scale.

    σ = half axis / BORDER; the patch reaches MARGIN·σ. Its pixels outside the breast take the mean of the ring
    around the lesion, so that they change nothing where the patch is pasted.
    """
    if min(spot.half_height, spot.half_width) < SMALLEST:
        raise _SkipError(f"lesion too small: half axis below {SMALLEST:g} of {REFERENCE_HEIGHT} rows")
    if max(spot.half_height, spot.half_width) > LARGEST:
        raise _SkipError(f"lesion too large: half axis above {LARGEST:g} of {REFERENCE_HEIGHT} rows")
    sigma = (spot.half_height / BORDER, spot.half_width / BORDER)
    pixels = _window(view, spot, tuple(int(np.ceil(MARGIN * s)) for s in sigma))
    distance = mahalanobis(pixels.shape, sigma)
    weight, tissue = np.exp(-np.square(distance) / 2), pixels > 0
    if weight[tissue].sum() < TISSUE * weight.sum():
        raise _SkipError(f"lesion outside the breast: less than {100 * TISSUE:.0f} % of it is on tissue")
    ring = tissue & (distance >= RING[0]) & (distance <= RING[1])
    tumour = Tumour(np.where(tissue, pixels, pixels[ring].mean()), sigma)
    if tumour.contrast < FAINTEST:
        raise _SkipError(f"lesion not brighter than its surroundings by {FAINTEST:g} of the grey window")
    return tumour


def _spots(row: ImageRow, mammogram: Mammogram, searched: bool) -> Iterator[Spot]:
    if searched:
        spots = enhancing_lesions(mammogram.pixels)
        if not spots:
            raise _SkipError("no enhancing lesion found, though the finding names a mass")
        yield from spots
    for lesion in row.lesions:
        yield _annotated(lesion, mammogram)


def _annotated(lesion: Lesion, mammogram: Mammogram) -> Spot:
    x0, y0, x1, y1 = mammogram.geometry.box_to_network(lesion.bounds())
    return Spot(y=(y0 + y1) / 2, x=(x0 + x1) / 2, half_height=(y1 - y0) / 2, half_width=(x1 - x0) / 2)


def _window(view: Array, spot: Spot, reach: tuple[int, ...]) -> Array:
    """The (2·reach + 1) pixels around a spot's central pixel; 0 outside the view."""
    centre = (int(np.floor(spot.y)), int(np.floor(spot.x)))
    if not (0 <= centre[0] < view.shape[0] and 0 <= centre[1] < view.shape[1]):
        raise _SkipError("lesion outside the breast: its centre is not in the picture")
    padded = np.pad(view, [(r, r) for r in reach])
    return padded[centre[0] : centre[0] + 2 * reach[0] + 1, centre[1] : centre[1] + 2 * reach[1] + 1]
