"""The race: all contenders in turns, one at work at a time, batch size by batch size from the smallest.

In a turn each contender runs for SLOT seconds, at least one run; who begins changes from turn to turn. So a noisy
moment hits all, and a ratio is one of times that lie seconds apart. A contender that fails at a batch size leaves the
race there: larger ones would not fit either.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disasym.bench.contenders import REFERENCE, Absent, Contender, Field
from disasym.bench.facts import available_bytes, gpu_bytes
from disasym.bench.process import ContenderError, Running
from disasym.bench.rows import Row, beyond, figures
from disasym.errors import EngineError

SLOT = 0.2  # seconds of a contender in a turn
LEAST_TURNS = 5  # fewer say nothing of the spread
MARGIN = 0.9  # of the memory that is free: what a batch may be foreseen to need
Say = Callable[[str], None]


@dataclass(frozen=True)
class Pace:
    """How much is measured."""

    batches: tuple[int, ...]  # ascending
    seconds: float = 240.0  # for all batch sizes together; the first one is measured in any case
    turns: int = 20  # most of a batch size


@dataclass
class Racer:
    """A contender at the start, and what is known of it so far."""

    contender: Contender
    running: Running
    start_first: dict[str, float]
    start_again: dict[str, float]
    open_bytes: int | None
    peak_bytes: int | None = None
    gpu_bytes: int | None = None
    batch: int = 0  # the last that was prepared
    run_seconds: float = 0.0  # of that
    delta: dict[str, float] = field(default_factory=dict)
    turns: list[list[float]] = field(default_factory=list)


def race(contenders: Field, pairs: Path, threads: int, pace: Pace, say: Say) -> Iterator[Row | Absent]:
    """Run the race; rows come as soon as a batch size is done.

    Args:
        pairs: a .npy file of distinct pairs, float32 [n, 2, H, W]. Outputs of the reference are kept beside it.

    Raises:
        EngineError: the reference does not run.
        KeyboardInterrupt: after the rows of the turns that were whole.
    """
    with ExitStack() as stack:
        racers: list[Racer] = []
        for contender in contenders.contenders:
            say(f"starting {contender.name}")
            try:
                racers.append(started(contender, pairs, threads, stack))
                if contender.name == REFERENCE:
                    racers[-1].running.ask("refer", folder=str(pairs.parent))
            except ContenderError as error:
                if contender.name == REFERENCE:
                    raise EngineError(f"the reference, {REFERENCE}, does not run: {error}") from None
                yield Absent(contender.name, str(error))
        yield from _batches(racers, pairs.parent, pace, say)


def started(contender: Contender, pairs: Path, threads: int, stack: ExitStack) -> Racer:
    """Start a contender twice: as it was found, and again when its files are at hand. The second one stays."""
    with Running(contender) as once:
        first = once.open(pairs, threads)
    before = gpu_bytes() if contender.device == "cuda" else None
    running = stack.enter_context(Running(contender))
    again = running.open(pairs, threads)
    racer = Racer(contender, running, first["start"], again["start"], again["open_bytes"])
    _grown(racer, before)
    return racer


def _batches(racers: list[Racer], reference: Path, pace: Pace, say: Say) -> Iterator[Row | Absent]:
    end = time.monotonic() + pace.seconds
    for place, batch in enumerate(pace.batches):
        left = end - time.monotonic()
        ahead = _seconds_of_a_turn(racers, batch)
        if place and (1 + LEAST_TURNS) * ahead > left:
            yield _cut(pace, batch, ahead, max(left, 0.0))
            return
        share = time.monotonic() + left / (len(pace.batches) - place)
        racing: list[Racer] = []
        for racer in racers:
            say(f"batch {batch}: {racer.contender.name}")
            if (why := _unfit(racer, batch)) or (why := _failed(_prepare, racer, batch, reference)):
                yield _out(racer, batch, why)
            else:
                racing.append(racer)
        try:
            yield from _turns(racing, batch, pace.turns, share, say)
        except KeyboardInterrupt:
            yield from rows(racing, batch)
            raise
        yield from rows(racing, batch)
        racers = racing


def _turns(racing: list[Racer], batch: int, most: int, share: float, say: Say) -> Iterator[Absent]:
    """At least LEAST_TURNS, then until this batch size's share of the time is over; who fails is taken out."""
    for number in range(most):
        if number >= LEAST_TURNS and time.monotonic() > share:
            return
        say(f"batch {batch}: turn {number + 1}")
        for racer in _order(racing, number):
            if why := _failed(_turn, racer):
                racing.remove(racer)
                yield _out(racer, batch, why)


