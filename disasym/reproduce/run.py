"""The whole of `disasym reproduce`: every run that is not finished, then tables, plots and report."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from disasym.errors import DisasymError, InputError
from disasym.files import write_whole
from disasym.infer.lock import only_run
from disasym.reproduce.cell import finish
from disasym.reproduce.frozen import network_of
from disasym.reproduce.options import ReproduceOptions, check_settings
from disasym.reproduce.plan import DONE, FAILED, PROBLEM, Cell, cells, write_plan
from disasym.reproduce.plots import check_matplotlib
from disasym.reproduce.report import write_report
from disasym.reproduce.study import Study, read_studies
from disasym.reproduce.timing import Clock, measure, seen
from disasym.train.dataset import foreign_bank
from disasym.train.processes import Processes, joined
from disasym.train.run import banks_of

SETTINGS, PLAN = "settings.json", "plan.csv"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Reproduced:
    """What there is now."""

    cells: tuple[Cell, ...]
    left: dict[Path, float | None]  # seconds of each run, by its folder
    files: tuple[Path, ...]  # report first; () of a plan
    studies: tuple[Study, ...]

    def count(self, state: str) -> int:
        return sum(cell.state == state for cell in self.cells)

    @property
    def seconds_left(self) -> float | None:
        """Of all runs; None while a method's speed is not known."""
        times = list(self.left.values())
        return None if None in times else sum(time for time in times if time is not None)

    @property
    def exit_code(self) -> int:
        """1: some runs failed, or images could not be used."""
        return int(self.count(FAILED) > 0)


def plan(options: ReproduceOptions, say: Say = lambda _: None) -> Reproduced:
    """What would be run, and how long it takes by the first steps of each method; trains nothing.

    Raises:
        InputError, ManifestError: as `reproduce`.
    """
    with joined(options.training.device) as processes, only_first(options.training.out, processes):
        studies, listed = _prepared(options, processes, say)
        clock = Clock(options)
        for cell in listed:
            if cell.state != DONE and not clock.knows(cell):
                say(f"timing the first steps of {cell.method} on {cell.study.name}")
                clock.learn(cell, measure(cell, options, processes), processes.first)
        left = clock.left(listed)
        if processes.first:
            write_plan(options.training.out / PLAN, listed, left)
        return Reproduced(tuple(listed), left, (), studies)


def reproduce(options: ReproduceOptions, say: Say = lambda _: None) -> Reproduced:
    """Finish every run and write tables, plots and report; what is finished already is not done again.

    The report is written whenever every method has finished a fold, and at the end.

    A run that fails is noted with its reason, and the others go on; started again, it is tried again.

    Raises:
        InputError: the folder holds another experiment, a data set without a split or a foreign tumour bank, or another
            process was lost.
        ManifestError: a manifest cannot be read.
    """
    with joined(options.training.device) as processes, only_first(options.training.out, processes):
        studies, listed = _prepared(options, processes, say)
        clock = Clock(options)
        waiting = [cell for cell in listed if cell.state != DONE]
        for number, cell in enumerate(waiting, 1):
            if processes.first:
                write_plan(options.training.out / PLAN, listed, clock.left(listed), cell)
            say(f"run {number} of {len(waiting)}: {cell.name}")
            _attempt(cell, options, processes, say)
            if (speed := seen(cell, options)) is not None:
                clock.learn(cell, speed, processes.first)
            if processes.first and number < len(waiting) and _round(cell) != _round(waiting[number]):
                write_report(options, studies, listed)
        left = clock.left(listed)
        files: tuple[Path, ...] = ()
        if processes.first:
            write_plan(options.training.out / PLAN, listed, left)
            files = write_report(options, studies, listed)
        return Reproduced(tuple(listed), left, files, studies)


def _round(cell: Cell) -> tuple[float, int]:
    """Runs of one round are compared with one another."""
    return cell.fraction, cell.fold


def _attempt(cell: Cell, options: ReproduceOptions, processes: Processes, say: Say) -> None:
    """Finish a run, or note why it cannot be."""
    try:
        finish(cell, options, processes)
    except DisasymError as error:
        reason = " ".join(str(error).split())
        if processes.first:
            write_whole(cell.folder / PROBLEM, json.dumps({"reason": reason}).encode())
        if processes.count > 1:  # the others may be waiting for this one within the run
            raise
        say(f"failed: {reason}")


def _prepared(options: ReproduceOptions, processes: Processes, say: Say) -> tuple[tuple[Study, ...], list[Cell]]:
    """Everything that can go wrong before hours of training goes wrong here."""
    out = options.training.out
    check_settings(options, out / SETTINGS)
    if "figure2" in options.parts:
        check_matplotlib()
    started = time.perf_counter()
    say("reading and preprocessing every image once")
    studies = read_studies(options, processes)
    say(f"{sum(len(study.pairs) for study in studies)} pairs in {time.perf_counter() - started:.0f} s")
    if banks := banks_of(options.run_options("disasymnet", out)):
        for study in studies:
            foreign_bank(next(iter(study.pairs.values())).rows.dataset, banks)
    if options.frozen is not None:
        network_of(options, "cpu")
    listed = cells(options, studies)
    if not listed:
        raise InputError(f"nothing to run: {', '.join(options.methods)} is in none of {', '.join(options.parts)}")
    if processes.first:
        write_whole(out / SETTINGS, (json.dumps(options.settings, indent=2) + "\n").encode())
    return studies, listed


def only_first(out: Path, processes: Processes) -> contextlib.AbstractContextManager[None]:
    """One reproduction at a time in a folder; its first process holds it for all."""
    return only_run(out) if processes.first else contextlib.nullcontext()
