"""How fast are the headers of a folder read: by one thread, several, or processes; from a fast store and a slow one?

    python -m benchmarks.scan --work DIR

2,000 films of 192 × 160 pixels in DIR, in the page cache; the slow store is the same with 5 ms added to each opening of
a file, as on a share that is far away. Medians of three turns. Results: benchmarks/results/scan.json.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.pipeline import TINY, archive, where
from disasym.dicom import read_header, scan
from disasym.files import write_whole

EXAMS, TURNS = 500, 3
READERS, PROCESSES, CHUNK = (1, 2, 4, 8, 16), 2, 50
SLOW = 0.005  # seconds to open a file

_open = Path.open


def slow_store(seconds: float) -> None:
    """From now on files of this process open this late."""

    def late(path: Path, *arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return _open(path, *arguments, **options)

    Path.open = late if seconds else _open  # type: ignore[method-assign,assignment]


def one_loop(files: list[Path]) -> None:
    for file in files:
        read_header(file)


def with_readers(folder: Path, readers: int) -> None:
    """`scan` as the command runs it, pairing included."""
    sys.modules["disasym.dicom.scan"].READERS = readers  # type: ignore[attr-defined]
    assert len(scan(folder).pairs) == 2 * EXAMS, "pairs were lost"


def with_processes(files: list[Path], seconds: float) -> None:
    """What processes do, their start and the way of headers between them included."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, fresh, slow_store, (seconds,)) as pool:
        assert sum(1 for _ in pool.map(read_header, files, chunksize=CHUNK)) == len(files)


def timed(what: Callable[[], None]) -> dict[str, float]:
    """Seconds, and processor seconds of this process."""
    taken = []
    for _ in range(TURNS):
        began, used = time.perf_counter(), time.process_time()
        what()
        taken.append((time.perf_counter() - began, time.process_time() - used))
    wall, processor = (round(statistics.median(each), 2) for each in zip(*taken, strict=True))
    return {"seconds": wall, "processor_seconds": processor}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the films; kept")
    folder = archive(parser.parse_args().work, "explicit", EXAMS, *TINY)
    files = sorted(folder.rglob("*.dcm"))
    ways: dict[str, Callable[[float], None]] = {"a loop": lambda _: one_loop(files)}
    ways |= {f"scan, {count} readers": lambda _, count=count: with_readers(folder, count) for count in READERS}  # type: ignore[misc]
    ways |= {f"{PROCESSES} processes": partial(with_processes, files)}
    found: dict[str, dict[str, Any]] = {}
    for store, seconds in (("page cache", 0.0), ("5 ms an opening", SLOW)):
        slow_store(seconds)
        found[store] = {}
        for name, way in ways.items():
            found[store][name] = timed(partial(way, seconds))
            print(store, name, found[store][name], flush=True)
    result = {"files": len(files), "found": found, **where()}
    write_whole(Path(__file__).parent / "results" / "scan.json", (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
