"""The targets of the engines on a GPU, judged from the rows of bench.jsonl: end to end, and on the GPU alone.

`paper`, fp16, batches of 32 pairs: all outputs at least 2,000 pairs/s, 6 times eager float32 and twice eager autocast;
scores alone at least 1.6 times the rate of all outputs. An engine that differs from eager PyTorch meets nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.attention_report import Verdict
from benchmarks.gpu_measure import read_lines
from benchmarks.gpu_part import read_records
from benchmarks.gpu_race import ROWS
from benchmarks.gpu_rtx import told
from disasym.engines import EAGER, ENGINES
from disasym.spec import OUTPUT_SETS

BATCH, PRESET, PRECISION = 32, "paper", "fp16"
PAIRS_PER_SECOND, TIMES_EAGER, TIMES_AUTOCAST, TIMES_ALL = 2000.0, 6.0, 2.0, 1.6
WHERE = {"race": "end to end", "device": "GPU alone"}
Line = dict[str, Any]


def targets(out: Path) -> list[str]:
    """The lines at the end of the summary."""
    lines = [str(verdict) for verdict in verdicts(read_lines(out / ROWS))]
    return [*told(read_records(out)), "targets", *(f"  {line}" for line in lines)]


def verdicts(lines: Iterable[Line]) -> list[Verdict]:
    """Four for each way of timing."""
    rows = [line for line in lines if line["kind"] in WHERE]
    found: list[Verdict] = []
    for kind, where in WHERE.items():
        mine = [row for row in rows if (row["kind"], row["device"]) == (kind, "cuda")]
        found += _verdicts([row for row in mine if (row["batch"], row["preset"]) == (BATCH, PRESET)], where)
    return found


def _verdicts(rows: list[Line], where: str) -> list[Verdict]:
    ours = _best(rows, OUTPUT_SETS["all"])
    scores = _best(rows, OUTPUT_SETS["scores"])
    return [
        _judged(f"≥ {PAIRS_PER_SECOND:,.0f} pairs/s", where, ours, _rate(ours), PAIRS_PER_SECOND, " pairs/s"),
        _judged(f"≥ {TIMES_EAGER:g}× eager fp32", where, ours, _to_eager(ours), TIMES_EAGER, "×"),
        _judged(f"≥ {TIMES_AUTOCAST:g}× autocast fp16", where, ours, _to_autocast(rows, ours), TIMES_AUTOCAST, "×"),
        _judged(f"scores ≥ {TIMES_ALL:g}× all outputs", where, scores, _to_all(scores, ours), TIMES_ALL, "×"),
    ]


def _best(rows: list[Line], outputs: tuple[str, ...]) -> Line | None:
    """The fastest fp16 engine of disasym with these outputs; one that differs only where no other is."""
    able = [
        row
        for row in rows
        if row["engine"] in ENGINES
        and row["engine"] != EAGER.engine
        and row["precision"] == PRECISION
        and tuple(row["outputs"]) == outputs
    ]
    return max(able, key=lambda row: (not row.get("differs"), row["pairs_per_second"]), default=None)


def _rate(row: Line | None) -> float | None:
    return None if row is None else float(row["pairs_per_second"])


def _to_eager(row: Line | None) -> float | None:
    return None if row is None else row["times_eager"]


def _to_autocast(rows: list[Line], ours: Line | None) -> float | None:
    """Both in the same turns: each by its ratio to eager PyTorch."""
    beside = [row for row in rows if ours and row["engine"] == "autocast" and row["heat"] == ours["heat"]]
    peer = next((row for row in beside if row["precision"] == PRECISION), None)
    if ours is None or peer is None or not peer["times_eager"] or not ours["times_eager"]:
        return None
    return float(ours["times_eager"]) / float(peer["times_eager"])


def _to_all(scores: Line | None, ours: Line | None) -> float | None:
    if scores is None or ours is None or scores["heat"] != ours["heat"]:
        return None
    return float(scores["pairs_per_second"]) / float(ours["pairs_per_second"])


def _judged(what: str, where: str, row: Line | None, value: float | None, least: float, unit: str) -> Verdict:
    if row is None or value is None:
        return Verdict(what, where, f"no row of {PRESET} in {PRECISION}, batch {BATCH}, on a GPU", None, judged=True)
    text = f"{value:,.0f}{unit}" if unit != "×" else f"{value:.2f}{unit}"
    if row.get("differs"):
        differs = f"{text}, but it differs from eager in {', '.join(row['differs'])}"
        return Verdict(what, where, f"{row['contender']}: {differs}", False, judged=True)
    return Verdict(what, where, f"{row['contender']}: {text}", bool(value >= least), judged=True)
