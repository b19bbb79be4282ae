"""Laws of preprocessing, and a case worked by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disasym.errors import ImageError, InputError
from disasym.preprocess import FLOOR, Geometry, Mammogram, chest_wall_side, preprocess
from disasym.spec import check_views
from phantom import film

H, W = 128, 64


def network(image: np.ndarray, **options: Any) -> Mammogram:
    return preprocess(image, "L", "CC", H, W, **options)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), height=st.integers(60, 700), width=st.integers(60, 500))
def test_pixels_meet_the_contract(seed: int, height: int, width: int) -> None:
    pixels = network(film(height, width, seed)).pixels
    check_views(np.stack([pixels, pixels])[None], H, W)
    assert (pixels[:, 0] > 0).any()
    assert ((pixels == 0) | (pixels >= FLOOR)).all()
    assert (pixels > 0).any(axis=1).sum() == H or (pixels > 0).any(axis=0).sum() >= W - 1  # fills the frame one way


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_a_positive_affine_change_of_grey_levels_keeps_the_pixels(scale: float, shift: float) -> None:
    image = film()
    changed = (image * np.float32(scale) + np.float32(scale * shift)).astype(np.float32)
    before, after = network(image).pixels, network(changed).pixels
    both = (before > 0) & (after > 0)
    assert both.sum() > 0.99 * (before > 0).sum()
    np.testing.assert_allclose(after[both], before[both], atol=2e-3)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), height=st.integers(60, 800), width=st.integers(60, 500))
def test_a_mirrored_image_gives_the_same_pixels_and_a_geometry_that_maps_back(
    seed: int, height: int, width: int
) -> None:
    image = film(height, width, seed)
    one, other = network(image), network(image[:, ::-1].copy())
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert (one.geometry.mirrored, other.geometry.mirrored) == (False, True)
    x, y = one.geometry.to_source(10.5, 20.5)
    assert other.geometry.to_source(10.5, 20.5) == pytest.approx((width - x, y))


@given(
    mirrored=st.booleans(),
    scale_y=st.floats(0.01, 4),
    scale_x=st.floats(0.01, 4),
    offsets=st.lists(st.integers(0, 500), min_size=4, max_size=4),
    point=st.tuples(st.floats(-50, 5000), st.floats(-50, 5000)),
)
def test_to_network_undoes_to_source(
    mirrored: bool, scale_y: float, scale_x: float, offsets: list[int], point: tuple[float, float]
) -> None:
    top, left, pad_top, pad_left = offsets
    geometry = Geometry(5000, 4000, mirrored, top, left, 900, 700, scale_y, scale_x, pad_top, pad_left)
    assert geometry.to_network(*geometry.to_source(*point)) == pytest.approx(point, abs=1e-6)
    assert geometry.to_source(*geometry.to_network(*point)) == pytest.approx(point, abs=1e-6)
    box = (*point, point[0] + 30, point[1] + 7)
    assert geometry.box_to_source(geometry.box_to_network(box)) == pytest.approx(box, abs=1e-6)


def test_a_geometry_worked_by_hand() -> None:
    # An 80 × 40 breast of stripes against the right border of a 100 × 60 image, from row 10: mirrored, the crop is
    # rows 10…90 and columns 0…40. Into 40 × 30 it goes at half size, 40 × 20, with nothing above and 10 columns free.
    image = np.zeros((100, 60), np.float32)
    image[10:90, 20:] = np.where(np.arange(40) // 2 % 2, 100, 200)
    mammogram = preprocess(image, "R", "MLO", 40, 30)
    assert mammogram.geometry == Geometry(100, 60, True, 10, 0, 80, 40, 0.5, 0.5, 0, 0)
    assert (mammogram.laterality, mammogram.view) == ("R", "MLO")
    assert (mammogram.pixels[2:-2, 2:18] > 0).all()
    assert not mammogram.pixels[:, 20:].any()
    np.testing.assert_allclose(mammogram.pixels[10:30, 0:6], np.resize([FLOOR, 1.0], (20, 6)), atol=1e-6)
    assert mammogram.geometry.to_source(0, 0) == (60, 10)  # the chest wall's upper corner
    assert mammogram.geometry.to_source(20, 40) == (20, 90)
    assert mammogram.geometry.box_to_source((2, 4, 6, 8)) == (48, 18, 56, 26)


def test_pixels_twice_as_high_as_wide_keep_the_breasts_shape() -> None:
    image = film(400, 200)
    squeezed = image.reshape(200, 2, 200).mean(axis=1)  # half the rows, each twice as high
    whole, halved = network(image), network(squeezed, pixel_aspect=2.0)
    assert halved.geometry.scale_y == pytest.approx(2 * whole.geometry.scale_y, rel=0.05)
    assert halved.geometry.scale_x == pytest.approx(whole.geometry.scale_x, rel=0.05)


def test_a_breast_flatter_than_the_frame_is_padded_evenly_above_and_below() -> None:
    geometry = network(film(200, 400)).geometry
    inner = round(geometry.height * geometry.scale_y)
    assert geometry.pad_left == 0
    assert geometry.pad_top == (H - inner) // 2 > 0


@pytest.mark.parametrize(("laterality", "usual"), [("R", "right"), ("L", "left")])
def test_the_chest_wall_is_where_the_image_shows_it_then_where_the_file_says_then_where_films_hang(
    laterality: Any, usual: str
) -> None:
    clear, even = np.tril(np.ones((50, 50), bool)), np.ones((50, 50), bool)
    assert chest_wall_side(clear, laterality, "right") == "left"
    assert chest_wall_side(clear[:, ::-1], laterality, "left") == "right"
    assert chest_wall_side(even, laterality, "right") == "right"
    assert chest_wall_side(even, laterality, "left") == "left"
    assert chest_wall_side(even, laterality) == usual


def test_a_breast_of_one_grey_level_is_refused() -> None:
    image = np.zeros((100, 100), np.float32)
    image[20:80, :50] = 5
    with pytest.raises(ImageError, match="one grey level"):
        network(image)


@pytest.mark.parametrize("frame", [(0, 64), (64, -1)])
def test_an_empty_frame_is_refused(frame: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="positive"):
        preprocess(film(), "L", "CC", *frame)


@pytest.mark.parametrize("aspect", [0.0, -1.0, float("nan"), float("inf")])
def test_an_aspect_that_is_not_positive_is_refused(aspect: float) -> None:
    with pytest.raises(InputError, match="positive"):
        network(film(), pixel_aspect=aspect)


@settings(max_examples=40)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_a_tiny_image_gives_good_pixels_or_an_image_error(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(9, size=(height, width)).astype(np.float32)
    try:
        pixels = network(image).pixels
    except ImageError:
        return
    check_views(np.stack([pixels, pixels])[None], H, W)
    assert (pixels[:, 0] > 0).any()


def test_the_input_is_not_changed() -> None:
    image = film(600, 300)
    before = image.copy()
    network(image[:, ::-1])
    np.testing.assert_array_equal(image, before)


@pytest.mark.slow
def test_every_real_pair_has_both_chest_walls_at_column_0(data_root: Path) -> None:
    from disasym.data.images import load_mammogram
    from disasym.data.manifest import read_manifest

    for dataset in ("mias", "cesm"):
        for pair in read_manifest(data_root / dataset / "manifest.csv").pairs[::12]:
            for row in (pair.right, pair.left):
                mammogram = load_mammogram(row, H, W)
                assert mammogram.geometry.mirrored == (row.laterality == "R"), row.path.name  # these films hang so
                assert (mammogram.pixels > 0).mean() > 0.25, row.path.name
