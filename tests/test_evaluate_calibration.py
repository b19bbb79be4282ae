"""Calibration figures against cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="scikit-learn is absent: pip install '.[evaluate]'")
from sklearn.calibration import calibration_curve

from disasym.evaluate.calibration import BINS, Bin, calibration, expected_calibration_error, reliability
from disasym.evaluate.discrimination import Draws
from disasym.evaluate.levels import samples
from disasym.metrics import Interval
from evaluations import pair, predictions, side

LABELS = np.array([0, 1, 1, 0, 1], np.float64)
SCORES = np.array([0.05, 0.05, 0.75, 0.78, 1.0])


def test_bins_and_ece_of_a_case_worked_by_hand() -> None:
    # [0, .1): mean .05, share 1/2; [.7, .8): mean .765, share 1/2; [.9, 1]: mean 1, share 1.
    bins = reliability(LABELS, SCORES)
    assert [(each.low, each.high, each.entries) for each in bins] == [(0.0, 0.1, 2), (0.7, 0.8, 2), (0.9, 1.0, 1)]
    assert [(each.score, each.share) for each in bins] == [
        pytest.approx((0.05, 0.5)),
        pytest.approx((0.765, 0.5)),
        pytest.approx((1, 1)),
    ]
    assert expected_calibration_error(bins) == pytest.approx((2 * 0.45 + 2 * 0.265 + 0) / 5)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.999)), min_size=1, max_size=40))
def test_the_bins_are_those_of_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    labels, scores = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    if np.any(np.isclose(scores * BINS, np.round(scores * BINS))):
        return  # on the border of two bins rounding decides
    share, mean = calibration_curve(labels, scores, n_bins=BINS)
    bins = reliability(labels, scores)
    assert [each.share for each in bins] == pytest.approx(share)
    assert [each.score for each in bins] == pytest.approx(mean)
    assert sum(each.entries for each in bins) == len(rows)
    assert 0 <= expected_calibration_error(bins) <= 1


def test_scores_that_mean_what_they_say_have_an_ece_of_0() -> None:
    assert expected_calibration_error((Bin(0.2, 0.3, 8, 0.25, 0.25), Bin(0.7, 0.8, 4, 0.75, 0.75))) == 0


def test_brier_score_and_gap_of_a_case_worked_by_hand() -> None:
    # Sides: (0.9, 1), (0.2, 0), (0.4, 0), (0.3, 0): Brier (.01 + .04 + .16 + .09) / 4, gap 1.8 / 4 − 1 / 4
    rows = [
        (pair(side("R", True, "a"), side("L", False, "a")), 0.7, 0.9, 0.2),
        (pair(side("R", False, "b"), side("L", False, "b")), 0.1, 0.4, 0.3),
    ]
    found = calibration(samples(predictions(rows))["side"], Draws(100))
    assert isinstance(found.brier, Interval)
    assert isinstance(found.gap, Interval)
    assert found.brier.value == pytest.approx(0.075, abs=1e-6)
    assert found.gap.value == pytest.approx(0.2, abs=1e-6)
    assert (found.entries, found.positives, found.women) == (4, 1, 2)
    assert (found.brier.low, found.brier.high) == pytest.approx((0.025, 0.125), abs=1e-6)  # one woman or the other


def test_one_class_alone_has_a_calibration_too_and_nothing_has_none() -> None:
    normal = [(pair(side("R", False, "b"), side("L", False, "b")), 0.1, 0.4, 0.3)]
    found = calibration(samples(predictions(normal))["side"], Draws(10))
    assert found.ece == pytest.approx(0.35, abs=1e-6)
    assert calibration(samples(predictions([]))["side"], Draws(10)).brier == "not defined: no entry"
