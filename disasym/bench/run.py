"""The whole of `disasym bench`: what is raced, the race or the stream, and what is kept of it."""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from disasym.bench.contenders import REFERENCE, Absent, Field, find
from disasym.bench.facts import facts
from disasym.bench.models import DISTINCT, exports_of, needs_torch
from disasym.bench.race import Pace, race
from disasym.bench.rows import Row, absent_json
from disasym.bench.stream import StreamRow, stream
from disasym.engines import DEVICES
from disasym.engines.base import usable_cores
from disasym.errors import InputError
from disasym.export.parity import synthetic_pairs
from disasym.infer.stages import load_views
from disasym.spec import Array

JSONL = "bench.jsonl"
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SYNTHETIC = 4  # pairs, where no real ones are given
Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchOptions:
    """What a race is told; checked when it is made. InputError names what is wrong."""

    models: tuple[str, ...]  # export folders, weights files, names of presets
    out: Path
    exports: tuple[str, ...] = ("fp32",)  # what to make of weights and presets
    engines: tuple[str, ...] = ()  # (): all
    device: str = "cpu"
    batches: tuple[int, ...] = ()  # (): BATCHES, or 4 for a stream
    seconds: float = 240.0
    turns: int = 20
    threads: int | None = None  # None: one a usable core, for every contender
    pairs: Path | None = None  # real pairs; None: synthetic ones
    compiled: bool = False  # race torch.compile too
    exams: int | None = None  # a stream of so many, instead of a race

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise InputError(f"unknown device {self.device!r}: choose one of {', '.join(DEVICES)}")
        counts = {"batch": self.batches, "turns": (self.turns,), "threads": (self.threads,), "exams": (self.exams,)}
        for name, values in counts.items():
            if low := [value for value in values if value is not None and value < 1]:
                raise InputError(f"{name} must be at least 1, got {low[0]}")
        if not self.seconds > 0:
            raise InputError(f"seconds must be above 0, got {self.seconds:g}")
        if self.exams is not None and len(self.batches) > 1:
            raise InputError(f"a stream has one batch size, got {len(self.batches)}: name one of them")


@dataclass(frozen=True)
class Report:
    """What came out, in the order in which it did. The same rows stand in `out`/bench.jsonl."""

    out: Path
    field: Field
    common: dict[str, Any]  # what holds for all rows: machine, versions, model, pairs
    rows: tuple[Row, ...]
    streamed: tuple[StreamRow, ...]
    absent: tuple[Absent, ...]
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0: contenders were measured and agree with the reference. 1: one differs, or none ran. 130: interrupted."""
        if self.interrupted:
            return 130
        names = {row.contender for row in self.rows} | {row.contender for row in self.streamed}
        return 1 if not names - {REFERENCE} or any(row.differs for row in self.rows) else 0


def bench(options: BenchOptions, say: Say = lambda _: None) -> Report:
    """Race every engine and precision that this machine can run against eager PyTorch in float32.

    Rows are written as they come; Ctrl-C ends the race and keeps those that are there. `say` hears what is going on.

    Raises:
        MissingExtraError: torch is not installed; it is the reference.
        InputError, EngineError, ExportError, CheckpointError: a model, an option or the reference is unusable.
    """
    needs_torch()
    folders = exports_of(options.models, options.exports, options.out / "models", options.pairs, say)
    contenders = find(folders, options.device, options.engines, options.compiled)
    views, source = _pairs(contenders, options.pairs)
    common = {
        **facts(options.device),
        "model_sha256": contenders.manifest.model_sha256,
        "preset": contenders.manifest.preset,
        "height": contenders.manifest.height,
        "width": contenders.manifest.width,
        "threads": options.threads or usable_cores(),
        "input": {"source": source, "distinct": len(views)},  # not "pairs": a stream's row counts those
    }
    found: list[Row | StreamRow | Absent] = []
    interrupted = False
    with _Lines(options.out / JSONL, common) as lines, tempfile.TemporaryDirectory() as scratch:
        try:
            for each in chain(contenders.absent, _measured(contenders, views, Path(scratch), options, say)):
                found.append(each)
                lines.append(each)
        except KeyboardInterrupt:
            interrupted = True
    return Report(
        out=options.out,
        field=contenders,
        common=common,
        rows=tuple(each for each in found if isinstance(each, Row)),
        streamed=tuple(each for each in found if isinstance(each, StreamRow)),
        absent=tuple(each for each in found if isinstance(each, Absent)),
        interrupted=interrupted,
    )


def _measured(
    contenders: Field, views: Array, scratch: Path, options: BenchOptions, say: Say
) -> Iterator[Row | StreamRow | Absent]:
    pairs = scratch / "pairs.npy"
    np.save(pairs, views)
    threads = options.threads or usable_cores()
    if options.exams is not None:
        batch = (options.batches or (4,))[0]
        return stream(contenders, pairs, threads, options.exams, batch, options.seconds, say)
    batches = tuple(sorted(set(options.batches or BATCHES)))
    return race(contenders, pairs, threads, Pace(batches, options.seconds, options.turns), say)


def _pairs(contenders: Field, source: Path | None) -> tuple[Array, str]:
    manifest = contenders.manifest
    if source is None:
        return synthetic_pairs(manifest.height, manifest.width, SYNTHETIC), "synthetic"
    return load_views(source, manifest.height, manifest.width, DISTINCT), "real"


class _Lines:
    """bench.jsonl, begun anew; each line is complete and at once on its way to the disk."""

    def __init__(self, path: Path, common: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}): name another folder") from None
        self._common = common

    def append(self, row: Row | StreamRow | Absent) -> None:
        values = absent_json(row) if isinstance(row, Absent) else row.as_json()
        self._file.write(json.dumps({**values, **self._common}, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
