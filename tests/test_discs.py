"""Discs as shifts of one whole number give what scipy's exact distances give."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from disasym.discs import dilate, erode


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    radius=st.floats(0, 50),
    share=st.sampled_from([0.0, 0.01, 0.3, 0.99, 1.0]),
)
def test_dilation_and_erosion_are_thresholds_of_the_euclidean_distance(
    seed: int, shape: tuple[int, int], radius: float, share: float
) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    near = ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask
    np.testing.assert_array_equal(dilate(mask, radius), near)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    np.testing.assert_array_equal(erode(mask, radius), inside > radius)


def test_a_disc_worked_by_hand() -> None:
    """Radius 2: within √(x² + y²) ≤ 2 lie 13 pixels; the corners of the 5 × 5 square are √8 away, (2, 1) is √5."""
    point = np.zeros((7, 9), bool)
    point[3, 4] = True
    disc = dilate(point, 2)
    assert disc.sum() == 13
    assert disc[1, 4] and disc[3, 2] and disc[2, 3] and not disc[1, 3]  # noqa: PT018 - one picture
    assert (erode(disc, 2.1) == point).all()  # everything outside is at least √5 away


def test_what_leaves_a_row_does_not_enter_the_next() -> None:
    edge = np.zeros((5, 6), bool)
    edge[:, -1] = True
    assert not dilate(edge, 4)[:, 0].any()
    assert dilate(edge, 5).all()
