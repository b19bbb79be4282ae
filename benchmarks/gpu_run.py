"""Runs the parts of a GPU command: each in a process of its own, within its share of the time.

A part that crashes or outlives its share is reported, and the rest goes on.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import ROOT

GRACE = 3.0  # seconds that a part may run over before it is killed
Summary = Callable[[Path, list[str], set[str], float], tuple[str, bool]]


@dataclass(frozen=True)
class Stage:
    """Parts that run side by side."""

    parts: tuple[str, ...]  # a function's name, then its arguments
    weight: float  # seconds of the whole; what earlier stages leave over is shared out in proportion
    least: float  # seconds under which it is not begun
    correctness: bool  # whether the exit status depends on it, but for the program's helpers


@dataclass(frozen=True)
class Program:
    """What differs between the GPU commands."""

    module: str  # `python -m` of it with --part runs one part
    options: tuple[str, ...]  # further options that each part is given as it was told
    helpers: tuple[str, ...]  # parts whose failure is not one of correctness: the parts they help say so
    environment: Callable[[str], Mapping[str, str]]  # of one part, beside this process's own
    summary: Summary  # of the folder, all parts, those of correctness, seconds → text, whether all of those passed


@dataclass(frozen=True)
class Running:
    """A part's process."""

    part: str
    process: subprocess.Popen[bytes]
    log: Path


def prepare(out: Path, own: tuple[str, ...], *, dry: bool) -> None:
    """Empty the folder of what an earlier run left; refuse one that holds anything else, and a machine without GPU."""
    if not dry and not _has_gpu():
        raise SystemExit("no CUDA GPU here: run this on a machine that has one, or add --dry-run")
    out.mkdir(parents=True, exist_ok=True)
    if foreign := [path.name for path in out.iterdir() if path.name not in own]:
        raise SystemExit(f"{out} holds other files ({', '.join(sorted(foreign)[:3])}): name an empty folder")
    for path in out.iterdir():
        path.unlink()


def run(program: Program, stages: list[Stage], arguments: argparse.Namespace) -> bool:
    """All stages in turn; whether all correctness passed."""
    begun = time.monotonic()
    wanted = [_only(stage, arguments.only) for stage in stages]
    todo = [stage for stage in wanted if stage.parts]
    for place, stage in enumerate(todo):
        left = arguments.seconds - (time.monotonic() - begun)
        share = left * stage.weight / sum(later.weight for later in todo[place:])
        least = 1.0 if arguments.dry_run else stage.least
        if share < least:
            for part in stage.parts:
                _cut(arguments, part, f"not begun: its share was {max(share, 0):.0f} s, it needs {least:.0f} s")
        else:
            _run_stage(program, stage, share, arguments)
    parts = [part for stage in todo for part in stage.parts]
    correctness = {
        part for stage in todo if stage.correctness for part in stage.parts if part.split()[0] not in program.helpers
    }
    text, passed = program.summary(arguments.out, parts, correctness, time.monotonic() - begun)
    (arguments.out / "summary.txt").write_text(text + "\n", encoding="utf-8")
    print(text, flush=True)
    return passed


def _only(stage: Stage, wanted: list[str] | None) -> Stage:
    parts = tuple(part for part in stage.parts if not wanted or part in wanted or part.split()[0] in wanted)
    return Stage(parts, stage.weight, stage.least, stage.correctness)


def _run_stage(program: Program, stage: Stage, seconds: float, arguments: argparse.Namespace) -> None:
    """All parts of a stage, as many at a time as there are processors."""
    deadline = time.monotonic() + seconds
    waiting, running = list(stage.parts), list[Running]()
    most = max(2, len(os.sched_getaffinity(0)))
    try:
        while waiting or running:
            while waiting and len(running) < most and time.monotonic() < deadline:
                running.append(_start(program, waiting.pop(0), deadline - time.monotonic(), arguments))
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                _ended(one, arguments)
            if time.monotonic() > deadline:
                for part in waiting:
                    _cut(arguments, part, f"not begun: the {seconds:.0f} s of its stage were up")
                waiting.clear()
            if time.monotonic() > deadline + GRACE:
                while running:
                    _overdue(running.pop(), seconds, arguments)
            time.sleep(0.05)
    finally:  # Ctrl-C is this process's alone
        for one in running:
            _kill(one.process)


