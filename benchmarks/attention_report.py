"""From rows to what a reader wants: a table for each shape, and whether the targets are met."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.attention_peers import FUSED
from benchmarks.attention_shapes import DIRECTIONS, PAPER
from benchmarks.timing import DRY_RUN

Line = dict[str, Any]  # a JSON line that attention.py wrote
TARGETS = {"forward": 1.5, "backward": 1.3}  # times the best peer
RATE = 0.60  # of the measured matrix product, forward


@dataclass(frozen=True)
class Verdict:
    """One target at one shape."""

    target: str
    shape: str
    found: str
    passed: bool | None  # None: not measured, so neither
    judged: bool  # the shape that the target is judged on; others are shown for comparison

    def __str__(self) -> str:
        word = {True: "PASS", False: "FAIL", None: "NOT MEASURED"}[self.passed]
        return f"{word if self.judged else word.lower():<13}{self.target}, {self.shape}: {self.found}"


def report(lines: list[Line]) -> str:
    """Tables, then verdicts."""
    tables = [_table(shape, [line for line in lines if _shape(line) == shape]) for shape in _shapes(lines)]
    return "\n\n".join([*tables, "\n".join(str(verdict) for verdict in verdicts(lines))])


def verdicts(lines: list[Line]) -> list[Verdict]:
    """Judged on the `paper` preset (N=512, h=8, d=64, B=32) in fp16 and bf16; other shapes of 16 bits are shown."""
    found: list[Verdict] = []
    for shape in _shapes(lines):
        here = [line for line in lines if _shape(line) == shape]
        if here[0]["dtype"] not in ("fp16", "bf16"):
            continue
        if here[0]["gpu"] == DRY_RUN:
            found.append(Verdict("all targets", shape, "a dry run on a CPU measures nothing", None, judged=True))
            continue
        judged = tuple(here[0][key] for key in ("batch", "tokens", "heads", "dim")) == PAPER
        for direction, target in TARGETS.items():
            found.append(_against_peers(shape, here, direction, target, judged))
        found.append(_against_ceiling(shape, here, judged))
    return sorted(found, key=lambda verdict: not verdict.judged)


def best_peer(lines: Iterable[Line], direction: str, *, named: bool = False) -> Line | None:
    """The fastest contender but ours; `named`: of those alone that the target names."""
    timed = [
        line
        for line in lines
        if line["status"] == "timed"
        and line["direction"] == direction
        and line["contender"] != FUSED
        and (line["named"] or not named)
    ]
    return min(timed, key=lambda line: float(line["ms"]), default=None)


def _against_peers(shape: str, lines: list[Line], direction: str, target: float, judged: bool) -> Verdict:
    what = f"{direction} ≥ {target}× the best peer"
    ours, peer, named = _ours(lines, direction), best_peer(lines, direction), best_peer(lines, direction, named=True)
    if ours is None or peer is None:
        return Verdict(what, shape, _why_not(lines), None, judged)
    ratio = peer["ms"] / ours["ms"]
    text = f"{ratio:.2f}× {peer['contender']} ({ours['ms']:.3f} against {peer['ms']:.3f} ms)"
    if named and named is not peer:
        text += f"; {named['ms'] / ours['ms']:.2f}× {named['contender']}, the best of those named"
    return Verdict(what, shape, text, bool(ratio >= target), judged)


def _against_ceiling(shape: str, lines: list[Line], judged: bool) -> Verdict:
    what = f"forward ≥ {RATE:.0%} of the measured matrix product"
    ours = _ours(lines, "forward")
    if ours is None or not ours["ceiling_tflops"]:
        return Verdict(what, shape, _why_not(lines), None, judged)
    share = ours["tflops"] / ours["ceiling_tflops"]
    text = f"{share:.0%}: {ours['tflops']:.0f} of {ours['ceiling_tflops']:.0f} TFLOP/s"
    return Verdict(what, shape, text, bool(share >= RATE), judged)


def _ours(lines: list[Line], direction: str) -> Line | None:
    found = [line for line in lines if line["contender"] == FUSED and line["direction"] == direction]
    return found[-1] if found and found[-1]["status"] == "timed" else None


def _why_not(lines: list[Line]) -> str:
    reasons = [line["reason"] for line in lines if line["contender"] == FUSED and line["reason"]]
    return reasons[0] if reasons else "no peer was timed"


def _table(shape: str, lines: list[Line]) -> str:
    head = f"{shape} · {lines[0]['gpu']}"
    limits = f"ceilings: {lines[0]['ceiling_tflops'] or 0:.0f} TFLOP/s, {lines[0]['ceiling_gbs']:.0f} GB/s"
    title = f"{'milliseconds (TFLOP/s)':<28}" + "".join(f"{direction:>20}" for direction in DIRECTIONS) + "     error"
    return "\n".join([f"{head} · {limits}", title, *_table_rows(lines)])


def _table_rows(lines: list[Line]) -> Iterator[str]:
    for name in dict.fromkeys(line["contender"] for line in lines):
        own = {line["direction"]: line for line in lines if line["contender"] == name}
        if "all" in own:
            yield f"{name:<28}  {own['all']['status']}: {own['all']['reason'][:110]}"
            continue
        cells = (f"{own[direction]['ms']:.3f} ({own[direction]['tflops']:.0f})" for direction in DIRECTIONS)
        yield f"{name:<28}" + "".join(f"{cell:>20}" for cell in cells) + f"   {own['forward']['error']:.1e}"


def _shapes(lines: list[Line]) -> list[str]:
    return list(dict.fromkeys(_shape(line) for line in lines))


def _shape(line: Line) -> str:
    return f"B={line['batch']} N={line['tokens']} h={line['heads']} d={line['dim']} {line['dtype']}"