def rows(racing: Sequence[Racer], batch: int) -> list[Row]:
    """One row for each, of the turns that all of them had."""
    whole = min((len(racer.turns) for racer in racing), default=0)
    reference = next((racer.turns[:whole] for racer in racing if racer.contender.name == REFERENCE), None)
    return [_row(racer, batch, racer.turns[:whole], reference) for racer in racing if whole]


def _row(racer: Racer, batch: int, turns: list[list[float]], reference: list[list[float]] | None) -> Row:
    contender = racer.contender
    return Row(
        contender=contender.name,
        engine=contender.engine,
        precision=contender.precision,
        outputs=contender.outputs,
        device=contender.device,
        target=contender.target,
        batch=batch,
        delta=racer.delta,
        differs=beyond(contender, racer.delta),
        open_bytes=racer.open_bytes,
        peak_bytes=racer.peak_bytes,
        gpu_bytes=racer.gpu_bytes,
        start_first=racer.start_first,
        start_again=racer.start_again,
        **figures(batch, turns, reference),
    )


def _prepare(racer: Racer, batch: int, reference: Path) -> None:
    before = gpu_bytes() if racer.contender.device == "cuda" else None
    alone = None if racer.contender.name == REFERENCE else str(reference)
    found = racer.running.ask("prepare", batch=batch, reference=alone)
    racer.batch, racer.run_seconds, racer.peak_bytes = batch, found["seconds"], found["peak_bytes"]
    racer.delta, racer.turns = found["delta"], []
    _grown(racer, before)


def _turn(racer: Racer) -> None:
    racer.turns.append(racer.running.ask("turn", seconds=SLOT)["runs"])


def _grown(racer: Racer, before: int | None) -> None:
    """What the GPU holds more than before is this contender's: no other was at work."""
    after = gpu_bytes() if before is not None else None
    if before is not None and after is not None:
        racer.gpu_bytes = (racer.gpu_bytes or 0) + after - before


def _failed(act: Callable[..., None], racer: Racer, *arguments: Any) -> str:
    """Why it could not, "" if it could."""
    try:
        act(racer, *arguments)
    except ContenderError as error:
        racer.running.close()
        return str(error)
    return ""


def _unfit(racer: Racer, batch: int) -> str:
    """Why this batch is not even tried: above the engine's largest, or more memory than is free."""
    if racer.contender.max_batch is not None and batch > racer.contender.max_batch:
        return f"above the {racer.contender.max_batch} that it was built for"
    if not racer.batch or racer.peak_bytes is None or racer.open_bytes is None or racer.contender.device != "cpu":
        return ""
    more = (racer.peak_bytes - racer.open_bytes) * (batch / racer.batch - 1)  # than it held at its peak so far
    free = available_bytes()
    if free is None or more <= MARGIN * free:
        return ""
    needed, there = (f"{size / 2**30:.1f} GiB" for size in (more, free))
    return f"not tried: it would need about {needed} more memory, {there} are free"


def _out(racer: Racer, batch: int, why: str) -> Absent:
    racer.running.close()
    return Absent(f"{racer.contender.name}, batch {batch} and above", why, racer.contender.engine)


def _seconds_of_a_turn(racers: Sequence[Racer], batch: int) -> float:
    """As the last batch size went, each run as long as its batch is large."""
    return sum(max(SLOT, racer.run_seconds * batch / racer.batch) for racer in racers if racer.batch)


def _cut(pace: Pace, batch: int, ahead: float, left: float) -> Absent:
    rest = ", ".join(str(each) for each in pace.batches if each >= batch)
    why = f"{LEAST_TURNS} turns of all would take about {math.ceil((1 + LEAST_TURNS) * ahead)} s, {left:.0f} s are left"
    return Absent(f"batch {rest}", f"{why} of {pace.seconds:g}: --seconds gives more, --engine fewer contenders")


def _order(racers: Sequence[Racer], turn: int) -> list[Racer]:
    """Another one begins in each turn, so that nobody always follows the same one."""
    first = turn % max(len(racers), 1)
    return [*racers[first:], *racers[:first]]
