"""What keeps numbers that are none out of engines and results, wherever in an array they stand."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from disasym.errors import InputError
from disasym.spec import all_finite, check_views

FLOATS = ("float16", "float32", "float64")
NOT_FINITE = (np.nan, -np.nan, np.inf, -np.inf)
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda values: values,
    "columns first": np.asfortranarray,
    "backwards": lambda values: values[::-1],
    "every second": lambda values: np.repeat(values, 2, axis=-1)[..., ::2],
    "read-only": lambda values: np.lib.stride_tricks.as_strided(values, writeable=False),
}


@st.composite
def finite_arrays(draw: st.DrawFn) -> np.ndarray:
    """Any finite numbers: huge, denormal, negative, both zeros; of any shape and layout."""
    dtype = np.dtype(draw(st.sampled_from(FLOATS)))
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=4, max_side=7))
    numbers = st.floats(width=8 * dtype.itemsize, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]
    if draw(st.booleans()):
        numbers = numbers.map(abs)
    values = draw(arrays.arrays(dtype, shape, elements=numbers))
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](values)


@settings(max_examples=150, deadline=None)
@given(finite_arrays(), st.sampled_from(NOT_FINITE), st.data())
def test_one_number_that_is_none_is_found_wherever_it_stands(
    values: np.ndarray, bad: float, data: st.DataObject
) -> None:
    assert all_finite(values)
    spoilt = values.copy(order="K")
    spoilt[tuple(data.draw(st.integers(0, side - 1)) for side in values.shape)] = bad
    assert not all_finite(spoilt)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", NOT_FINITE)
def test_every_place_of_an_odd_shape_is_looked_at(dtype: str, bad: float) -> None:
    for background in (0.5, -0.5, -0.0):
        values = np.full((3, 7, 5), background, dtype)
        for place in np.ndindex(values.shape):
            values[place] = bad
            assert not all_finite(values), place
            values[place] = background
        assert all_finite(values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_and_smallest_finite_numbers_are_no_false_alarm(dtype: str) -> None:
    limits = np.finfo(dtype)
    for numbers in ([limits.max] * 99, [limits.min] * 99, [limits.max, limits.min], [limits.smallest_subnormal, -0.0]):
        assert all_finite(np.array(numbers, dtype)), numbers


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FBFFFFF, 0x7FFFFFFF, 0xFF800001, 0xFFC00000, 0xFFFFFFFF])
def test_nan_of_any_payload_is_found(bits: int) -> None:
    assert not all_finite(np.array([0, bits, 0], np.uint32).view(np.float32))


@pytest.mark.parametrize("bad", [*NOT_FINITE, np.nextafter(np.float32(1), np.float32(2)), -np.finfo("f4").tiny, -1e-45])
def test_every_place_of_views_is_held_to_the_range(bad: float) -> None:
    views = np.linspace(0, 1, 2 * 2 * 3 * 5, dtype=np.float32).reshape(2, 2, 3, 5)
    views[1, 0, 1, 1] = -0.0
    check_views(views, 3, 5)
    for place in np.ndindex(views.shape):
        spoilt = views.copy()
        spoilt[place] = bad
        for layout in LAYOUTS.values():
            with pytest.raises(InputError, match="must lie in"):
                check_views(layout(spoilt), 3, 5)
