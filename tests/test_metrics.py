"""AUC and its interval against hand-worked cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.metrics import Cumulative, auc, auc_interval, bootstrap


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


# Every replicate at once


def weighted_cases() -> st.SearchStrategy[list[tuple[bool, int, int]]]:
    """Label, score and how often the entry was drawn; ties and absences included."""
    return st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=20)


@given(weighted_cases())
def test_figures_under_weights_are_those_of_scikit_learn_on_the_repeated_entries(
    rows: list[tuple[bool, int, int]],
) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is absent: pip install '.[evaluate]'")
    labels, scores, times = (np.array(column) for column in zip(*rows, strict=True))
    counted = Cumulative.of(labels, scores).weighted(times[None].astype(np.float64))
    repeated, their = np.repeat(labels, times), np.repeat(scores, times)
    if not repeated.any() or repeated.all():
        assert np.isnan(counted.auc()).all()
        return
    assert counted.auc()[0] == pytest.approx(metrics.roc_auc_score(repeated, their))
    assert counted.average_precision()[0] == pytest.approx(metrics.average_precision_score(repeated, their))
    false, true, _ = metrics.roc_curve(repeated, their, drop_intermediate=False)
    for specificity in (0.5, 0.9):
        best = true[false <= 1 - specificity + 1e-9].max()
        assert counted.sensitivity_at(specificity)[0] == pytest.approx(best)


def test_average_precision_and_sensitivity_of_a_case_worked_by_hand() -> None:
    # Falling: + − + −. Precision at the positives is 1/1 and 2/3, each holds half of the recall: 5/6.
    counted = Cumulative.of([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]).weighted(np.ones((1, 4)))
    assert counted.average_precision()[0] == pytest.approx(5 / 6)
    assert counted.sensitivity_at(1.0)[0] == 0.5  # no negative may be called: only the first positive is found
    assert counted.sensitivity_at(0.5)[0] == 1.0  # one of the two negatives may be called


def test_ten_negatives_allow_one_false_alarm_at_a_specificity_of_nine_tenths() -> None:
    labels = [0, 1] + [0] * 9
    scores = [0.9, 0.8] + [0.1] * 9
    assert Cumulative.of(labels, scores).weighted(np.ones((1, 11))).sensitivity_at(0.9)[0] == 1.0


def test_a_replicate_draws_whole_women_and_as_many_as_there_are() -> None:
    women = ["a", "a", "b", "c", "c", "c"]
    weights = bootstrap(women, lambda drawn: drawn, bootstraps=200, seed=3)
    assert weights.shape == (200, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3:] == weights[:, 3:4]).all()
    assert (weights[:, 0] + weights[:, 2] + weights[:, 3] == 3).all()


def test_the_interval_is_the_one_of_drawing_rows_one_replicate_at_a_time() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(2, size=60)
    scores = np.round(labels * 0.5 + rng.normal(size=60), 1)
    women = [str(i // 3) for i in range(60)]
    members = [np.flatnonzero(np.array(women) == woman) for woman in sorted(set(women))]
    draws = np.random.default_rng(7)
    drawn = []
    for _ in range(100):
        rows = np.concatenate([members[i] for i in draws.integers(len(members), size=len(members))])
        drawn.append(auc(labels[rows], scores[rows]))
    found = auc_interval(labels, scores, women, bootstraps=100, seed=7)
    assert (found.low, found.high) == pytest.approx(tuple(np.nanpercentile(drawn, [2.5, 97.5])))
