"""Synthesis: real tumours of another data set pasted into normal breasts (paper, section 2.3; DESIGN §1).

    x_fake = x·Π(1 − α_k) + Σ t_k·α_k                    clipped to [0, 1], and 0 outside the breast
    α_k(p) = PEAK·exp(−½ (p − c_k)ᵀ Σ_k⁻¹ (p − c_k))      for a Mahalanobis distance up to MARGIN, else 0
    Σ_k    = R F diag(σ_y², σ_x²)·s² F Rᵀ                 R random rotation, F random flip, s random size

σ follows the tumour: on its border (a box's or circle's half axis from its centre) α is half its peak, so that
{α ≥ PEAK/2} is the tumour and its surroundings fade out. t_k is the tumour's pixels at the same rotation, with
their grey level moved: t_k = t + (level of the tissue pasted into − level around the tumour), contrast times g.
Without that a tumour from a bright surrounding would stand on a bright pedestal, and one from a dark surrounding
be a hole in dense tissue; its contrast is what makes it a tumour.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from disasym.data.bank import FAINTEST, MARGIN, RING, Tumour, TumourBank
from disasym.errors import InputError
from disasym.spec import Array

PEAK = 0.95  # below 1, so that a trace of the tissue stays and no pixel of the breast turns into background
SIZES = (0.8, 1.25)  # s: a bank holds tens of tumours, a training run pastes tens of thousands
CONTRASTS = (0.8, 1.2)  # g, raised where a tumour would else be fainter than VISIBLE
VISIBLE = 0.12  # of the grey window: what nobody can see in another breast is no asymmetry
DARKEST = 0.05  # below its surroundings a tumour's patch is skin, air or an edge: held at this depth
MOST = 3  # n of the paper: 1 to 3 tumours in a breast that gets any
LARGEST = 0.25  # σ at most, in radii of a disc with the breast's area: a tumour is a part of a breast
DIMMEST = 0.5  # of the breast's mean: darker is the skin's seam, where no tumour grows
BRIGHTEST = 0.8  # of the grey window: above, a tumour has no room to be brighter
CANDIDATES = 32  # places looked at for each tumour
INSIDE = 2.0  # Mahalanobis distance up to which a tumour should lie in tissue

Coordinates = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Synthetic:
    """A pair made abnormal."""

    fake: Array  # float32 [2, H, W] in [0, 1]; background 0 exactly where it was
    labels: tuple[int, int, int]  # asymmetry, right, left
    mask: Mask  # bool [2, H, W]: breast where some α is at least half its peak


@dataclass(frozen=True)
class Placed:
    """One tumour in a view's frame: both arrays cover rows top… and columns left…"""

    top: int
    left: int
    pixels: Array  # t [h, w]
    alpha: Array  # α [h, w] in [0, PEAK]


@dataclass(frozen=True)
class Shape:
    """How a tumour is turned and scaled: offsets in the view → offsets in the patch, and its Gaussian's size."""

    inverse: npt.NDArray[np.float64]  # [2, 2], (y, x) of the view → (y, x) of the patch
    covariance: npt.NDArray[np.float64]  # [2, 2] Σ in view pixels


def synthesise(
    views: Array, bank: TumourBank, rng: np.random.Generator, abnormal: tuple[int, int] = (0, 0)
) -> Synthetic:
    """Paste tumours into the right, the left or both breasts (equally often), 1 to 3 into each of them.

    Args:
        views: float32 [2, H, W], after augmentation: chest wall at column 0, background 0.
        bank: tumours of another data set than the one trained on; scaled by H over the bank's reference height.
        rng: the only source of randomness.
        abnormal: the labels of right and left; a side with 1 stays as it is. The paper pastes into symmetric pairs.

    Raises:
        InputError: views of another shape, a side without a breast, or no normal side.
    """
    if views.ndim != 3 or views.shape[0] != 2:
        raise InputError(f"synthesise takes one pair of views [2, H, W], got shape {list(views.shape)}")
    choices = [sides for sides in ((1, 0), (0, 1), (1, 1)) if not any(np.multiply(sides, abnormal))]
    if not choices:
        raise InputError("both sides are abnormal: there is no normal one to paste into")
    fake = views.copy()
    mask = np.zeros(views.shape, np.bool_)
    right, left = choices[rng.integers(len(choices))]
    for side in np.flatnonzero((right, left)):
        placed = place(views[side], bank, int(rng.integers(1, MOST + 1)), rng)
        fake[side] = blend(views[side], placed)
        mask[side] = extent(views[side], placed)
    return Synthetic(fake, (1, right or abnormal[0], left or abnormal[1]), mask)


def blend(view: Array, placed: Sequence[Placed]) -> Array:
    """x·Π(1 − α_k) + Σ t_k·α_k inside the breast, clipped to [0, 1]; float32 [H, W]."""
    keep, add = np.ones_like(view), np.zeros_like(view)
    for tumour in placed:
        at = _window(tumour)
        keep[at] *= 1 - tumour.alpha
        add[at] += tumour.pixels * tumour.alpha
    fake: Array = np.where(view > 0, np.minimum(view * keep + add, 1), np.float32(0))
    return fake


def extent(view: Array, placed: Sequence[Placed]) -> Mask:
    """Breast pixels where some α is at least half its peak; bool [H, W]."""
    mask = np.zeros(view.shape, np.bool_)
    for tumour in placed:
        mask[_window(tumour)] |= tumour.alpha >= PEAK / 2
    return mask & (view > 0)


