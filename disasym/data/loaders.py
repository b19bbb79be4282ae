"""Films loaded in processes of their own: none waits for another's Python, and a decoder that crashes costs one film.

Threads do not scale here. Decoders release Python's lock, but a sixth of the time of a film is Python, most of it
the search for the breast, so that six threads are as many as one process can use (ADR 0031).
"""

import contextlib
import ctypes
import itertools
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from disasym.data.loading import Source, attempt
from disasym.preprocess import Mammogram
from disasym.subprocesses import described, python

START = (  # an interrupt is for the parent, which lets the films in work be finished
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from disasym.data.loaders import serve; serve()"
)
ATTEMPTS = 2  # a process that the system ends for want of memory did not end because of its film
LONGEST = 600.0  # seconds for one film: the largest take two, and an archive must not wait for ever
GRACE = 5.0  # seconds in which a process that gave no answer ends by itself
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT = 1 << 30  # bytes
PIPE = 1 << 20  # bytes, the most that Linux gives: a film of 256 × 128 fits, so that its loader goes on at once

Request = tuple[Source, int, int]


class Loaders:
    """Processes that load films, as many as are asked at a time; a context manager, which ends them.

    Each begins when it is first needed and is asked again; any thread may ask.
    """

    def __init__(self, begun: int = 0) -> None:
        """`begun`: so many begin at once, while other things are made ready."""
        self._idle: queue.LifoQueue[_Loader] = queue.LifoQueue()
        self._all: list[_Loader] = []
        for _ in range(begun):
            loader = _Loader()
            with contextlib.suppress(OSError):  # told when it is asked
                loader.begin()
            self._all.append(loader)
            self._idle.put(loader)

    def load(self, sources: Sequence[Source], height: int, width: int) -> list[Mammogram | str]:
        """As `disasym.data.loading.attempts`; a process that ends on one, or does not answer, is a reason too."""
        try:
            loader = self._idle.get_nowait()
        except queue.Empty:
            loader = _Loader()
            self._all.append(loader)
        try:
            return loader.ask([(source, height, width) for source in sources])
        finally:
            self._idle.put(loader)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that run."""
        return tuple(loader.process.pid for loader in self._all if loader.process is not None)

    def close(self) -> None:
        """End all processes. Nobody may be asking."""
        for loader in self._all:
            loader.stop()
        for loader in self._all:
            loader.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Loader:
    """One process; it is started when it is asked and does not run."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()  # of requests: an answer says whose it is

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it if it does not run. OSError: the system has none to give."""
        self.process = self.process or _started()
        return self.process

    def ask(self, requests: Sequence[Request]) -> list[Mammogram | str]:
        """One answer for each. All are sent at once: the process goes on while its last answer is taken."""
        answers: list[Mammogram | str] = []
        tries = 0
        while len(answers) < len(requests):
            try:
                process = self.begin()
            except OSError as error:
                why = f"no process could be started to read it ({error.strerror or type(error).__name__})"
                return answers + [why] * (len(requests) - len(answers))
            try:
                for number in self._send(process, requests[len(answers) :]):
                    answers.append(_answer(process, number))
                    tries = 0
            except _NoAnswer as none:
                tries += 1
                how = described(self.end())
                if none.late or tries == ATTEMPTS:
                    answers.append(_why(how, none.late, tries))
                    tries = 0
            except BaseException:  # an answer that was not taken must not become that of the next film
                self.stop()
                self.end()
                raise
        return answers

    def _send(self, process: subprocess.Popen[bytes], requests: Sequence[Request]) -> list[int]:
        """The numbers that the answers will bear."""
        numbered = [(next(self._numbers), request) for request in requests]
        try:
            for each in numbered:
                pickle.dump(each, _pipe(process.stdin), protocol=pickle.HIGHEST_PROTOCOL)
            _pipe(process.stdin).flush()
        except OSError:  # it has ended
            raise _NoAnswer(late=False) from None
        return [number for number, _ in numbered]

    def stop(self) -> None:
        """End it now: it reads and writes nothing of its own."""
        if self.process is not None:
            self.process.kill()

    def end(self) -> int:
        """Its exit status, once it has ended, by itself or not; 0 if it does not run."""
        process, self.process = self.process, None
        if process is None:
            return 0
        with contextlib.suppress(OSError):  # what it was asked last and did not read
            _pipe(process.stdin).close()
        with process:  # closes its other pipe
            try:
                return process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()


def _started() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(  # noqa: S603 - this Python, this package
        python(START),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(os.environ),
    )
    with contextlib.suppress(ImportError, AttributeError, OSError):  # Linux, and within what a user may have
        import fcntl

        fcntl.fcntl(_pipe(process.stdout), fcntl.F_SETPIPE_SZ, PIPE)
    return process


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Matrices are not multiplied here: a thread a core in each of as many processes as cores would be idle memory."""
    return {**given, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class _NoAnswer(Exception):  # noqa: N818 - it is told as a reason
    """The process has ended, perhaps within its answer, or answers something else; `late`: for its time."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.late = late


def _answer(process: subprocess.Popen[bytes], number: int) -> Mammogram | str:
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(LONGEST, give_up)
    timer.daemon = True
    timer.start()
    try:
        answered, answer = pickle.load(_pipe(process.stdout))  # noqa: S301 - our own child
    except (EOFError, OSError, pickle.UnpicklingError):
        raise _NoAnswer(late.is_set()) from None
    finally:
        timer.cancel()
    if answered != number:
        raise _NoAnswer(late=False)
    return cast(Mammogram | str, answer)


def _why(how: str, late: bool, tries: int) -> str:
    if late:
        return f"it was not read within {LONGEST:g} s, so reading it was stopped"
    return f"the process that reads it {how} {tries} times: the file makes the decoder crash, or memory ran out"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - both were asked for
    return pipe


def serve() -> None:
    """The child: answer requests from standard input until it ends; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(OSError):  # where memory runs out, this process is to be ended, not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    keep_freed_memory()
    with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):  # the parent is gone, or done
        while True:
            number, request = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent
            pickle.dump((number, attempt(*request)), answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next film; elsewhere nothing happens.

    Otherwise it gives each image back to the system, which clears the pages of the next one: a tenth of the time.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such library, no such function
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)
