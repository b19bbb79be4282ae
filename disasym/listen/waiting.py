"""Which examination is analysed next: when it is complete and its sender has hung up, or after a time of quiet.

A PACS sends the films of a study one after the other, as a rule in one association. To begin with the first pair that
is there would compare views that a later film replaces. So an examination is ready when

- every view that it has is there of both breasts, and no association that brought one of its films is open; or
- no film has come for `timeout` seconds, whatever is there.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class _Waiting:
    since: float  # when its last film came
    not_before: float = 0.0  # after a failure: when it is tried again
    failures: int = 0
    complete: bool | None = None  # None: nobody has looked since the last film
    open: set[int] = field(default_factory=set)  # associations that brought a film of it and go on


class WaitingRoom:
    """The examinations with films that were not analysed. Any thread may use it; one thread asks for the `next`."""

    def __init__(self, timeout: float, complete: Callable[[str], bool], clock: Callable[[], float]) -> None:
        """`complete` says whether every view of an examination is there of both breasts."""
        self._timeout, self._complete, self._clock = timeout, complete, clock
        self._waiting: dict[str, _Waiting] = {}
        self._changed = threading.Condition()

    def arrived(self, exam: str, association: int | None = None) -> None:
        """A film of `exam` came, over an association that is open; None: it was found when the program started."""
        with self._changed:
            waiting = self._waiting.setdefault(exam, _Waiting(self._clock()))
            waiting.since, waiting.complete, waiting.not_before, waiting.failures = self._clock(), None, 0.0, 0
            if association is not None:
                waiting.open.add(association)
            self._changed.notify()

    def closed(self, association: int) -> None:
        """An association has ended."""
        with self._changed:
            for waiting in self._waiting.values():
                waiting.open.discard(association)
            self._changed.notify()

    def again(self, exam: str, wait: Callable[[int], float]) -> None:
        """An analysis failed: it is due again after `wait(failures)` seconds, unless a film comes before."""
        with self._changed:
            waiting = self._waiting.setdefault(exam, _Waiting(self._clock()))
            waiting.failures += 1
            waiting.not_before = self._clock() + wait(waiting.failures)

    def done(self, exam: str, since: float) -> None:
        """An analysis succeeded; the examination goes on waiting if a film came since it was taken."""
        with self._changed:
            waiting = self._waiting.get(exam)
            if waiting is not None and waiting.since == since:
                del self._waiting[exam]

    def wake(self) -> None:
        """Let `next` return soon."""
        with self._changed:
            self._changed.notify()

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting)

    def next(self, patience: float) -> tuple[str, float] | None:
        """An examination that is ready, and when its last film came; None: none was within `patience` seconds or so."""
        ready = self._ready()
        if ready is None:
            with self._changed:
                self._changed.wait(patience)
            ready = self._ready()
        return ready

    def _ready(self) -> tuple[str, float] | None:
        with self._changed:
            now = self._clock()
            due = [(waiting.since, exam) for exam, waiting in self._waiting.items() if waiting.not_before <= now]
        for since, exam in sorted(due):
            if now - since >= self._timeout or self._whole(exam):
                return exam, since
        return None

    def _whole(self, exam: str) -> bool:
        """Complete and let go. The films are read without the lock, so that none has to wait for it."""
        with self._changed:
            waiting = self._waiting[exam]
            if waiting.open:
                return False
            if waiting.complete is not None:
                return waiting.complete
            since = waiting.since
        complete = self._complete(exam)
        with self._changed:
            if waiting.since == since:
                waiting.complete = complete
            return complete and waiting.since == since and not waiting.open
