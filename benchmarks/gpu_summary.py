"""The short table at the end of a GPU command."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu_part import CUT, FAIL, INFO, PASS, Record, read_records

MOST_DETAILS = 18  # lines about single checks; all are in records.jsonl
WIDTH = 118


Targets = Callable[[Path], list[str]]


def summary(targets: Targets, out: Path, parts: list[str], correctness: set[str], seconds: float) -> tuple[str, bool]:
    """At most 60 lines, and whether every check of correctness ran and passed. `targets`: their lines."""
    records = read_records(out)
    words = {part: verdict([one for one in records if one.part == part]) for part in parts}
    lines = [_group_line(group, parts, words, records) for group in dict.fromkeys(part.split()[0] for part in parts)]
    details = [f"  {one.status.upper():<5}{one.part}: {one.check}: {one.detail}" for one in records if _telling(one)]
    hidden = len(details) - MOST_DETAILS
    details = details[:MOST_DETAILS] + ([f"  and {hidden} more: records.jsonl"] if hidden > 0 else [])
    passed = bool(correctness) and all(words[part] == PASS for part in correctness)
    end = f"{'PASS' if passed else 'FAIL'}: correctness, {len(correctness)} parts, {seconds:.0f} s"
    return "\n".join(line[:WIDTH] for line in (*lines, *details, *targets(out), end)), passed


def verdict(records: list[Record]) -> str:
    """FAIL before CUT before PASS; a part that reported nothing failed."""
    found = {one.status for one in records}
    if FAIL in found or not found:
        return FAIL
    return CUT if CUT in found else PASS


def _group_line(group: str, parts: list[str], words: dict[str, str], records: list[Record]) -> str:
    """The parts that differ only in their arguments, as one line with the worst of their verdicts."""
    own = [part for part in parts if part.split()[0] == group]
    word = next(word for word in (FAIL, CUT, PASS) if word in {words[part] for part in own})
    counts = Counter(one.status for one in records if one.part in own)
    text = ", ".join(f"{counts[status]} {status}" for status in (PASS, FAIL, CUT, INFO) if counts[status])
    name = group if len(own) == 1 else f"{group} ({len(own)} parts)"
    return f"{word.upper():<6}{name:<24}{text or 'reported nothing'}"


def _telling(one: Record) -> bool:
    return one.status in (FAIL, CUT) or (one.status == INFO and one.part == "environment")
