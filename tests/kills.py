"""Run infer and kill it, many times: a script that imports everything once and runs in forks. `python kills.py FOLDER`

FOLDER/in holds the films. FOLDER/whole gets an undisturbed run; FOLDER/out is killed, run again, and compared with it.
Prints one JSON line: how often it was killed, and where.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom import dcmread

from disasym.infer import InferOptions, ledger, objects, panels, results, store
from disasym.infer.run import infer_with
from hot import HotEngine

ALL = ("scores", "html", "panels", "seg")
PICTURES = ("scores", "html", "panels")
NOT_COMPARED = {"ledger.sqlite", ".lock", ".running"}
WHEN = ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime")
STEPS = (  # (owner, name): a kill before and after some calls of each
    (store, "write_whole"),
    (results, "write_whole"),
    (ledger.Ledger, "begin"),
    (ledger.Ledger, "keep"),
    (results.LiveRows, "append"),
    (os, "fsync"),
    (Path, "replace"),
    (Path, "unlink"),
)
CALLS = (1, 3)  # before and after which a run is killed


def scored(source: Path, out: Path, write: tuple[str, ...]) -> None:
    infer_with(HotEngine(), InferOptions(source=source, out=out, write=write, batch=2, workers=2, quiet=True))


def snapshot(out: Path) -> dict[str, object]:
    """Everything that a run leaves, but for the times of creation in its objects."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name not in NOT_COMPARED:
            found[path.relative_to(out).as_posix()] = content(path)
    return found


def content(path: Path) -> object:
    if path.suffix != ".dcm":
        return path.read_bytes()
    made = dcmread(path)
    made.walk(lambda data_set, element: forget(data_set, element))
    return made.to_json()


def forget(data_set: Any, element: Any) -> None:
    if element.keyword in WHEN or element.VR in ("DT", "TM", "DA"):
        del data_set[element.tag]


def forked(work: Callable[[], None]) -> int:
    """Start `work` in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def ended(child: int) -> bool:
    """Wait for a process: whether it ended by itself. SystemExit when it failed."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGKILL:
        return False
    if status != 0:
        raise SystemExit(f"a run ended with {status}")
    return True


def at_random(source: Path, out: Path, kills: int) -> int:
    """Kill runs at random moments, and compare whenever one gets through; how many got through."""
    whole, seconds = undisturbed(source, out, ALL)
    chance, through = random.Random(7), 0  # noqa: S311 - no secret
    while kills:
        child = forked(lambda: scored(source, out, ALL))
        time.sleep(chance.uniform(0, 1.1 * seconds))
        os.kill(child, signal.SIGKILL)
        if ended(child):
            through += 1
            compare(out, whole)
            remove(out)
        else:
            kills -= 1
    finished(source, out, whole, ALL)
    return through + 1


def at_steps(source: Path, out: Path) -> dict[str, int]:
    """Kill before or after some call of each step; how often each was met."""
    whole, _ = undisturbed(source, out, PICTURES)
    kills: dict[str, int] = {}
    for owner, name in STEPS:
        for after in (False, True):
            for count in CALLS:
                child = forked(lambda: killed_at(owner, name, count, after, source, out))  # noqa: B023 - called at once
                kills[name] = kills.get(name, 0) + (not ended(child))
            finished(source, out, whole, PICTURES)
    return kills


def killed_at(owner: Any, name: str, count: int, after: bool, source: Path, out: Path) -> None:
    plain, calls = getattr(owner, name), 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = plain(*arguments, **named)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, counted)
    scored(source, out, PICTURES)


def undisturbed(source: Path, out: Path, write: tuple[str, ...]) -> tuple[dict[str, object], float]:
    """What a run leaves that nobody kills, and its seconds."""
    started = time.perf_counter()
    run_through(source, out, write)
    seconds = time.perf_counter() - started
    whole = snapshot(out)
    remove(out)
    return whole, seconds


def finished(source: Path, out: Path, whole: dict[str, object], write: tuple[str, ...]) -> None:
    """Let a run get through, compare, and begin anew."""
    run_through(source, out, write)
    compare(out, whole)
    remove(out)


def run_through(source: Path, out: Path, write: tuple[str, ...]) -> None:
    if not ended(forked(lambda: scored(source, out, write))):
        raise SystemExit("a run was killed by somebody else")


def compare(out: Path, whole: dict[str, object]) -> None:
    found = snapshot(out)
    if found != whole:
        names = sorted(name for name in {**found, **whole} if found.get(name) != whole.get(name))
        raise SystemExit(f"the killed run left other results: {names}")


def remove(out: Path) -> None:
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def main(folder: Path, kills: int) -> None:
    source, out = folder / "in", folder / "out"
    assert objects.objects_of  # type: ignore[truthy-function]  # highdicom is imported before the forks
    panels.CELL_HEIGHT = 256  # pictures in the network's own size: it is not their content that is at stake
    through = at_random(source, out, kills)
    print(json.dumps({"random": kills, "through": through, "steps": at_steps(source, out)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
