"""Where the time of a run goes: what each stage was busy, and what it waited for; on request as a trace to look at.

The trace is a list of complete events of Chrome's trace format, which Perfetto (ui.perfetto.dev) and chrome://tracing
open. It is written as it comes, so that a killed run leaves what there was; both programs take a list without its end.
"""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from disasym.errors import InputError

Stage = Literal["scan", "decode", "engine", "finish", "ledger"]
STAGES: dict[Stage, str] = {
    "scan": "files searched and paired",
    "decode": "films decoded and preprocessed",
    "engine": "pairs scored",
    "finish": "lesions, pictures, objects",
    "ledger": "entries kept",
}
Side = Literal["input", "output"]


@dataclass(frozen=True)
class StageTime:
    """What one stage did in a run."""

    name: Stage
    count: int  # pairs; files for "scan"
    busy: float  # seconds, those of all its threads added up
    waited_for_input: float  # seconds; of "engine" alone, the others are served by threads that do other work meanwhile
    waited_for_output: float

    @property
    def rate(self) -> float:
        """How many a second one thread does; 0 if there was nothing to do."""
        return self.count / self.busy if self.busy else 0.0


class Clock:
    """Takes the time of all stages, in any thread; a context manager."""

    def __init__(self, trace: Path | None = None) -> None:
        """`trace`: a file for the events.

        Raises:
            InputError: it cannot be written.
        """
        self._lock = threading.Lock()
        self._began = time.perf_counter()
        self._busy: dict[Stage, float] = defaultdict(float)
        self._count: dict[Stage, int] = defaultdict(int)
        self._waited: dict[tuple[Stage, Side], float] = defaultdict(float)
        self._path, self._file = trace, _opened(trace)
        self._first = True

    @contextmanager
    def busy(self, stage: Stage, what: str = "", count: int = 1) -> Iterator[None]:
        """What happens inside is work of `stage` on `count` pairs."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            ended = time.perf_counter()
            with self._lock:
                self._busy[stage] += ended - begun
                self._count[stage] += count
                self._event(stage, what, begun, ended)

    def counted(self, stage: Stage) -> None:
        """One more, of which the time is taken elsewhere."""
        with self._lock:
            self._count[stage] += 1

    @contextmanager
    def waiting(self, stage: Stage, side: Side) -> Iterator[None]:
        """Inside, `stage` waits for its input, or for its output to be taken."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            ended = time.perf_counter()
            with self._lock:
                self._waited[stage, side] += ended - begun
                self._event(f"{stage} waits for {side}", "", begun, ended)

    def stages(self) -> tuple[StageTime, ...]:
        """All stages, in the order in which a pair passes them."""
        with self._lock:
            return tuple(
                StageTime(
                    name, self._count[name], self._busy[name], self._waited[name, "input"], self._waited[name, "output"]
                )
                for name in STAGES
            )

    def close(self) -> None:
        """End the trace. Its last write may fail: the results do not depend on it."""
        if self._file is not None:
            self._write("\n]\n")
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _event(self, name: str, what: str, begun: float, ended: float) -> None:
        if self._file is None:
            return
        event = {
            "name": name,
            "ph": "X",
            "ts": round((begun - self._began) * 1e6),
            "dur": round((ended - begun) * 1e6),
            "pid": os.getpid(),
            "tid": threading.get_native_id(),
            "args": {"pair": what} if what else {},
        }
        self._write(("[\n" if self._first else ",\n") + json.dumps(event))
        self._first = False

    def _write(self, text: str) -> None:
        """A trace that cannot be written ends there: it must not cost a result."""
        try:
            if self._file is not None:
                self._file.write(text)
        except OSError:
            self._file = None


def _opened(trace: Path | None) -> IO[str] | None:
    if trace is None:
        return None
    try:
        return trace.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{trace}: the trace cannot be written ({error.strerror}): name another file") from error
