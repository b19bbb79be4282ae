"""Work that is done ahead of the one who takes its results: in their order, and never more than a few of them."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_order(begun: Iterable[Future[T]], most: int) -> Iterator[Future[T]]:
    """The futures of `begun`, in its order, whichever is done first; the next is asked for while `most` are not done.

    `begun` submits a future when it is asked for one. It may be slow: what is done is never kept back until it ends.
    """
    waiting: deque[Future[T]] = deque()
    for future in begun:
        waiting.append(future)
        while waiting and (len(waiting) == most or waiting[0].done()):
            yield waiting.popleft()
    yield from waiting
