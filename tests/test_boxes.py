"""Lesion boxes: which regions there are, and that their borders lie where they lay in the film."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from disasym.infer.boxes import HOT, LEAST, bounds, find_regions, in_file, mask_in_file, regions_of
from disasym.infer.stages import Loaded, Scored, load_pair
from disasym.preprocess import Box, Geometry, Mammogram, preprocess
from disasym.resample import resample_columns, resample_rows
from disasym.spec import Array, Laterality
from exams import jobs_of
from phantom import film

HEIGHT, WIDTH = 256, 128


def view_of(laterality: Laterality = "L", rows: int = 300, columns: int = 220, aspect: float = 1.0) -> Mammogram:
    """A made-up film: the breast at the left for the left breast, at the right for the right one."""
    image = film(rows, columns)
    image = image[:, ::-1] if laterality == "R" else image
    return preprocess(image, laterality, "CC", HEIGHT, WIDTH, pixel_aspect=aspect)


def cam_with(*cells: tuple[int, int], value: float = 0.9) -> Array:
    cam = np.zeros((HEIGHT // 32, WIDTH // 32), np.float32)
    for cell in cells:
        cam[cell] = value
    return cam


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def seen_by_network(painted: Array, geometry: Geometry) -> Array:
    """An image of the film's size through the crop, mirror, resize and pad of the film."""
    inner_height, inner_width = round(geometry.height * geometry.scale_y), round(geometry.width * geometry.scale_x)
    rows = resample_rows(painted, geometry.top, geometry.top + geometry.height, inner_height)
    rows = rows[:, ::-1] if geometry.mirrored else rows
    inner = resample_columns(rows, geometry.left, geometry.left + geometry.width, inner_width)
    seen = np.zeros((HEIGHT, WIDTH), np.float32)
    seen[geometry.pad_top : geometry.pad_top + inner_height, :inner_width] = inner
    return seen


# Where


@given(
    st.sampled_from(["R", "L"]),
    st.tuples(st.integers(150, 900), st.integers(150, 700)),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.tuples(*[st.floats(0.0, 1.0)] * 4),
)
def test_the_box_of_a_square_painted_into_the_film_comes_back_within_a_pixel_of_the_sampling(
    laterality: Laterality, size: tuple[int, int], aspect: float, place: tuple[float, float, float, float]
) -> None:
    geometry = view_of(laterality, *size, aspect).geometry
    left = geometry.source_width - geometry.left - geometry.width if geometry.mirrored else geometry.left
    step_x, step_y = max(1.0, 1 / geometry.scale_x), max(1.0, 1 / geometry.scale_y)  # of the sampling, in the film
    x0 = left + int(place[0] * (geometry.width - 3 * step_x))
    y0 = geometry.top + int(place[1] * (geometry.height - 3 * step_y))
    x1 = min(left + geometry.width, x0 + int(np.ceil(3 * step_x + place[2] * geometry.width / 2)))
    y1 = min(geometry.top + geometry.height, y0 + int(np.ceil(3 * step_y + place[3] * geometry.height / 2)))
    painted = np.zeros((geometry.source_height, geometry.source_width), np.float32)
    painted[y0:y1, x0:x1] = 1
    found = in_file(bounds(seen_by_network(painted, geometry) > 0.5), geometry)
    for edge, wanted, step in zip(found, (x0, y0, x1, y1), (step_x, step_y, step_x, step_y), strict=True):
        assert abs(edge - wanted) <= step + 0.01


@given(st.sampled_from(["R", "L"]), st.integers(0, 2**32 - 1))
def test_a_mask_in_the_film_is_the_mask_at_the_place_of_each_pixels_centre(laterality: Laterality, seed: int) -> None:
    geometry = view_of(laterality).geometry
    rng = np.random.default_rng(seed)
    mask = rng.random((HEIGHT, WIDTH)) > 0.5
    placed = mask_in_file(mask, geometry)
    assert placed.shape == (geometry.source_height, geometry.source_width)
    for row, column in zip(rng.integers(0, placed.shape[0], 50), rng.integers(0, placed.shape[1], 50), strict=True):
        x, y = geometry.to_network(column + 0.5, row + 0.5)
        inside = 0 <= x < WIDTH and 0 <= y < HEIGHT
        assert placed[row, column] == (inside and mask[int(y), int(x)])


def test_box_and_mask_of_a_region_agree_in_the_film() -> None:
    for laterality in ("R", "L"):
        view = view_of(laterality)
        (region,) = find_regions(view, cam_with((4, 1)))
        around = bounds(mask_in_file(region.mask, view.geometry))
        assert np.abs(np.subtract(around, region.box)).max() <= 1