def _start(program: Program, part: str, seconds: float, arguments: argparse.Namespace) -> Running:
    print(f"{part} ({seconds:.0f} s)", flush=True)
    command = [sys.executable, "-m", program.module, "--part", part, "--out", str(arguments.out.resolve()),
               "--seconds", f"{seconds:.1f}"]  # fmt: skip
    for name in ("commit", *program.options):
        if getattr(arguments, name):
            command += [f"--{name}", str(getattr(arguments, name))]
    environment = {**os.environ, **program.environment(part)}
    if arguments.dry_run:
        command.append("--dry-run")
        environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    log = arguments.out / f"{part.replace(' ', '_')}.log"
    with log.open("wb") as file:
        # a session of its own: Ctrl-C is this process's, which ends the parts
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Running(part, process, log)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """A part and all that it started, in sessions of their own too: nothing may run beside what is timed next."""
    for pid in (process.pid, *_started_by(process.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _started_by(pid: int) -> list[int]:
    """Its children and theirs, by Linux's /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            parent = stat.read_text(errors="replace").rpartition(")")[2].split()[1]  # the name may hold anything
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = list(children.get(pid, ()))
    for child in found:  # grows while it is read
        found += children.get(child, ())
    return found


def _overdue(one: Running, seconds: float, arguments: argparse.Namespace) -> None:
    _kill(one.process)
    _cut(arguments, one.part, f"killed after the {seconds:.0f} s of its stage")
    _keep_log(one, arguments.out)


def _ended(one: Running, arguments: argparse.Namespace) -> None:
    from benchmarks.gpu_part import FAIL, Record, record

    if status := one.process.returncode:
        lines = one.log.read_text(encoding="utf-8", errors="replace").splitlines() or ["it said nothing"]
        record(arguments.out, Record(one.part, "the process", FAIL, f"ended with {status}: {lines[-1][:300]}"))
    _keep_log(one, arguments.out)


def _keep_log(one: Running, out: Path) -> None:
    """All logs in one file, each complete, in the order in which they ended."""
    with (out / "log.txt").open("ab") as file:
        file.write(f"==== {one.part}\n".encode() + one.log.read_bytes())
    one.log.unlink()


def _cut(arguments: argparse.Namespace, part: str, why: str) -> None:
    from benchmarks.gpu_part import CUT, Record, record

    record(arguments.out, Record(part, "the part", CUT, why))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def parser(module: str, description: str, seconds: float) -> argparse.ArgumentParser:
    """The options that all GPU commands share."""
    found = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    found.add_argument("--out", type=Path, required=True, help="empty folder for all results")
    found.add_argument("--seconds", type=float, default=seconds, help="what does not fit is cut, and said so")
    found.add_argument("--only", nargs="+", metavar="PART", help="these parts alone, by their first word or in full")
    found.add_argument("--commit", help="what is measured, where git cannot say")
    found.add_argument("--dry-run", action="store_true", help="tiny and interpreted on a CPU; measures nothing")
    found.add_argument("--part", help=argparse.SUPPRESS)
    return found


def with_work(options: argparse.ArgumentParser, gigabytes: int) -> None:
    """An option of commands whose parts make things for each other."""
    options.add_argument("--work", type=Path, metavar="DIR", help=f"keep what is made there ({gigabytes} GB)")


@contextlib.contextmanager
def work_folder(arguments: argparse.Namespace, *given: str) -> Iterator[None]:
    """Where that lies while this runs. It and the files `given` are named absolutely: parts run in the checkout."""
    for name in given:
        path: Path | None = getattr(arguments, name)
        setattr(arguments, name, path and path.resolve())
    with contextlib.ExitStack() as stack:
        named = arguments.work or stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu-"))
        arguments.work = Path(named).resolve()
        arguments.work.mkdir(parents=True, exist_ok=True)
        yield


def without_gpu(part: str, kinds: tuple[str, ...]) -> Mapping[str, str]:
    """The environment of parts of these kinds: things are made as where there is no GPU, even what it would refuse."""
    if part.startswith("export aotinductor"):
        return {"TORCHINDUCTOR_COMPILE_THREADS": "4"}  # several run side by side
    return {"CUDA_VISIBLE_DEVICES": ""} if part.split()[0] in kinds else {}
