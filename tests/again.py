"""Runs of infer that are given again, and what they leave."""

from pathlib import Path
from typing import Any

from disasym.infer import InferOptions, Summary
from disasym.infer.ledger import LEDGER
from disasym.infer.run import infer_with
from exams import FakeEngine


def scored(source: Path, out: Path, engine: FakeEngine | None = None, **options: Any) -> Summary:
    told = {"write": ("scores",), "batch": 2, "quiet": True, **options}
    return infer_with(engine or FakeEngine(), InferOptions(source=source, out=out, **told))


def contents(out: Path) -> dict[str, bytes]:
    """Every file of the results, but for the ledger and the lock."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in (".lock", ".running") and not path.name.startswith(LEDGER)
    }
