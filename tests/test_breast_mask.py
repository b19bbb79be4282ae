"""The breast mask on phantoms whose breast is known, and on real films."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from disasym.breast import breast_mask, find_breast, reduced
from disasym.errors import ImageError
from disasym.resample import axis_weights, resample_columns, resample_rows
from phantom import breast_of, film

SKIN = 0.97  # overlap (Dice) that leaves room for the outermost, darkest pixels of the skin


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("frame", [0, 4])
def test_the_mask_is_the_breast_without_label_and_frame(frame: int) -> None:
    image = film(frame=frame)
    mask = breast_mask(image)
    assert dice(mask, breast_of(*image.shape)) > SKIN
    assert not mask[image >= 249].any()


def test_the_mask_is_one_region_without_holes() -> None:
    image = film()
    image[150:153, 40:43] = 0  # clipped to black inside of the breast
    mask = breast_mask(image)
    assert ndimage.label(mask)[1] == 1
    assert ndimage.label(~mask)[1] == 1


def test_a_background_of_exactly_zero_is_background() -> None:
    truth = breast_of(300, 220)
    mask = breast_mask(np.where(truth, film(label=False), np.float32(0)))
    assert dice(mask, truth) > 0.99


def test_black_padding_columns_do_not_raise_the_film_base_into_the_breast() -> None:
    image = film()
    padded = np.pad(image, ((0, 0), (60, 90)))
    assert dice(breast_mask(padded)[:, 60:-90], breast_of(*image.shape)) > SKIN


def test_a_bright_bar_at_the_skin_side_is_not_breast() -> None:
    image = film()
    image[:, -30:] = 255
    assert dice(breast_mask(image), breast_of(*image.shape)) > SKIN


def test_a_metal_clip_at_the_nipple_is_not_breast() -> None:
    image = film(label=False)
    image[145:156, 130:150] = 800  # the breast's tip is at column 136
    mask = breast_mask(image)
    assert not mask[:, 138:].any()
    assert dice(mask, breast_of(*image.shape)) > 0.96


def test_a_bright_lesion_inside_stays_in_the_mask() -> None:
    image = film()
    image[130:150, 60:80] = 800
    assert breast_mask(image)[130:150, 60:80].all()


def test_a_tall_film_has_the_mask_of_its_reduced_copy() -> None:
    image = film(1024, 700)
    mask = breast_mask(image)
    assert mask.shape == image.shape
    assert dice(mask, breast_of(1024, 700)) > SKIN


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_a_positive_affine_change_of_grey_levels_keeps_the_mask(scale: float, shift: float) -> None:
    image = film()
    mask = breast_mask((image * np.float32(scale) + np.float32(scale * shift)).astype(np.float32))
    assert dice(mask, breast_mask(image)) > 0.995


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), height=st.integers(40, 300), width=st.integers(40, 300))
def test_the_mask_of_a_mirror_image_is_the_mirrored_mask(seed: int, height: int, width: int) -> None:
    image = film(height, width, seed)
    assert (breast_mask(image[:, ::-1].copy()) == breast_mask(image)[:, ::-1]).mean() > 0.999


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.full((50, 40), 7.0), "every pixel"),
        (np.ones((1, 1)), "every pixel"),
        (np.full((50, 40), np.nan), "NaN"),
        (np.full((50, 40), np.inf), "NaN"),
        (np.full((900, 40), -np.inf), "NaN"),
        (np.where(np.eye(50) > 0, np.nan, film(50, 50)), "NaN"),
        (np.where(np.eye(600) > 0, np.nan, film(600, 600)), "NaN"),
        (np.where(np.eye(50) > 0, 3e38, film(50, 50)), "above"),
        (np.zeros((0, 5)), "empty"),
        (np.zeros((5, 5, 3)), "shape"),
        (np.eye(300), "no breast"),
    ],
)
def test_what_cannot_be_a_mammogram_is_an_image_error(image: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        breast_mask(image.astype(np.float32))


@settings(max_examples=60)
@given(
    height=st.integers(1, 7), width=st.integers(1, 7), seed=st.integers(0, 10**6), levels=st.sampled_from([2, 3, 256])
)
def test_a_tiny_image_gives_a_mask_or_an_image_error(height: int, width: int, seed: int, levels: int) -> None:
    image = np.random.default_rng(seed).integers(levels, size=(height, width)).astype(np.float32)
    try:
        mask = breast_mask(image)
    except ImageError:
        return
    assert mask.shape == image.shape
    assert mask.any()


def test_shrinking_by_one_and_a_half_averages_areas() -> None:
    image = np.array([[1.0, 2.0, 6.0]], np.float32)
    # each output covers 1.5 pixels: (1 + 2/2) / 1.5 and (2/2 + 6) / 1.5
    np.testing.assert_allclose(resample_columns(image, 0, 3, 2), [[4 / 3, 14 / 3]], rtol=1e-6)


def test_enlarging_is_linear_between_pixel_centres() -> None:
    image = np.array([[0.0], [4.0]], np.float32)
    np.testing.assert_allclose(resample_rows(image, 0, 2, 4), [[0], [1], [3], [4]], atol=1e-6)


@given(size=st.integers(1, 40), count=st.integers(1, 60), a=st.floats(0, 1), b=st.floats(0, 1))
def test_resampling_keeps_a_constant_image_and_its_range(size: int, count: int, a: float, b: float) -> None:
    start, stop = min(a, b) * size, max(a, b) * size
    if stop - start < 1e-3:
        start, stop = 0.0, float(size)
    weights = axis_weights(size, start, stop, count).toarray()
    assert weights.shape == (count, size)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


@given(size=st.integers(2, 60), data=st.data())
def test_shrinking_keeps_the_mean(size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, size))
    weights = axis_weights(size, 0.0, float(size), count).toarray()
    np.testing.assert_allclose(weights.sum(axis=0), count / size, rtol=1e-4)


def test_the_reduced_copy_of_a_small_image_is_the_image() -> None:
    image = film(100, 80)
    assert reduced(image) is image
    assert find_breast(image).shape == (100, 80)


@pytest.mark.parametrize("name", ["mias/mdb002.png", "mias/mdb131.png", "mias/mdb287.png"])
def test_no_label_or_film_edge_stays_in_a_real_film(data_root: Path, name: str) -> None:
    from disasym.data.images import read_image

    image = read_image(data_root / name)
    mask = breast_mask(image)
    skin_side = mask[:, -200:] if mask[:, :512].sum() > mask[:, 512:].sum() else mask[:, :200]
    assert 0.1 < mask.mean() < 0.6
    assert not skin_side[:, :60].any() or not skin_side[:, -60:].any()
