"""The whole of `disasym infer`: find pairs, decode, score, draw, write; every file ends with one fate."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from disasym.data.loaders import Loaders
from disasym.dicom import Fate
from disasym.engines import Engine, load
from disasym.engines.base import usable_cores
from disasym.errors import InputError
from disasym.infer.clock import Clock, StageTime
from disasym.infer.finish import Finished, finish
from disasym.infer.guess import Guesses
from disasym.infer.jobs import Job, Work, check_places, find_work
from disasym.infer.ledger import Counts
from disasym.infer.lock import only_run
from disasym.infer.progress import Display, display
from disasym.infer.report import REPORT, write_report
from disasym.infer.stages import Failed, Scored, Scorer, load_all, score_all
from disasym.infer.store import Store, settings_of
from disasym.infer.wanted import WRITABLE, Wanted, check_source, wanted


@dataclass(frozen=True)
class InferOptions:
    """What a run is told."""

    source: Path  # a folder of DICOM files, one DICOM file, or a manifest .csv or .parquet
    out: Path
    model: Path | None = None  # None: see `default_model`
    engine: str = "auto"
    device: str = "cpu"
    batch: int = 4  # pairs in one run of the engine
    workers: int | None = None  # files decoded at a time; None: one a usable core
    threads: int | None = None  # of the engine; None: one a usable core
    write: tuple[str, ...] | None = None  # of WRITABLE; scores always; None: the report too, and what `wanted` says
    include_processing: bool = False
    fresh: bool = False  # forget what was done in `out` before; else only what is new is done
    quiet: bool = False
    trace: Path | None = None  # a file for a trace of all stages, see `clock.py`

    def __post_init__(self) -> None:
        for name in ("batch", "workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        unknown = [name for name in self.write or () if name not in WRITABLE]
        if unknown:
            raise InputError(f"cannot write {', '.join(unknown)}: choose from {', '.join(WRITABLE)}")


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    out: Path
    scored: int  # pairs that got a result in this run
    already: int  # pairs whose result an earlier run had
    fates: tuple[Fate, ...]  # one a file, sorted by path; paths relative to the source
    seconds: float  # from the first file looked at to the last pair kept
    engine: str
    model_sha256: str
    report: Path | None = None  # its first page; None: it was not asked for
    left_out: str = ""  # what is usually written and was not, and why
    gone: int = 0  # pairs of earlier runs that are not in the source any more, and so in no table
    notes: tuple[str, ...] = ()  # what else is to be told
    stages: tuple[StageTime, ...] = ()  # where the time went

    def count(self, fate: str) -> int:
        """Files with this fate."""
        return sum(each.fate == fate for each in self.fates)

    @property
    def exit_code(self) -> int:
        """0: all used, or skipped with a reason. 1: some failed."""
        return 1 if self.count("failed") else 0


def infer(options: InferOptions) -> Summary:
    """Score every pair of `options.source` that has no result yet and write the results into `options.out`.

    Killed at any moment and called again, it ends with the results of a run that was left alone. A file that cannot be
    used never stops a run: it is in `Summary.fates` and files.csv with its reason.

    Raises:
        InputError: the source does not exist, the results cannot be written or were made with other settings, or what
            is asked for cannot be made of this model or this source.
        ManifestError, EngineError, MissingExtraError, CheckpointError: see `read_manifest` and `engines.load`.
    """
    model = options.model or default_model()
    # loaders begin while the engine is opened; shared: films are decoded beside it
    with (
        Loaders(begun=options.workers or usable_cores()) as loaders,
        load(model, options.engine, options.device, options.threads, shared=True) as engine,
    ):
        return infer_with(engine, options, loaders)


def infer_with(engine: Engine, options: InferOptions, loaders: Loaders | None = None) -> Summary:
    """`infer` with an engine that is open; the options that say which one are not looked at.

    Args:
        loaders: processes that load films and are kept for the next run; None: they begin and end with this one.

    Raises:
        InputError, ManifestError: as `infer`.
    """
    asked = wanted(options.write, engine, options.model or default_model())
    check_places(options.source, options.out)
    with nullcontext(loaders) if loaders else Loaders() as films:

        def here(store: Store, clock: Clock) -> Way:
            scorer = Scorer(engine, options.batch)
            return _Here(options, store, films, scorer, options.workers or usable_cores(), asked, clock)

        return conduct(engine, options, asked, here)


class Way(Protocol):
    """Where pairs go through the stages: in this process, or on a cluster (`on_ray.py`)."""

    @property
    def batch(self) -> int:
        """Pairs in one run of an engine."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be told of it, when all is done."""

    def search(self, shown: Display) -> Work:
        """All pairs of the source; some may be in the store already, as guesses."""

    def score(self, jobs: list[Job], shown: Display) -> int:
        """All `jobs` through all stages into the store; how many have no result."""


