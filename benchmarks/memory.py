"""Does the memory of `disasym infer` grow with the archive? 100 pairs against 5,000, whatever the network takes.

    python -m benchmarks.memory --work DIR

`pipeline.py` answers this for a model that ships; here the engine answers zeros at the size of the preset `small`, so
that rows, entries, fates and headers are not lost in its own memory. Tiny films, tables and report, a process for each
size, watched from outside. Results: benchmarks/results/memory.json.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pipeline import TINY, archive, looks_of, where
from benchmarks.pipeline_stages import whole
from disasym.files import write_whole

SIZES = (100, 500, 5000)  # pairs
MIB = 2**20


def measure(pairs: int, work: Path) -> dict[str, Any]:
    """One size, in a process of its own."""
    folder = archive(work, "explicit", pairs // 2, *TINY)
    with tempfile.TemporaryDirectory(prefix="disasym-memory-") as out:
        command = [sys.executable, "-m", "benchmarks.zeros", str(folder), out]
        run = whole(command, Path(out), pairs)
    peak = round(run.peak / MIB, 1)
    print(f"{pairs:6d} pairs: peak {peak} MiB, {run.seconds:.0f} s", flush=True)
    return {"seconds": round(run.seconds, 2), "peak_mib": peak, "looks": looks_of(run, 60)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for archives; kept")
    arguments = parser.parse_args()
    sizes = {pairs: measure(pairs, arguments.work) for pairs in SIZES}
    most, least = max(SIZES), min(SIZES)
    grown = (sizes[most]["peak_mib"] - sizes[least]["peak_mib"]) * 1024 / (most - least)
    result = {"kib_a_pair": round(grown, 2), "pairs": sizes, **where()}
    write_whole(Path(__file__).parent / "results" / "memory.json", (json.dumps(result, indent=1) + "\n").encode())
    print(f"{result['kib_a_pair']} KiB more a pair between {least} and {most}")


if __name__ == "__main__":
    main()