def test_a_region_of_the_right_breast_lies_at_its_own_side_of_the_film() -> None:
    """The chest wall of a right breast is at the right of its film: a mirrored box would be the worst mistake."""
    (right,), (left,) = (find_regions(view_of(side), cam_with((4, 0))) for side in ("R", "L"))
    assert right.box[2] == 220  # the film is 220 wide, the region at the chest wall
    assert left.box[0] == 0
    np.testing.assert_allclose((220 - right.box[2], 220 - right.box[0]), (left.box[0], left.box[2]), atol=1.0)
    np.testing.assert_allclose((right.box[1], right.box[3]), (left.box[1], left.box[3]), atol=1.0)


# Which


def test_every_separate_hot_place_is_a_region_and_the_hottest_comes_first() -> None:
    view = view_of()
    cam = cam_with((2, 1), value=0.7) + cam_with((6, 1), value=0.95)
    first, second = find_regions(view, cam)
    assert first.score > second.score >= HOT
    assert first.score <= np.float32(0.95)  # no hotter than the map, though interpolation overshoots
    assert first.box[1] > second.box[3]  # the sixth row of cells lies below the second


def test_a_side_that_is_more_probably_normal_has_no_region() -> None:
    """The CAM is scaled by the side's probability, here 0.49."""
    assert find_regions(view_of(), np.full((8, 4), 0.49, np.float32)) == ()


def test_without_a_map_nobody_has_looked_which_is_not_the_same_as_nothing_found(tmp_path: Path) -> None:
    pair = load_pair(jobs_of(tmp_path, 1)[0], HEIGHT, WIDTH)
    assert isinstance(pair, Loaded)
    scored = Scored(pair.job, pair.right, pair.left, asymmetry=0.5, abnormal=(0.9, 0.9))
    assert regions_of(scored) is None
    assert regions_of(replace(scored, cam=np.zeros((2, 8, 4), np.float32))) == ()


def test_a_pairs_regions_are_those_of_each_breast_in_its_own_film(tmp_path: Path) -> None:
    pair = load_pair(jobs_of(tmp_path, 1)[0], HEIGHT, WIDTH)
    assert isinstance(pair, Loaded)
    cam = np.stack([cam_with((2, 1)), cam_with((5, 0))])
    scored = Scored(pair.job, pair.right, pair.left, asymmetry=0.5, abnormal=(0.9, 0.9), cam=cam)
    regions = regions_of(scored)
    assert regions is not None
    right, left = regions
    assert (right.laterality, left.laterality) == ("R", "L")
    assert right.box == find_regions(pair.right, cam[0])[0].box
    assert left.box == find_regions(pair.left, cam[1])[0].box


def test_heat_outside_of_the_breast_is_no_region() -> None:
    view = view_of()
    assert not (view.pixels[:32, 96:] > 0).any()
    assert find_regions(view, cam_with((0, 3))) == ()


def test_slivers_are_left_out() -> None:
    view = view_of()
    thin = np.zeros_like(view.pixels)
    thin[100 : 100 + 4, 0 : LEAST // 4 - 2] = 0.5  # all of the breast that there is: LEAST − 8 pixels
    sliver = Mammogram(thin, "L", "CC", view.geometry)
    assert find_regions(sliver, np.ones((8, 4), np.float32)) == ()
    thin[100 : 100 + 4, 0 : LEAST // 4] = 0.5
    assert len(find_regions(sliver, np.ones((8, 4), np.float32))) == 1


@given(st.integers(20, 200), st.integers(5, 60), st.integers(10, 40), st.integers(10, 40))
def test_the_abnormality_image_draws_the_borders_where_it_shows_something(y: int, x: int, w: int, h: int) -> None:
    view = view_of()
    shown = np.zeros_like(view.pixels)
    shown[y : y + h, x : x + w] = 0.8
    assume((view.pixels[y : y + h, x : x + w] > 0).all())
    (region,) = find_regions(view, np.full((8, 4), 0.9, np.float32), shown)
    assert region.outline == "abnormality"
    assert np.abs(np.subtract(region.frame, (x, y, x + w, y + h))).max() <= 4  # the standard deviation of the smoothing
    assert overlap(region.frame, (x, y, x + w, y + h)) > 0.5


def test_an_abnormality_image_that_is_nearly_black_says_nothing() -> None:
    view = view_of()
    shown = np.full_like(view.pixels, 0.05)
    with_it, without = find_regions(view, cam_with((4, 1)), shown), find_regions(view, cam_with((4, 1)))
    assert [region.outline for region in with_it] == ["cam"]
    assert with_it[0].box == without[0].box


@pytest.mark.parametrize("value", [0.5, 0.75, 1.0])
def test_a_wholly_hot_breast_is_one_region_with_the_score_of_its_heat(value: float) -> None:
    (region,) = find_regions(view_of(), np.full((8, 4), value, np.float32))
    assert region.score == pytest.approx(value, abs=1e-6)
    tissue = view_of().pixels > 0
    assert region.frame == bounds(tissue)


def test_the_same_view_gives_the_same_boxes() -> None:
    cam = np.random.default_rng(3).random((8, 4)).astype(np.float32)
    first, second = (find_regions(view_of("R"), cam) for _ in range(2))
    assert [region.box for region in first] == [region.box for region in second]
    assert len(first) >= 1
