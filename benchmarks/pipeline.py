"""How near does `disasym infer` come to what its stages allow, and does its memory stay flat?

    python -m benchmarks.pipeline --work DIR --out results/pipeline.jsonl --picture results/pipeline.png

Makes archives (`archive.py`) in DIR, some gigabytes, and for each case measures every stage alone with all cores, then
the command itself, then every stage again; the mean of before and after is what the command is held against. Films lie
in the page cache. Rows are JSON lines, one a case; README.md says what the columns and the two bounds mean.
"""

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.archive import make_archive, real_plates
from benchmarks.pipeline_stages import Alone, Run, Setting, alone, infer_command, mean_of, whole
from benchmarks.timing import append, checkout
from disasym.bench.facts import facts
from disasym.bench.models import exports_of
from disasym.infer.run import default_model

SCORES, PANELS = ("scores",), ("scores", "panels")
TINY = (192, 160)  # rows and columns of films that cost next to nothing to decode


@dataclass(frozen=True)
class Case:
    """One archive read with one model."""

    name: str
    model: str
    syntax: str
    exams: int
    batch: int
    write: tuple[str, ...] = SCORES


CASES = (  # long enough that start and end, a second together, are a small part
    Case("decode-bound", "small, scores", "j2k", 800, 4),
    Case("engine-bound", "paper", "htj2k", 60, 1),
    Case("demonstration", "demonstration", "j2k", 160, 4),
    Case("uncompressed", "demonstration", "explicit", 60, 4),
    Case("jpeg lossless", "demonstration", "jpeg-lossless", 60, 4),
    Case("htj2k", "demonstration", "htj2k", 160, 4),
    Case("every syntax", "demonstration", "all", 44, 4),
    Case("with panels", "demonstration", "htj2k", 60, 4, PANELS),
)
MEMORY = (500, 5000)  # pairs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for archives and exports; kept")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, added to")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these cases; memory: only the memory")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each stage alone, before and after")
    parser.add_argument("--picture", type=Path, help="a PNG of all rows of --out")
    arguments = parser.parse_args()
    models = models_in(arguments.work)
    for case in CASES:
        if not arguments.only or case.name in arguments.only:
            row = measured(case, arguments.work, models[case.model], arguments.seconds)
            append(arguments.out, row)
            print(told(row), flush=True)
    if not arguments.only or "memory" in arguments.only:
        for pairs in MEMORY:
            row = memory(pairs, arguments.work, models["demonstration"])
            append(arguments.out, row)
            print(f"memory, {pairs} pairs: at most {row['peak_bytes'] / 1e6:.0f} MB", flush=True)
    if arguments.picture:
        from benchmarks.pipeline_plot import picture

        lines = arguments.out.read_text(encoding="utf-8").splitlines()
        picture([json.loads(line) for line in lines], arguments.picture)


def models_in(work: Path) -> dict[str, Path]:
    """The demonstration model; `paper` and, for its scores alone, `small`, both of random weights, for onnxruntime."""
    (paper,) = exports_of(("paper",), ("fp32",), work / "models", None, print)
    (small,) = exports_of(("small",), ("fp32:scores",), work / "models", None, print)
    return {"demonstration": default_model(), "paper": paper, "small, scores": small}


def measured(case: Case, work: Path, model: Path, seconds: float) -> dict[str, Any]:
    """The row of one case."""
    folder = archive(work, case.syntax, case.exams)
    setting = Setting(model, case.batch, case.write)
    before = alone(folder, setting, seconds)
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    run = whole(infer_command(folder, out, setting), out, 2 * case.exams)
    after = alone(folder, setting, seconds)
    return {**row_of(case, mean_of([before, after]), run), "before": asdict(before), "after": asdict(after), **where()}


def row_of(case: Case, stages: Alone, run: Run) -> dict[str, Any]:
    """Rates in exams a second, from the start of the command to its end."""
    rate = case.exams / run.seconds
    return {
        "kind": "pipeline",
        **asdict(case),
        "alone": asdict(stages),
        "min_of_load_and_engine": stages.slowest,
        "sharing_the_cores": stages.shared,
        "exams_per_second": rate,
        "of_min": rate / stages.slowest,
        "of_sharing": rate / stages.shared,
        "seconds": run.seconds,
        "first_row_seconds": run.first_row,
        "cores_used": run.cores,
        "core_seconds": run.cores * run.seconds / case.exams,
        "in_the_stages": stages.core_seconds / (run.cores * run.seconds / case.exams),
        "peak_bytes": run.peak,
    }


def memory(pairs: int, work: Path, model: Path) -> dict[str, Any]:
    """The row of a run over many tiny films."""
    folder = archive(work, "explicit", pairs // 2, *TINY)
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    run = whole(infer_command(folder, out, Setting(model, 4)), out, pairs)
    return {
        "kind": "memory",
        "pairs": pairs,
        "seconds": run.seconds,
        "peak_bytes": run.peak,
        "looks": looks_of(run),
        **where(),
    }


def looks_of(run: Run, most: int = 200) -> list[list[float]]:
    """Seconds and bytes of about so many looks at the memory."""
    return [[round(look.seconds, 2), look.resident] for look in run.looks[:: max(1, len(run.looks) // most)]]


def archive(work: Path, syntax: str, exams: int, rows: int = 4096, columns: int = 3328) -> Path:
    """Made once."""
    from benchmarks.archive import SYNTAXES

    folder = work / f"{syntax}-{exams}-{rows}"
    if not folder.exists():
        syntaxes = tuple(SYNTAXES) if syntax == "all" else (syntax,)
        make_archive(folder.with_suffix(".partial"), real_plates(rows, columns), exams, syntaxes)
        folder.with_suffix(".partial").rename(folder)
    return folder


def where() -> dict[str, Any]:
    """Of what, on what and when."""
    commit, dirty = checkout()
    return {**facts("cpu"), "commit": commit, "dirty": dirty}


def told(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    stages = ", ".join(f"{name} {rate:.2f}" for name, rate in row["alone"].items())
    return (
        f"{row['name']} ({row['model']}, {row['syntax']}): {row['exams_per_second']:.2f} exams/s,"
        f" {row['of_min']:.0%} of min(load, engine), {row['of_sharing']:.0%} of what sharing the cores allows; alone:"
        f" {stages}; {row['cores_used']:.2f} cores, {row['in_the_stages']:.0%} of"
        f" {row['core_seconds']:.2f} core-seconds an exam in the stages, {row['peak_bytes'] / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
