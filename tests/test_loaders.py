"""Films loaded in other processes: the same pixels and reasons, and a decoder that crashes or hangs costs one film."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_files import breast, write_mammogram
from disasym.data import loaders as loaders_module
from disasym.data.loaders import Loaders
from disasym.data.loading import Source, attempt
from disasym.dicom import read_header
from disasym.infer import InferOptions
from disasym.infer.jobs import find_work
from disasym.infer.run import infer_with
from disasym.preprocess import Mammogram
from exams import FakeEngine, jobs_of, write_exam

FRAME = 64, 32


@dataclass(frozen=True)
class Trap:
    """Stands for a film: whoever takes it out of its pickle calls `does`."""

    does: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def __reduce__(self) -> Any:
        return self.does, self.arguments


def crash(number: signal.Signals) -> Trap:
    return Trap(eval, (f"__import__('os').kill(__import__('os').getpid(), {int(number)})",))


@pytest.fixture
def loaders() -> Iterator[Loaders]:
    with Loaders() as made:
        yield made


def one(loaders: Loaders, source: Any) -> Mammogram | str:
    (answer,) = loaders.load([source], *FRAME)
    return answer


def films(folder: Path) -> list[Source]:
    write_exam(folder, "woman")
    return [source for job in find_work(folder).jobs for source in (job.right, job.left)]


def test_another_process_makes_the_same_pixels_of_films_and_of_rows_of_a_manifest(
    tmp_path: Path, loaders: Loaders
) -> None:
    (row,) = jobs_of(tmp_path / "made", 1)
    for source in (*films(tmp_path / "films"), row.right, row.left):
        here, there = attempt(source, *FRAME), one(loaders, source)
        assert isinstance(here, Mammogram)
        assert isinstance(there, Mammogram)
        np.testing.assert_array_equal(there.pixels, here.pixels)
        assert (there.geometry, there.laterality, there.view) == (here.geometry, here.laterality, here.view)
    assert len(loaders.pids) == 1, "the process is asked again"


def test_a_damaged_film_has_the_same_reason(tmp_path: Path, loaders: Loaders) -> None:
    film = films(tmp_path)[0]
    film.path.write_bytes(film.path.read_bytes()[:-1000])
    why = attempt(film, *FRAME)
    assert isinstance(why, str)
    assert "truncated" in why
    assert one(loaders, film) == why


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_the_reason_of_its_film_alone(tmp_path: Path, loaders: Loaders, number: signal.Signals) -> None:
    film = films(tmp_path)[0]
    why = one(loaders, crash(number))
    assert why == (
        f"the process that reads it was ended by {number.name} 2 times: "
        "the file makes the decoder crash, or memory ran out"
    )
    assert isinstance(one(loaders, film), Mammogram)


def test_of_films_asked_together_each_has_its_own_answer(tmp_path: Path, loaders: Loaders) -> None:
    right, left = films(tmp_path)
    asked: Any = [right, crash(signal.SIGSEGV), crash(signal.SIGBUS), left]
    first, second, third, last = loaders.load(asked, *FRAME)
    assert isinstance(first, Mammogram)
    assert isinstance(last, Mammogram)
    assert (first.laterality, last.laterality) == ("R", "L")
    assert "SIGSEGV 2 times" in str(second)
    assert "SIGBUS 2 times" in str(third)


def test_an_answer_that_was_not_taken_is_not_that_of_the_next_film(
    tmp_path: Path, loaders: Loaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, left = films(tmp_path)

    def full(_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(pickle, "load", full)
        with pytest.raises(MemoryError):
            loaders.load([right, right], *FRAME)
    found = one(loaders, left)
    assert isinstance(found, Mammogram)
    assert found.laterality == "L"


STRAY = """
import os, pickle
for end in map(int, os.listdir("/proc/self/fd")):
    if end > 2 and os.readlink(f"/proc/self/fd/{end}").startswith("pipe"):
        os.write(end, pickle.dumps((-1, "the answer of another film")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the pipe is found in /proc")
def test_an_answer_that_bears_another_number_is_none(tmp_path: Path, loaders: Loaders) -> None:
    assert "another film" not in str(one(loaders, Trap(exec, (STRAY,))))
    assert isinstance(one(loaders, films(tmp_path)[0]), Mammogram)


def test_a_process_that_is_ended_between_two_films_costs_none(tmp_path: Path, loaders: Loaders) -> None:
    film = films(tmp_path)[0]
    assert isinstance(one(loaders, film), Mammogram)
    (before,) = loaders.pids
    os.kill(before, signal.SIGKILL)
    assert isinstance(one(loaders, film), Mammogram)
    assert loaders.pids != (before,)


def test_a_film_that_is_never_read_is_given_up(
    tmp_path: Path, loaders: Loaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = films(tmp_path)[0]
    with monkeypatch.context() as patched:
        patched.setattr(loaders_module, "LONGEST", 0.5)
        began = time.monotonic()
        why = one(loaders, Trap(time.sleep, (60,)))
    assert why == "it was not read within 0.5 s, so reading it was stopped"
    assert time.monotonic() - began < 20, "once, not as often as a crash is tried"
    assert isinstance(one(loaders, film), Mammogram)


def test_what_a_library_prints_is_no_answer(loaders: Loaders) -> None:
    why = one(loaders, Trap(print, ("C4N4RY",)))
    assert why == "unexpected TypeError while reading it: please report this"


def test_a_system_without_processes_to_give_is_a_reason(
    tmp_path: Path, loaders: Loaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    (film, *_) = films(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refused)
        why = one(loaders, film)
        assert why == "no process could be started to read it (Resource temporarily unavailable)"
        with Loaders(begun=2) as begun:
            assert begun.pids == ()
            assert one(begun, film) == why
    assert isinstance(one(loaders, film), Mammogram)


def test_no_process_stays(tmp_path: Path) -> None:
    with Loaders(begun=2) as loaders:
        pids = loaders.pids
        assert len(pids) == 2
    assert loaders.pids == ()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


PARENT = """
import sys, time
from pathlib import Path
from disasym.data.loaders import Loaders
from disasym.infer.jobs import find_work
loaders = Loaders(begun=2)
loaders.load([find_work(Path(sys.argv[1])).jobs[0].right], 64, 32)
print(*loaders.pids, flush=True)
time.sleep(600)
"""


def test_processes_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    write_exam(tmp_path, "woman")
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = parent.stdout.readline().split()
        parent.kill()
    assert len(pids) == 2
    until = time.monotonic() + 30
    while any(_runs(int(pid)) for pid in pids):
        assert time.monotonic() < until, "a process without a parent goes on"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Not ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_film_that_makes_its_decoder_crash_costs_its_pair_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, woman in enumerate(("one", "two", "three")):
        write_exam(tmp_path / "films", woman, seed=seed)
    deadly = find_work(tmp_path / "films").jobs[1].left.path
    whole = Loaders.load

    def load(self: Loaders, sources: Sequence[Source], height: int, width: int) -> list[Mammogram | str]:
        sent: Any = [crash(signal.SIGSEGV) if source.path == deadly else source for source in sources]
        return whole(self, sent, height, width)

    monkeypatch.setattr(Loaders, "load", load)
    options = InferOptions(tmp_path / "films", tmp_path / "out", write=("scores",), quiet=True, workers=2)
    summary = infer_with(FakeEngine(), options)
    failed = [fate for fate in summary.fates if fate.fate == "failed"]
    assert [fate.path.name for fate in failed] == [deadly.name]
    assert "SIGSEGV" in failed[0].reason
    assert summary.scored == len(find_work(tmp_path / "films").jobs) - 1
    assert summary.exit_code == 1
    monkeypatch.setattr(Loaders, "load", whole)
    again = infer_with(FakeEngine(), options)
    assert (again.scored, again.exit_code) == (1, 0), "a pair that failed is tried again"


def test_all_that_is_freed_is_kept(tmp_path: Path, loaders: Loaders) -> None:
    """The second film of a size asks the system for hardly any page."""
    if sys.platform != "linux" or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"):  # type: ignore[operator]
        pytest.skip("malloc of glibc is what is told to keep its memory")
    cells = np.kron(breast(256, 208, 3000), np.ones((8, 8), np.uint16))
    write_mammogram(tmp_path / "film.dcm", cells, laterality="L", view="CC")
    film = read_header(tmp_path / "film.dcm")
    for _ in range(3):
        assert isinstance(load := one(loaders, film), Mammogram), load
    (pid,) = loaders.pids
    before = _faults(pid)
    for _ in range(5):
        one(loaders, film)
    assert _faults(pid) - before < 500


def _faults(pid: int) -> int:
    """Pages that were given to the process (proc(5), minflt)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])
