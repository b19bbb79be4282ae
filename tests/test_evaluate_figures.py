"""What an evaluation counts and computes, against cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="scikit-learn is absent: pip install '.[evaluate]'")

from disasym.errors import InputError
from disasym.evaluate.comparison import compare
from disasym.evaluate.delong import DeLong, components, delong
from disasym.evaluate.discrimination import Draws, difference, discrimination
from disasym.evaluate.levels import check_groupings, samples
from disasym.metrics import Interval, auc
from evaluations import pair, predictions, side

# DeLong's test


def test_delongs_test_of_a_case_worked_by_hand() -> None:
    # V10 of the first is 1 and 1/2, V01 is 1/2 and 1; all of the second's are 1. The differences of the components are
    # (0, −1/2) and (−1/2, 0), each with variance 1/8, so Var = 1/8 / 2 + 1/8 / 2 = 1/8, z = −1/4 / √(1/8) = −1/√2.
    found = delong([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1], [0.8, 0.7, 0.2, 0.6])
    assert isinstance(found, DeLong)
    assert found.difference == pytest.approx(-0.25)
    assert found.standard_error == pytest.approx(8**-0.5)
    assert found.z == pytest.approx(-(2**-0.5))
    assert found.p == pytest.approx(0.4795, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((-0.25 - 1.96 * 8**-0.5, -0.25 + 1.96 * 8**-0.5), abs=1e-4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=15))
def test_the_components_are_the_shares_of_their_definition(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([label for label, _ in rows])
    scores = np.array([[score for _, score in rows]], dtype=np.float64)
    if positive.any() and not positive.all():
        x, y = scores[0, positive], scores[0, ~positive]
        psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
        of_positive, of_negative = components(positive, scores)
        assert of_positive[0] == pytest.approx(psi.mean(axis=1))
        assert of_negative[0] == pytest.approx(psi.mean(axis=0))
        assert of_positive.mean() == pytest.approx(auc(positive, scores[0]))


def test_swapping_the_models_turns_delongs_difference_around() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    first, second = labels + rng.normal(size=40), labels + rng.normal(size=40)
    there, back = delong(labels, first, second), delong(labels, second, first)
    assert isinstance(there, DeLong)
    assert isinstance(back, DeLong)
    assert (there.difference, there.z, there.p) == pytest.approx((-back.difference, -back.z, back.p))


def test_delongs_test_of_a_model_with_itself_finds_nothing() -> None:
    found = delong([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1], [0.8, 0.3, 0.4, 0.0])
    assert isinstance(found, DeLong)
    assert (found.difference, found.p) == (0.0, 1.0)


@pytest.mark.parametrize("labels", [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
def test_delongs_test_needs_two_of_each_class(labels: list[int]) -> None:
    assert str(delong(labels, [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1])).startswith("not defined: needs 2 positives")


# What is counted


def test_sides_pairs_and_women_are_counted_with_their_own_truth_and_score() -> None:
    sick = [pair(side("R", True, "a", view), side("L", False, "a", view)) for view in ("CC", "MLO")]
    well = pair(side("R", False, "b"), side("L", False, "b"))
    found = samples(predictions([(sick[0], 0.7, 0.9, 0.2), (sick[1], 0.6, 0.5, 0.4), (well, 0.1, 0.3, 0.35)]))
    assert found["side"].labels.tolist() == [1, 0, 1, 0, 0, 0]
    assert found["side"].scores == pytest.approx([0.9, 0.2, 0.5, 0.4, 0.3, 0.35])
    assert found["pair"].labels.tolist() == [1, 1, 0]
    assert found["pair"].scores == pytest.approx([0.7, 0.6, 0.1])
    assert found["woman"].labels.tolist() == [1, 0]
    assert found["woman"].scores == pytest.approx([0.7, 0.35])  # right breast: (0.9 + 0.5) / 2, left: (0.2 + 0.4) / 2
    assert len(set(found["side"].women)) == 2


def test_an_unknown_side_is_left_out_and_decides_its_pair_only_if_the_other_is_abnormal() -> None:
    half = pair(side("R", None, "a"), side("L", False, "a"))
    sick = pair(side("R", None, "b"), side("L", True, "b"))
    found = samples(predictions([(half, 0.1, 0.2, 0.3), (sick, 0.4, 0.5, 0.6)]))
    assert found["side"].scores == pytest.approx([0.3, 0.6])
    assert found["pair"].scores == pytest.approx([0.4])
    assert found["woman"].labels.tolist() == [1]


def test_two_data_sets_that_number_their_women_alike_have_different_women() -> None:
    rows = [pair(side("R", True, "1", dataset=name), side("L", False, "1", dataset=name)) for name in ("x", "y")]
    found = samples(predictions([(rows[0], 0.1, 0.2, 0.3), (rows[1], 0.4, 0.5, 0.6)]))
    assert len(found["woman"].entries) == 2


def test_groups_are_the_values_of_a_column_and_what_is_none_comes_last() -> None:
    rows = [pair(side("R", True, str(i), density=d), side("L", False, str(i), density=d)) for i, d in enumerate("BA")]
    rows.append(pair(side("R", True, "2", density="A"), side("L", False, "2", density="C")))
    rows.append(pair(side("R", True, "3"), side("L", False, "3")))
    sample = samples(predictions([(row, at / 10, at / 10, at / 10) for at, row in enumerate(rows)]))["pair"]
    assert sample.values("density") == ["A", "B", "mixed", "unknown"]
    assert sample.where("density", "A").scores == pytest.approx([0.1])


def test_a_column_that_makes_no_groups_is_refused() -> None:
    with pytest.raises(InputError, match="no groups by hospital: choose from dataset, view"):
        check_groupings(["hospital"])


# Figures of a sample


def test_figures_have_the_values_of_the_sample_and_the_same_draws_the_same_intervals() -> None:
    rng = np.random.default_rng(2)
    rows = []
    for number in range(60):
        sick = number % 2 == 0
        score = float(np.clip(0.3 + 0.3 * sick + rng.normal() * 0.15, 0, 1))
        woman = pair(side("R", sick, str(number)), side("L", False, str(number)))
        rows.append((woman, score, score, 0.2))
    sample = samples(predictions(rows))["pair"]
    found = discrimination(sample, Draws(200, 1))
    assert (found.entries, found.positives, found.women) == (60, 30, 60)
    area = found.figures["auc"]
    assert isinstance(area, Interval)
    assert area.value == auc(sample.labels, sample.scores)
    for figure in found.figures.values():
        assert isinstance(figure, Interval)
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert discrimination(sample, Draws(200, 1)) == found
    assert discrimination(sample, Draws(200, 2)) != found


def test_a_sample_of_one_class_has_no_figures_but_a_reason() -> None:
    rows = [(pair(side("R", True, str(n)), side("L", True, str(n))), 0.5, 0.5, 0.5) for n in range(3)]
    found = discrimination(samples(predictions(rows))["side"], Draws(10))
    assert set(found.figures.values()) == {"not defined: 6 positive and 0 negative"}


def test_a_group_that_is_too_small_for_a_figure_says_so() -> None:
    rows = [(pair(side("R", True, str(n)), side("L", False, str(n))), 0.5, 0.5, 0.4) for n in range(3)]
    found = discrimination(samples(predictions(rows))["side"], Draws(10), fewest=10)
    assert found.figures["auc"] == "not computed: 3 positive and 3 negative, 10 of each are needed"


def test_the_difference_of_two_models_is_drawn_with_the_same_women_for_both() -> None:
    rng = np.random.default_rng(4)
    rows = []
    for number in range(40):
        score = float(rng.uniform())
        woman = pair(side("R", bool(rng.integers(2)), str(number)), side("L", False, str(number)))
        rows.append((woman, score, score, 0.1))
    sample = samples(predictions(rows))["pair"]
    found = difference(sample, sample, Draws(100))
    assert found == Interval(0.0, 0.0, 0.0)  # drawn apart, it would spread


def test_models_are_compared_on_the_pairs_that_both_scored() -> None:
    rows = [(pair(side("R", n % 2 == 0, str(n)), side("L", False, str(n))), n / 10, n / 10, 0.1) for n in range(8)]
    (sides, pairs, women) = compare(predictions(rows[1:]), predictions(rows[:-1]), Draws(50))
    assert (sides.entries, pairs.entries, women.entries) == (12, 6, 6)
    assert (sides.one_each, pairs.one_each) == (False, True)
