"""Sustained throughput: a stream of synthetic exams, two pairs each (CC and MLO), one contender after the other.

Nothing is interleaved: what slows down under load (clock, heat, memory that grows) shows over time. The first tenth of
the stream warms up and is not counted. The pairs are made ahead: decoding is not part of it.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from disasym.bench.contenders import Absent, Contender, Field
from disasym.bench.process import ContenderError, Running
from disasym.bench.rows import FORMAT

PAIRS = 2  # of an exam
WARM_UP = 0.1  # of the stream
WINDOWS = 20  # into which the counted part is cut, one after the other
Say = Callable[[str], None]


@dataclass(frozen=True)
class Window:
    """A stretch of the stream."""

    end_seconds: float  # since the counted part began
    pairs_per_second: float


@dataclass(frozen=True)
class StreamRow:
    """One contender over the whole stream; sizes in bytes, None: not known."""

    contender: str
    engine: str
    precision: str
    outputs: tuple[str, ...]
    device: str
    target: str
    batch: int
    exams: int  # that were asked for
    pairs: int  # that were run, warm-up included
    warm_up_pairs: int
    seconds: float  # of the counted pairs
    pairs_per_second: float
    windows: tuple[Window, ...]
    first_bytes: int | None  # memory of the process after the warm-up
    last_bytes: int | None  # and at the end
    cut: str  # why the stream was not run to its end, "" if it was

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "kind": "stream", **asdict(self)}


def stream(
    contenders: Field, pairs: Path, threads: int, exams: int, batch: int, seconds: float, say: Say
) -> Iterator[StreamRow | Absent]:
    """Run the stream through each contender, for at most an equal share of `seconds`.

    Args:
        pairs: a .npy file of distinct pairs, float32 [n, 2, H, W], of which the stream is made.
    """
    share = seconds / len(contenders.contenders)
    for contender in contenders.contenders:
        say(f"streaming through {contender.name}")
        size = min(batch, contender.max_batch or batch)
        try:
            with Running(contender) as running:
                running.open(pairs, threads)
                yield _streamed(contender, running, exams, size, share)
        except ContenderError as error:
            yield Absent(contender.name, str(error), contender.engine)


def _streamed(contender: Contender, running: Running, exams: int, batch: int, share: float) -> StreamRow:
    """The whole batches in windows, the ragged rest last."""
    whole, rest = divmod(exams * PAIRS, batch)
    end = time.monotonic() + share
    warm, first = 0, None
    if whole:
        running.ask("prepare", batch=batch)
    if whole > 1:
        found = running.ask("turn", seconds=share / 2, most=math.ceil(WARM_UP * whole))
        warm, first = len(found["runs"]), found["bytes"]
    windows: list[Window] = []
    done, elapsed, last = warm, 0.0, first
    length = math.ceil(max(whole - warm, 1) / WINDOWS)
    while done < whole and (not windows or time.monotonic() < end):
        found = running.ask("turn", seconds=max(end - time.monotonic(), 0.0), most=min(length, whole - done))
        elapsed, last = elapsed + found["elapsed"], found["bytes"]
        windows.append(Window(elapsed, len(found["runs"]) * batch / found["elapsed"]))
        done += len(found["runs"])
    pairs, cut = done * batch, ""
    if done < whole:
        cut = f"{pairs} of {exams * PAIRS} pairs in its share of the time, {share:.0f} s"
    elif rest:
        running.ask("prepare", batch=rest)
        found = running.ask("turn", seconds=0.0, most=1)
        elapsed, last, pairs = elapsed + found["elapsed"], found["bytes"], pairs + rest
        windows.append(Window(elapsed, rest / found["elapsed"]))
    return StreamRow(
        contender=contender.name,
        engine=contender.engine,
        precision=contender.precision,
        outputs=contender.outputs,
        device=contender.device,
        target=contender.target,
        batch=batch,
        exams=exams,
        pairs=pairs,
        warm_up_pairs=warm * batch,
        seconds=elapsed,
        pairs_per_second=(pairs - warm * batch) / elapsed,
        windows=tuple(windows),
        first_bytes=first,
        last_bytes=last,
        cut=cut,
    )
