"""Splits by woman: nobody in two parts, everybody in one, labels shared out evenly, always the same."""

import itertools
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.data.manifest import ImageRow, PairRow, read_manifest
from disasym.data.split import PARTS, folds, split_patients
from disasym.errors import InputError
from disasym.spec import Laterality, View


def pair(dataset: str, patient: str, view: View, right: bool, left: bool) -> PairRow:
    def row(side: Laterality, abnormal: bool) -> ImageRow:
        name = f"{patient}-{view}"
        return ImageRow(dataset, name, patient, view, side, Path(f"{name}-{side}"), abnormal, "", "", (), None, 1.0)

    return PairRow(row("R", right), row("L", left))


@st.composite
def archives(draw: st.DrawFn) -> list[PairRow]:
    """10 to 60 women of one or two data sets, one or two views each, any labels."""
    women = draw(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans(), st.booleans()), min_size=10, max_size=60
        )
    )
    pairs = []
    for number, (dataset, right, left, both_views) in enumerate(women):
        views: tuple[View, ...] = ("CC", "MLO") if both_views else ("MLO",)
        pairs += [pair(dataset, str(number), view, right, left) for view in views]
    return pairs


def women(pairs: list[PairRow]) -> set[tuple[str, str]]:
    return {(p.dataset, p.patient_id) for p in pairs}


@given(archives(), st.integers(0, 5), st.sampled_from([(8, 1, 1), (6, 2, 2), (1, 0, 1)]))
def test_every_pair_is_in_one_part_and_no_woman_in_two(
    pairs: list[PairRow], seed: int, ratios: tuple[int, int, int]
) -> None:
    parts = split_patients(pairs, ratios, seed)
    assert tuple(parts) == PARTS
    assert sorted(id(p) for part in parts.values() for p in part) == sorted(id(p) for p in pairs)
    groups = [women(part) for part in parts.values()]
    assert sum(len(group) for group in groups) == len(women(pairs))
    assert [bool(group) for group in groups] == [ratio > 0 for ratio in ratios]


@given(archives(), st.integers(0, 5))
def test_every_pair_is_tested_once_and_no_woman_is_on_both_sides_of_a_fold(pairs: list[PairRow], seed: int) -> None:
    parts = folds(pairs, 5, seed)
    assert sorted(id(p) for _, test in parts for p in test) == sorted(id(p) for p in pairs)
    for train, test in parts:
        assert train
        assert test
        assert len(train) + len(test) == len(pairs)
        assert not women(train) & women(test)


@given(archives(), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter_and_is_kept(pairs: list[PairRow], random: Random) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)
    one, two = split_patients(pairs, seed=3), split_patients(shuffled, seed=3)
    for name in PARTS:
        assert women(one[name]) == women(two[name])
        assert two[name] == [p for p in shuffled if p in one[name]]


def test_another_seed_gives_another_split() -> None:
    pairs = [pair("a", str(n), "CC", n % 2 == 0, n % 3 == 0) for n in range(60)]
    assert split_patients(pairs, seed=0)["test"] != split_patients(pairs, seed=1)["test"]


def test_ten_women_of_each_pattern_are_shared_out_eight_one_one() -> None:
    patterns = list(itertools.product((False, True), repeat=2))
    pairs = [pair("a", f"{n}-{right}-{left}", "CC", right, left) for n in range(10) for right, left in patterns]
    parts = split_patients(pairs)
    for name, count in zip(PARTS, (8, 1, 1), strict=True):
        labels = [p.labels[1:] for p in parts[name]]
        assert {pattern: labels.count(pattern) for pattern in set(labels)} == dict.fromkeys(
            [(0, 0), (0, 1), (1, 0), (1, 1)], count
        )


def test_two_data_sets_may_number_their_women_alike() -> None:
    pairs = [pair(dataset, str(n), "CC", False, False) for n in range(10) for dataset in "ab"]
    parts = split_patients(pairs)
    assert [len(parts[name]) for name in PARTS] == [16, 2, 2]


@pytest.mark.parametrize("ratios", [(8, 1), (8, 1, -1), (0, 0, 0), (8, float("nan"), 1)])
def test_ratios_that_make_no_split_are_refused(ratios: tuple[float, ...]) -> None:
    pairs = [pair("a", str(n), "CC", False, False) for n in range(10)]
    with pytest.raises(InputError, match="ratio"):
        split_patients(pairs, ratios)


def test_fewer_women_than_parts_are_refused() -> None:
    pairs = [pair("a", "1", view, False, False) for view in ("CC", "MLO")]
    with pytest.raises(InputError, match="1 patients cannot fill 3 parts"):
        split_patients(pairs)
    with pytest.raises(InputError, match="1 patients cannot fill 5 parts"):
        folds(pairs)
    with pytest.raises(InputError, match="at least 2 folds, got 1"):
        folds(pairs, k=1)


@pytest.mark.parametrize("name", ["mias", "cesm"])
def test_folds_of_real_data_share_the_labels_evenly(name: str, data_root: Path) -> None:
    pairs = read_manifest(data_root / name / "manifest.csv").pairs
    rate = np.mean([p.labels for p in pairs], axis=0)
    for train, test in folds(pairs):
        assert abs(len(test) - len(pairs) / 5) <= 2
        assert np.abs(np.mean([p.labels for p in test], axis=0) - rate).max() < 0.08
        assert not women(train) & women(test)
