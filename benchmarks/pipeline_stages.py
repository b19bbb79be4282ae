"""What each stage of `disasym infer` does alone, and what the whole does: exams a second, memory over time, cores.

Every stage is given all cores and its input ready: the scan a folder, loading the jobs, the engine batches in memory,
finishing the scored pairs. The whole is the command itself in a process of its own, watched from outside.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from disasym.data.loaders import Loaders
from disasym.engines import Engine, load
from disasym.engines.base import usable_cores
from disasym.infer.finish import finish
from disasym.infer.jobs import Job, find_work
from disasym.infer.stages import Loaded, Scored, Scorer, load_pair
from disasym.infer.wanted import Wanted, wanted

PAIRS_OF_AN_EXAM = 2
INTERVAL = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Alone:
    """Exams a second of each stage, alone on all cores."""

    scan: float
    load: float  # decode and preprocess
    engine: float
    finish: float  # lesions and what is written beside the tables
    core_seconds: float = 0.0  # processor time of an exam in all four: it bears a busy machine better than rates

    @property
    def slowest(self) -> float:
        """min(decode, engine): what no pipeline exceeds, were each stage to have the cores for itself."""
        return min(self.load, self.engine)

    @property
    def shared(self) -> float:
        """What no pipeline exceeds where all stages share the cores: their times for an exam add up."""
        return 1 / (1 / self.scan + 1 / self.load + 1 / self.engine + 1 / self.finish)

    @property
    def host(self) -> float:
        """The same where the engine has a device of its own: the cores do all but the engine."""
        return 1 / (1 / self.scan + 1 / self.load + 1 / self.finish)


@dataclass(frozen=True)
class Setting:
    """What a run is told beside its films."""

    model: Path
    batch: int
    write: tuple[str, ...] = ("scores",)
    engine: str = "auto"
    device: str = "cpu"


@dataclass(frozen=True)
class Look:
    """The memory of a run at a moment."""

    seconds: float  # since it was started
    resident: int  # bytes, of the process and all that it started


@dataclass(frozen=True)
class Run:
    """`disasym infer` from its start to its end."""

    seconds: float
    first_row: float  # seconds until the first pair had its row
    pairs: int
    cores: float  # processor time / time
    looks: tuple[Look, ...]

    @property
    def peak(self) -> int:
        return max(look.resident for look in self.looks)


def alone(folder: Path, setting: Setting, seconds: float = 10.0) -> Alone:
    """Measure each stage on the exams of `folder`, for about `seconds` each (the scan: all of it, once)."""
    with load(setting.model, setting.engine, setting.device) as engine:
        began, used = time.perf_counter(), time.process_time()
        jobs = find_work(folder).jobs
        if not jobs:
            raise SystemExit(f"{folder}: no pair of films that can be read")
        scanned = _Pace(len(jobs), time.perf_counter() - began, time.process_time() - used)
        asked = wanted(setting.write, engine, setting.model)
        pairs, loading = _loading(jobs, engine, seconds)
        scored, scoring = _scoring(pairs, engine, setting.batch, seconds)
        finishing = _finishing(scored, engine, asked, seconds)
    paces = (scanned, loading, scoring, finishing)
    core_seconds = sum(pace.used / pace.pairs for pace in paces) * PAIRS_OF_AN_EXAM
    scan, loaded, engined, finished = (pace.pairs / pace.seconds / PAIRS_OF_AN_EXAM for pace in paces)
    return Alone(scan, loaded, engined, finished, core_seconds)


@dataclass(frozen=True)
class _Pace:
    pairs: int
    seconds: float
    used: float  # processor seconds of all threads


def _loading(jobs: Sequence[Job], engine: Engine, seconds: float) -> tuple[list[Loaded], _Pace]:
    """Some loaded pairs, and the pace of as many loaders as there are cores."""
    kept: list[Loaded] = []
    loaders = Loaders()

    def one(number: int) -> None:
        pair = load_pair(jobs[number % len(jobs)], engine.info.height, engine.info.width, loaders.load)
        if not isinstance(pair, Loaded):
            raise SystemExit(f"a film of the archive cannot be read: {pair.problems}")
        if len(kept) < 64:
            kept.append(pair)

    with loaders:
        return kept, _rate(one, seconds, loaders)


def _scoring(pairs: Sequence[Loaded], engine: Engine, batch: int, seconds: float) -> tuple[list[Scored], _Pace]:
    """Some scored pairs, and the pace in full batches, one after the other."""
    scorer = Scorer(engine, batch)
    full = [pairs[number % len(pairs)] for number in range(scorer.batch)]
    scored = [pair for pair in scorer.score(full) if isinstance(pair, Scored)]
    done, began, used = 0, time.perf_counter(), time.process_time()
    while done < 3 or time.perf_counter() < began + seconds:
        scorer.score(full)
        done += 1
    return scored, _Pace(done * scorer.batch, time.perf_counter() - began, time.process_time() - used)


def _finishing(scored: Sequence[Scored], engine: Engine, asked: Wanted, seconds: float) -> _Pace:
    return _rate(lambda number: finish(scored[number % len(scored)], engine, asked), seconds)


def _rate(one: Callable[[int], object], seconds: float, loaders: Loaders | None = None) -> _Pace:
    """Calls by all cores, for this long; the first call of each thread is not counted."""

    def used_so_far() -> float:
        return time.process_time() + sum(map(processor_seconds, loaders.pids if loaders else ()))

    cores = usable_cores()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(one, range(cores)))
        began, used = time.perf_counter(), used_so_far()

        def work(worker: int) -> int:
            done = 0
            while not done or time.perf_counter() < began + seconds:
                one(worker + cores * (1 + done))
                done += 1
            return done

        count = sum(pool.map(work, range(cores)))
        return _Pace(count, time.perf_counter() - began, used_so_far() - used)


def infer_command(folder: Path, out: Path, setting: Setting, trace: Path | None = None) -> list[str]:
    """The command that is measured."""
    traced = [] if trace is None else ["--trace", str(trace)]
    return [
        sys.executable, "-c", "from disasym.cli import main; main()", "infer", str(folder), "--out", str(out),
        "--model", str(setting.model), "--engine", setting.engine, "--device", setting.device,
        "--batch", str(setting.batch), "--write", ",".join(setting.write), "--quiet", *traced,
    ]  # fmt: skip


def traced(trace: Path) -> dict[str, dict[str, float]]:
    """Of each stage, and of what the engine waited for: when it first and last worked in a run, and how long in all.

    Seconds: `first`, `first_ended` and `last` since the run's clock was started, which Python's own start comes before;
    `busy` adds up the threads.
    """
    found: dict[str, dict[str, float]] = {}
    for event in json.loads(trace.read_text(encoding="utf-8")):
        begun, ended = event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6
        fresh = {"first": begun, "first_ended": ended, "last": ended, "busy": 0.0, "count": 0}
        one = found.setdefault(event["name"], fresh)
        one["first"], one["last"] = min(one["first"], begun), max(one["last"], ended)
        one["first_ended"] = min(one["first_ended"], ended)
        one["busy"], one["count"] = one["busy"] + ended - begun, one["count"] + 1
    return {name: {key: round(value, 3) for key, value in one.items()} for name, one in found.items()}


def whole(command: Sequence[str], out: Path, pairs: int, limit: float = 3600.0) -> Run:
    """Run it and watch it; SystemExit if it fails, is over the limit, or has not given each pair its row."""
    rows = out / "results.jsonl"
    looks: list[Look] = []
    first = 0.0
    _cores_of_children()
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        while process.poll() is None:
            now = time.perf_counter() - began
            looks.append(Look(now, resident(process.pid)))
            if not first and rows.exists() and rows.stat().st_size:
                first = now
            if now > limit:
                process.kill()
                raise SystemExit(f"the run took more than {limit:.0f} s: measure fewer exams")
            time.sleep(INTERVAL if now > 5 else 0.02)
        seconds = time.perf_counter() - began
        said.seek(0)
        text = said.read().decode(errors="replace")[-2000:]
    done = len(rows.read_bytes().splitlines()) if rows.exists() else 0
    if process.returncode or done != pairs:
        raise SystemExit(f"disasym infer ended with {process.returncode} and {done} of {pairs} rows: {text}")
    return Run(seconds, first, pairs, _cores_of_children() / seconds, tuple(looks))


_before = [0.0]


def _cores_of_children() -> float:
    """Processor seconds of the children that have ended since the last call."""
    times = os.times()
    now = times.children_user + times.children_system
    used, _before[0] = now - _before[0], now
    return used


def processor_seconds(pid: int) -> float:
    """Of all threads of a process that runs, in user and system mode (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Bytes of memory of a process and of all that it started, as Linux counts them (RSS)."""
    pages = 0
    waiting = [pid]
    for each in waiting:  # grows while it is read
        try:
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
            for task in Path(f"/proc/{each}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def mean_of(runs: Sequence[Alone]) -> Alone:
    """Of several measurements of the same, the mean of each stage."""
    names = [each.name for each in fields(Alone)]
    return Alone(*(float(np.mean([getattr(run, name) for run in runs])) for name in names))