def conduct(engine: Engine, options: InferOptions, asked: Wanted, way_of: Callable[[Store, Clock], Way]) -> Summary:
    """A run from the lock on its folder to its tables, whichever way its pairs go.

    Raises:
        InputError, ManifestError: as `infer`; and what the way raises.
    """
    check_source(options.source, asked)
    with (
        display(options.quiet) as shown,
        only_run(options.out),
        Store(options.out, settings_of(engine, asked), options.fresh) as store,
        store.ledger.run() as told,
        Clock(options.trace) as clock,
    ):
        started = time.perf_counter()
        way = way_of(store, clock)
        work = way.search(shown)
        waiting = store.plan(work.jobs)
        done = len(work.jobs) - len(waiting)
        shown.pairs(len(work.jobs), done)
        failed = way.score(waiting, shown)
        seconds = time.perf_counter() - started
        tables = store.write_tables(work)
        if asked.report:
            write_report(options.out, engine, tables.exams, tables.fates)
        summary = Summary(
            out=options.out,
            scored=store.confirmed + len(waiting) - failed,
            already=done - store.confirmed,
            fates=tables.fates,
            seconds=seconds,
            engine=engine.name,
            model_sha256=engine.info.model_sha256,
            report=options.out / REPORT if asked.report else None,
            left_out=asked.left_out,
            gone=store.ledger.count() - len(work.jobs),
            notes=way.notes,
            stages=tuple(stage for stage in clock.stages() if stage.count),
        )
        told.append(Counts(summary.scored, summary.already, failed, way.batch, way.notes))
    return summary


def default_model() -> Path:
    """$DISASYM_MODEL, else the demonstration model that is part of the package."""
    named = os.environ.get("DISASYM_MODEL")
    return Path(named) if named else Path(__file__).parent.parent / "demonstration"


Finishing = Future[Finished | Failed]


@dataclass(frozen=True)
class _Here:
    """This machine: films are loaded in other processes, the rest is done in threads of this one."""

    options: InferOptions
    store: Store
    loaders: Loaders
    scorer: Scorer
    workers: int
    asked: Wanted
    clock: Clock

    @property
    def batch(self) -> int:
        return self.scorer.batch

    @property
    def notes(self) -> tuple[str, ...]:
        return (self.scorer.note,) if self.scorer.note else ()

    def search(self, shown: Display) -> Work:
        """The pairs of the source; those that look like pairs are scored while it is still being searched."""
        guesses = Guesses(self.batch)

        def file(path: Path) -> None:
            guesses.file(path)
            self.clock.counted("scan")
            shown.file(path)

        def find() -> Work:
            with self.clock.busy("scan", count=0):
                told = self.options
                return find_work(told.source, told.out, told.include_processing, file, guesses.header)

        with _pool(1) as searcher:
            try:
                searched = searcher.submit(find)
                self._through(self.store.guesses(guesses.until(searched)), self.store.keep_guess, shown.guessed)
            finally:
                guesses.stop()
        return searched.result()

    def score(self, jobs: list[Job], shown: Display) -> int:
        return self._through(_begun(jobs, self.store), self.store.keep, shown.scored)

    def _through(
        self, jobs: Iterable[Job | None], keep: Callable[[Finished | Failed], None], done: Callable[[int], None]
    ) -> int:
        """All `jobs`, which were begun, through all stages, in order; returns how many have no result."""
        failed = 0
        info = self.scorer.engine.info
        with _pool(self.workers) as pool:
            ahead = self.workers + self.scorer.batch
            loaded = load_all(jobs, info.height, info.width, pool, ahead, self.clock, self.loaders.load)
            for batch in _finished(
                score_all(loaded, self.scorer, self.clock), lambda pair: pool.submit(self._end, pair)
            ):
                for pair in batch:
                    with self.clock.waiting("engine", "output"):
                        ended = pair.result()
                    with self.clock.busy("ledger"):
                        keep(ended)
                    failed += isinstance(ended, Failed)
                done(len(batch))
        return failed

    def _end(self, pair: Scored | Failed) -> Finished | Failed:
        if isinstance(pair, Failed):
            return pair
        with self.clock.busy("finish", pair.job.pair_id):
            return self.store.write(finish(pair, self.scorer.engine, self.asked))


def _begun(jobs: Iterable[Job], store: Store) -> Iterator[Job]:
    for job in jobs:
        store.begin(job)
        yield job


def _finished(
    batches: Iterable[list[Scored | Failed]], finishing: Callable[[Scored | Failed], Finishing]
) -> Iterator[list[Finishing]]:
    """The pairs with their boxes and pictures, which are made while the next batch is scored."""
    before = None
    for batch in batches:
        begun = [finishing(pair) for pair in batch]
        if before is not None:
            yield before
        before = begun
    if before is not None:
        yield before


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Threads, which wait for loaders or compress pictures. An interrupt does not wait for the queue."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="disasym")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
