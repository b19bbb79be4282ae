"""AUC and its interval against hand-worked cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.metrics import auc, auc_interval


def test_auc_counts_the_pairs_in_the_right_order() -> None:
    # positives 0.9 and 0.4 against negatives 0.5 and 0.1: three of four pairs stand right
    assert auc([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1]) == 0.75


def test_a_tie_counts_half() -> None:
    assert auc([1, 0], [0.5, 0.5]) == 0.5


def test_auc_is_nan_where_a_class_is_absent() -> None:
    assert math.isnan(auc([1, 1], [0.1, 0.2]))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_equals_the_share_of_pairs_by_definition(rows: list[tuple[bool, int]]) -> None:
    positive = [score for label, score in rows if label]
    negative = [score for label, score in rows if not label]
    if positive and negative:
        share = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
        assert auc([label for label, _ in rows], [score for _, score in rows]) == pytest.approx(share)


def test_the_interval_holds_the_value_and_repeats_with_the_seed() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    scores = labels + rng.normal(size=80)
    groups = [str(i // 2) for i in range(80)]
    found = auc_interval(labels, scores, groups)
    assert found.low < found.value < found.high
    assert found == auc_interval(labels, scores, groups)


def test_images_of_one_woman_are_drawn_together() -> None:
    # Four copies of each of ten women carry no more information than the women: the interval must not shrink.
    rng = np.random.default_rng(1)
    labels = np.arange(10) % 2
    scores = labels + rng.normal(size=10)
    women = [str(i) for i in range(10)]
    once = auc_interval(labels, scores, women)
    four_times = auc_interval(np.repeat(labels, 4), np.repeat(scores, 4), np.repeat(women, 4).tolist())
    assert four_times.high - four_times.low == pytest.approx(once.high - once.low, abs=0.05)
