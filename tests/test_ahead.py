"""Work done ahead: in order, never more than a few, and never fewer while there is work."""

from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.ahead import in_order


def done(value: int) -> Future[int]:
    future: Future[int] = Future()
    future.set_result(value)
    return future


@pytest.mark.parametrize("ready", [True, False], ids=["done at once", "not done yet"])
def test_what_is_taken_is_made_up_for_before_the_next_is_given(ready: bool) -> None:
    """Else those who load rest while an engine with a device of its own works on what it took."""
    futures: list[Future[int]] = []

    def begun() -> Iterator[Future[int]]:
        for number in range(20):
            futures.append(done(number) if ready else Future())
            yield futures[-1]

    for taken, future in enumerate(in_order(begun(), 6)):
        assert future is futures[taken]
        assert len(futures) - taken == min(6, 20 - taken), "under way, the one that is given with them"


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_all_come_in_their_order_whatever_is_at_hand(at_hand: list[bool], most: int) -> None:
    begun = (done(number) if there else None for number, there in enumerate(at_hand))
    assert [future.result() for future in in_order(begun, most)] == [n for n, there in enumerate(at_hand) if there]


def test_where_nothing_is_at_hand_what_is_done_is_given_and_the_rest_waited_for() -> None:
    first, second, asked = done(1), Future[int](), []

    def begun() -> Iterator[Future[int] | None]:
        for future in (first, second, None, None):
            asked.append(future)
            yield future
        second.set_result(2)

    results = in_order(begun(), 9)
    assert next(results) is first
    assert asked == [first, second, None], "before the source has ended, and without waiting for the second"
    assert next(results).result() == 2
