"""What every part of a GPU command is given: where it runs, until when, and how it reports.

A part is a function of one `Part`, run in a process of its own. It reports as it goes, one JSON line a check in
records.jsonl, so that what was found before a crash or a kill is kept.
"""

import argparse
import json
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from disasym.kernels import bilateral_attention

PASS, FAIL, CUT, INFO = "pass", "fail", "cut", "info"
RECORDS = "records.jsonl"


@dataclass(frozen=True)
class Record:
    """What one check found."""

    part: str
    check: str
    status: str  # PASS, FAIL, CUT (no time or no room for it: neither passed nor failed), INFO
    detail: str


@dataclass(frozen=True)
class Part:
    """One part, while it runs."""

    name: str
    arguments: tuple[str, ...]  # what the part's name adds to its function
    out: Path  # folder of all results
    device: str  # "cuda", or "cpu" in a dry run
    deadline: float  # time.monotonic of this process
    sabotage: str | None = None
    commit: str | None = None
    work: Path = Path()  # folder of what parts make for each other, too large for `out`
    pairs: Path | None = None  # real pairs; None: synthetic ones
    weights: Path | None = None  # a file of weights; None: random ones

    @property
    def dry(self) -> bool:
        return self.device == "cpu"

    @property
    def left(self) -> float:
        """Seconds until this part is killed."""
        return self.deadline - time.monotonic()

    def report(self, check: str, status: str, detail: str = "") -> None:
        record(self.out, Record(self.name, check, status, detail))

    def check(self, name: str, run: Callable[[], str], *, seconds: float = 5.0) -> None:
        """Run one check, which returns what it found and raises what is wrong; cut if it may need more than is left."""
        if self.left < seconds and not self.dry:
            self.report(name, CUT, f"{max(self.left, 0):.0f} s were left, it may need {seconds:.0f} s")
            return
        try:
            self.report(name, PASS, run())
        except NotHere as reason:
            self.report(name, INFO, str(reason))
        except Prevented as reason:
            self.report(name, CUT, str(reason))
        except Exception as problem:  # whatever it is, this check has failed and the next one runs
            traceback.print_exc()
            self.report(name, FAIL, " ".join(f"{type(problem).__name__}: {problem}".split())[:400])

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The kernel under test; with sabotage "value", 1 % off, which every comparison must notice."""
        out = bilateral_attention(q, k, v, backend="triton")
        return out * 1.01 if self.sabotage == "value" else out


class NotHere(Exception):  # noqa: N818  # not an error: the check has no meaning on this device
    """A check that this device or this dry run has no use for."""


class Prevented(Exception):  # noqa: N818
    """A check that should run on this machine and cannot: too little memory, or a package that is missing."""


def record(out: Path, found: Record) -> None:
    """One line, appended by one write: parts run side by side."""
    line = (json.dumps(vars(found), ensure_ascii=False) + "\n").encode()
    handle = os.open(out / RECORDS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def read_records(out: Path) -> list[Record]:
    path = out / RECORDS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Record(**json.loads(line)) for line in lines]


def require(condition: bool, message: str) -> None:
    """As assert, which `python -O` leaves out."""
    if not condition:
        raise AssertionError(message)


def finish(device: str) -> None:
    """Wait for the GPU: an error of a kernel shows here at the latest."""
    if device == "cuda":
        torch.cuda.synchronize()


def perform(functions: Mapping[str, Callable[[Part], None]], arguments: argparse.Namespace, **others: Any) -> None:
    """The part that a command was started for: its name says which function, and with what. `others`: of `Part`."""
    name, *rest = arguments.part.split()
    device = "cpu" if arguments.dry_run else "cuda"
    deadline = time.monotonic() + arguments.seconds
    functions[name](
        Part(arguments.part, tuple(rest), arguments.out, device, deadline, commit=arguments.commit, **others)
    )
