"""Splits by woman, never by image: no patient stands in two parts (DESIGN §1: patient-level, 8:1:1).

Patients are stratified by what they show: the data set and whether any of their pairs has an abnormal right, an
abnormal left side. Each part therefore sees about the same share of symmetric, right, left and bilateral cases,
counted in pairs, since some women bring one view and others two.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from disasym.data.manifest import PairRow
from disasym.errors import InputError

PARTS = ("train", "validation", "test")
Patient = tuple[str, str]  # data set and patient_id: two data sets may number their patients alike
Pattern = tuple[str, bool, bool]  # data set, any abnormal right, any abnormal left
Counts = npt.NDArray[np.float64]


def split_patients(
    pairs: Sequence[PairRow], ratios: Sequence[float] = (8, 1, 1), seed: int = 0
) -> dict[str, list[PairRow]]:
    """Pairs → {"train", "validation", "test"}, each in the order given, sizes as `ratios` in pairs.

    The same pairs (in any order), ratios and seed give the same parts. A ratio of 0 leaves its part empty.

    Raises:
        InputError: not three ratios, a negative or no positive one, or fewer patients than parts.
    """
    if len(ratios) != len(PARTS):
        raise InputError(f"a split has {len(PARTS)} ratios ({', '.join(PARTS)}), got {len(ratios)}: {list(ratios)}")
    part = _assign(pairs, ratios, seed)
    return {name: [p for p in pairs if part[_patient(p)] == number] for number, name in enumerate(PARTS)}


def folds(pairs: Sequence[PairRow], k: int = 5, seed: int = 0) -> list[tuple[list[PairRow], list[PairRow]]]:
    """k (train, test) parts; every pair is in exactly one test part, no patient on both sides of one fold.

    Raises:
        InputError: k < 2, or fewer patients than folds.
    """
    if k < 2:
        raise InputError(f"cross-validation needs at least 2 folds, got {k}")
    part = _assign(pairs, [1.0] * k, seed)
    return [
        ([p for p in pairs if part[_patient(p)] != fold], [p for p in pairs if part[_patient(p)] == fold])
        for fold in range(k)
    ]


def _assign(pairs: Sequence[PairRow], ratios: Sequence[float], seed: int) -> dict[Patient, int]:
    """The part of each patient.

    Stratum by stratum, women with many pairs before those with few, each goes to the part that lacks most: of the
    stratum first, of everything next. `seed` shuffles the women who bring equally many pairs.
    """
    shares = _shares(ratios)
    groups = _by_patient(pairs)
    if len(groups) < np.count_nonzero(shares):
        raise InputError(
            f"{len(groups)} patients cannot fill {np.count_nonzero(shares)} parts:"
            " give more patients, fewer folds, or a ratio of 0"
        )
    strata: dict[Pattern, list[Patient]] = {}
    for patient in sorted(groups):
        strata.setdefault(_pattern(groups[patient]), []).append(patient)

    rng = np.random.default_rng(seed)
    total: Counts = np.zeros(len(shares))
    part: dict[Patient, int] = {}
    for pattern in sorted(strata, key=lambda p: (len(strata[p]), p)):  # rare patterns have the least freedom: first
        held: Counts = np.zeros(len(shares))
        stratum = [strata[pattern][i] for i in rng.permutation(len(strata[pattern]))]
        stratum.sort(key=lambda patient: -len(groups[patient]))  # stable: the shuffle decides among equals
        size = sum(len(groups[patient]) for patient in stratum)
        for patient in stratum:
            number = _neediest(shares, held, size, total, len(pairs))
            part[patient] = number
            held[number] += len(groups[patient])
            total[number] += len(groups[patient])
    _fill_empty(part, shares)
    return part


def _neediest(shares: Counts, held: Counts, size: int, total: Counts, pairs: int) -> int:
    """The part that lacks the most of its share of the stratum; among those within half a pair, of everything."""
    lack = shares * size - held
    lack[shares == 0] = -np.inf
    close = np.flatnonzero(lack >= lack.max() - 0.5)
    return int(close[np.argmax((shares * pairs - total)[close])])


def _fill_empty(part: dict[Patient, int], shares: Counts) -> None:
    """Few patients and uneven ratios can leave a part empty: it takes one patient from the fullest."""
    for number in np.flatnonzero(shares):
        members = np.bincount(list(part.values()), minlength=len(shares))
        if members[number] == 0:
            fullest = int(np.argmax(members))
            part[max(patient for patient, n in part.items() if n == fullest)] = int(number)


def _shares(ratios: Sequence[float]) -> Counts:
    shares = np.asarray(ratios, np.float64)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise InputError(f"ratios must be numbers of at least 0, one of them positive, got {list(ratios)}")
    return np.asarray(shares / shares.sum(), np.float64)


def _by_patient(pairs: Sequence[PairRow]) -> dict[Patient, list[PairRow]]:
    groups: dict[Patient, list[PairRow]] = {}
    for pair in pairs:
        groups.setdefault(_patient(pair), []).append(pair)
    return groups


def _patient(pair: PairRow) -> Patient:
    return pair.dataset, pair.patient_id


def _pattern(pairs: Sequence[PairRow]) -> Pattern:
    return pairs[0].dataset, any(p.right.abnormal for p in pairs), any(p.left.abnormal for p in pairs)
