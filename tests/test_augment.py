"""Random zoom and crop: the same for both breasts, chest wall and background where they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.data.augment import augment, zoom_and_shift
from disasym.errors import InputError
from disasym.spec import Array
from pairs import breast

SEEDS = st.integers(0, 2**32 - 1)


def made_views(seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return np.stack([breast(rng), breast(rng)])


def test_no_zoom_and_no_shift_change_nothing() -> None:
    views = made_views()
    np.testing.assert_array_equal(augment(views, np.random.default_rng(0), zoom=(1, 1), shift=0), views)


def test_a_zoom_of_two_reads_the_input_at_half_steps_from_the_chest_wall() -> None:
    views = np.tile(np.array([0.2, 0.4, 0.8, 0.6], np.float32), (2, 3, 1))
    moved = zoom_and_shift(views, zoom=2.0, shift=0.0)
    np.testing.assert_allclose(moved[0, 1], [0.2, 0.3, 0.4, 0.6], atol=1e-6)


def test_a_shift_moves_rows_down_and_brings_background_in() -> None:
    views = np.full((2, 4, 3), 0.5, np.float32) * np.array([0.4, 0.6, 0.8, 1.0], np.float32)[:, None]
    moved = zoom_and_shift(views, zoom=1.0, shift=1.0)
    np.testing.assert_allclose(moved[1, :, 0], [0.0, 0.2, 0.3, 0.4], atol=1e-6)


@given(SEEDS)
def test_both_sides_get_the_same_transform(seed: int) -> None:
    one = breast(np.random.default_rng(seed))
    right, left = augment(np.stack([one, one]), np.random.default_rng(seed), gamma=0.2)
    np.testing.assert_array_equal(right, left)


@given(SEEDS)
def test_views_stay_views(seed: int) -> None:
    views = made_views(seed)
    moved = augment(views, np.random.default_rng(seed), gamma=0.2)
    assert moved.dtype == np.float32
    assert moved.shape == views.shape
    assert moved.min() >= 0
    assert moved.max() <= 1
    lowest = views[views > 0].min() * 0.25  # a pixel of the skin line is at least a quarter breast
    assert moved[moved > 0].min() >= min(lowest, lowest**1.25)


@given(SEEDS)
def test_the_chest_wall_stays_at_column_0(seed: int) -> None:
    moved = augment(made_views(seed), np.random.default_rng(seed))
    tissue = moved > 0
    for side in tissue:
        rows = side.any(axis=1)
        assert rows.any()
        np.testing.assert_array_equal(side[:, 0], rows)  # every row of the breast begins at the chest wall


@given(st.floats(0.9, 1.15), st.floats(-6, 6))
def test_a_uniform_breast_stays_uniform_inside_and_exactly_0_outside(zoom: float, shift: float) -> None:
    views = np.where(made_views() > 0, np.float32(0.5), np.float32(0))
    moved = zoom_and_shift(views, zoom, shift)
    background = moved == 0
    area = (views > 0).sum() * zoom**2
    assert abs((~background).sum() - area) < 0.1 * area
    assert (np.abs(moved - 0.5) < 1e-6)[~background].mean() > 0.95


def test_the_same_generator_state_gives_the_same_bytes() -> None:
    views = made_views()
    one, two = (augment(views, np.random.default_rng(7)) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    assert augment(views, np.random.default_rng(8)).tobytes() != one.tobytes()


def test_the_input_is_left_alone() -> None:
    views = made_views()
    before = views.copy()
    augment(views, np.random.default_rng(0), gamma=0.2)
    np.testing.assert_array_equal(views, before)


def test_a_batch_and_an_impossible_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[2, H, W\], got shape \[1, 2, 128, 96\]"):
        augment(made_views()[None], np.random.default_rng(0))
    for wrong in ({"zoom": (0.0, 1.0)}, {"zoom": (1.2, 1.0)}, {"shift": -0.1}, {"gamma": -1.0}):
        with pytest.raises(InputError, match="zoom must be"):
            augment(made_views(), np.random.default_rng(0), **wrong)
