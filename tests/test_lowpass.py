"""The low-pass filter: JPEG 2000's own, to the bit, of any size, depth and kind of number."""

from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disasym.dicom.resolutions import at_reduction, deepest
from disasym.lowpass import BLOCK, low_pass
from tolerances import tolerance


def by_codec(values: npt.NDArray[Any], reduction: int, high_throughput: bool) -> npt.NDArray[Any]:
    """What OpenJPEG decodes at that size."""
    data = bytes(
        imagecodecs.htj2k_encode(values, reversible=True)
        if high_throughput
        else imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)
    )
    assert deepest(data) >= reduction
    return np.asarray(imagecodecs.jpeg2k_decode(at_reduction(data, reduction)))


@settings(max_examples=40)
@given(
    rows=st.integers(33, 4 * BLOCK + 9),
    columns=st.integers(33, 150),
    reduction=st.integers(1, 2),
    kind=st.sampled_from([np.uint8, np.uint16, np.int16]),
    high_throughput=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_it_is_what_a_lossless_stream_holds(
    rows: int, columns: int, reduction: int, kind: type[Any], high_throughput: bool, seed: int
) -> None:
    """Noise over the whole range, so that what overshoots is held to the range too."""
    limits = np.iinfo(kind)
    values = np.random.default_rng(seed).integers(limits.min, limits.max, (rows, columns), kind, endpoint=True)
    ours = low_pass(values, reduction, 8 * values.itemsize).clip(limits.min, limits.max)
    np.testing.assert_array_equal(ours, by_codec(values, reduction, high_throughput))


def test_a_case_worked_by_hand() -> None:
    """x = 4, 8, 2, 7, mirrored to 8, 4, 8, 2, 7, 2: d = 5, 5; s = 4 + ⌊12/4⌋, 2 + ⌊12/4⌋; the mirrored d is 5 too."""
    row = np.array([[4, 8, 2, 7]], np.uint16)
    assert low_pass(row, 1).tolist() == [[7, 5]]
    assert low_pass(row.T, 1).tolist() == [[7], [5]]
    assert low_pass(row.astype(np.float32), 1).tolist() == [[6.5, 4.5]]
    assert low_pass(row, 0) is row


@pytest.mark.parametrize("bits", [8, 10, 12, 13, 14, 16])
@pytest.mark.parametrize("reduction", [1, 2, 3, 4])
def test_whole_numbers_never_wrap_round(bits: int, reduction: int) -> None:
    """Against 32 bits at every step, which hold all of them, on black and white in the blocks that overshoot most."""
    rng = np.random.default_rng(bits)
    pattern = np.kron(rng.integers(0, 2, (32, 32)), np.ones((5, 3), np.int64)) * (2**bits - 1)
    pattern[::2] ^= np.int64(2**bits - 1)
    ours = low_pass(pattern.astype(np.uint16), reduction, bits)
    assert ours.dtype in (np.int16, np.int32)
    np.testing.assert_array_equal(ours, low_pass(pattern, reduction, 40))


def test_floats_are_the_same_without_rounding() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (131, 93)).astype(np.uint16)
    floats = low_pass((values / np.float32(4095)).astype(np.float32), 2)
    assert floats.dtype == np.float32
    assert np.abs(floats - low_pass(values, 2, 12) / 4095).max() < tolerance("whole numbers in the filter")


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_a_flat_picture_stays_flat_however_small(shape: tuple[int, int], kind: type[Any]) -> None:
    smaller = low_pass(np.full(shape, 77, kind), 2)
    assert smaller.shape == tuple(-(-size // 4) for size in shape)
    assert (smaller == 77).all()
