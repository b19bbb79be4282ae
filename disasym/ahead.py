"""Work that is done ahead of the one who takes its results: in their order, and never more than a few of them."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_order(begun: Iterable[Future[T] | None], most: int) -> Iterator[Future[T]]:
    """The futures of `begun`, in its order, whichever is done first; `most` are under way while results are taken.

    `begun` submits a future when it is asked for one. Each result that is taken is made up for before the next one, so
    that those who work do not rest while the taker is busy with what it has. Where nothing is at hand yet, `begun` may
    give None instead of blocking: then all that is done is given first.
    """
    waiting: deque[Future[T]] = deque()
    for future in begun:
        if future is not None:
            waiting.append(future)
        while waiting and (len(waiting) == most or (future is None and waiting[0].done())):
            yield waiting.popleft()
    yield from waiting