def place(view: Array, bank: TumourBank, count: int, rng: np.random.Generator) -> list[Placed]:
    """`count` random tumours of the bank, turned, flipped, scaled and put inside the breast of `view` [H, W]."""
    breast = np.flatnonzero(view)
    if len(breast) == 0:
        raise InputError(
            f"a view of {view.shape[0]} × {view.shape[1]} pixels holds no breast (pixels > 0) to paste into"
        )
    radius, dimmest = np.sqrt(len(breast) / np.pi), DIMMEST * view.ravel()[breast].mean()
    taken: list[tuple[Coordinates, Shape]] = []
    placed = []
    for _ in range(count):
        tumour = bank.sample(rng, view.shape[0])
        shape = turn(tumour, radius, rng)
        centre = _centre(view, rng.choice(breast, CANDIDATES), dimmest, shape, taken)
        taken.append((centre, shape))
        contrast = max(rng.uniform(*CONTRASTS), VISIBLE / max(tumour.contrast, FAINTEST))
        placed.append(_paste(view, tumour, shape, centre, contrast))
    return placed


def turn(tumour: Tumour, radius: float, rng: np.random.Generator) -> Shape:
    """A random rotation, flip and size for `tumour` in a breast as large as a disc of `radius` pixels."""
    sigma = np.asarray(tumour.sigma)
    size = min(rng.uniform(*SIZES), LARGEST * radius / sigma.max())
    angle = rng.uniform(0, 2 * np.pi)
    flip = rng.choice((-1.0, 1.0))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * (1.0, flip)
    return Shape(rotation.T / size, rotation @ np.diag((size * sigma) ** 2) @ rotation.T)


def _centre(
    view: Array, pixels: Coordinates, dimmest: float, shape: Shape, taken: list[tuple[Coordinates, Shape]]
) -> Coordinates:
    """The best of `pixels`, random ones of the breast as flat indices.

    First that 12 points of the ellipse at INSIDE·σ lie in the breast, then that the tissue there is neither skin nor
    so dense that no tumour could be brighter, then that no other tumour is in the way.
    """
    height, width = view.shape
    centres = np.stack([pixels // width, pixels % width], axis=1)
    angles = np.arange(12) * (2 * np.pi / 12)
    circle = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    rim = np.rint(centres[:, None] + INSIDE * circle @ np.linalg.cholesky(shape.covariance).T).astype(np.intp)
    y, x = rim[..., 0], rim[..., 1]  # [candidates, 12]
    on_image = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    grey = np.where(on_image, view[y.clip(0, height - 1), x.clip(0, width - 1)], 0)
    inside = (grey > 0).sum(axis=1)
    level = grey.sum(axis=1) / np.maximum(inside, 1)
    room = (level > dimmest) & (level < BRIGHTEST)
    apart = np.ones(len(pixels), np.bool_)
    for other, its_shape in taken:
        offset = centres - other
        joint = np.linalg.inv(2 * (shape.covariance + its_shape.covariance))
        apart &= np.einsum("ci,ij,cj->c", offset, joint, offset) >= 1
    best: Coordinates = centres[np.argmax(inside + 0.5 * room + 0.25 * apart)]
    return best


def _paste(view: Array, tumour: Tumour, shape: Shape, centre: Coordinates, contrast: float) -> Placed:
    """The tumour's pixels and α on the pixels of `view` within MARGIN·σ of `centre`."""
    reach = np.ceil(MARGIN * np.sqrt(np.diag(shape.covariance))).astype(np.intp)
    top, left = np.maximum(centre - reach, 0)
    bottom, right = np.minimum(centre + reach + 1, view.shape)
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(centre[1])
    m = shape.inverse.astype(np.float32)
    v, u = m[0, 0] * y + m[0, 1] * x, m[1, 0] * y + m[1, 1] * x  # offsets in the patch
    sigma_y, sigma_x = (np.float32(s) for s in tumour.sigma)
    squared = (v / sigma_y) ** 2 + (u / sigma_x) ** 2  # Mahalanobis, [h, w]
    alpha = np.where(squared <= MARGIN**2, np.float32(PEAK) * np.exp(-squared / 2), np.float32(0))

    under = view[top:bottom, left:right]
    ring = (squared >= RING[0] ** 2) & (squared <= RING[1] ** 2) & (under > 0)
    if not ring.any():
        ring = under > 0
    level = np.float32(under[ring].mean())
    rows, columns = tumour.pixels.shape
    patch = _bilinear(tumour.pixels, v + np.float32((rows - 1) / 2), u + np.float32((columns - 1) / 2))
    above = np.maximum(np.float32(contrast) * (patch - np.float32(tumour.level)), -np.float32(DARKEST))
    pixels = np.clip(level + above, 0, 1)
    return Placed(int(top), int(left), pixels, alpha)


def _bilinear(image: Array, y: Array, x: Array) -> Array:
    """`image` at the points (y, x), the outermost pixels continued outwards."""
    height, width = image.shape
    y, x = y.clip(0, height - 1), x.clip(0, width - 1)
    row, column = np.minimum(y.astype(np.intp), height - 2), np.minimum(x.astype(np.intp), width - 2)
    dy, dx = y - row.astype(np.float32), x - column.astype(np.float32)
    flat, start = image.ravel(), row * width + column
    above = flat[start] * (1 - dx) + flat[start + 1] * dx
    below = flat[start + width] * (1 - dx) + flat[start + width + 1] * dx
    value: Array = above * (1 - dy) + below * dy
    return value


def _window(tumour: Placed) -> tuple[slice, slice]:
    height, width = tumour.alpha.shape
    return slice(tumour.top, tumour.top + height), slice(tumour.left, tumour.left + width)
