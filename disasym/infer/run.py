"""The whole of `disasym infer`: find pairs, decode, score, draw, write; every file ends with one fate."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from disasym.dicom import Fate
from disasym.engines import Engine, load
from disasym.engines.base import usable_cores
from disasym.errors import InputError
from disasym.infer.boxes import regions_of
from disasym.infer.exams import Exam, exams_of
from disasym.infer.fates import final_fates
from disasym.infer.jobs import Work, find_work
from disasym.infer.panels import write_panel
from disasym.infer.progress import Display, display
from disasym.infer.results import (
    EXAMS,
    ResultFiles,
    Row,
    panel_name,
    read_rows,
    row_of,
    write_boxes,
    write_fates,
    write_table,
)
from disasym.infer.stages import IMAGES, Failed, Scored, load_all, score_all

WRITABLE = ("scores", "panels")


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
    write: tuple[str, ...] | None = None  # scores are always written; None: panels too if the model makes images
    include_processing: bool = False
    quiet: bool = False

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
    scored: int  # pairs with a result
    fates: tuple[Fate, ...]  # one a file, sorted by path; paths relative to the source
    seconds: float  # from the first pair to the last row
    engine: str
    model_sha256: str
    left_out: str = ""  # what is usually written and was not, and why

    def count(self, fate: str) -> int:
        """Files with this fate."""
        return sum(each.fate == fate for each in self.fates)

    @property
    def exit_code(self) -> int:
        """0: all used, or skipped with a reason. 1: some failed."""
        return 1 if self.count("failed") else 0


def infer(options: InferOptions) -> Summary:
    """Score every pair of `options.source` and write the results into `options.out`.

    A file that cannot be used never stops a run: it is in `Summary.fates` and files.csv with its reason.

    Raises:
        InputError: the source does not exist, the results cannot be written, or panels were asked for and the model
            makes no images.
        ManifestError, EngineError, MissingExtraError, CheckpointError: see `read_manifest` and `engines.load`.
    """
    with load(options.model or default_model(), options.engine, options.device, options.threads) as engine:
        return infer_with(engine, options)


def infer_with(engine: Engine, options: InferOptions) -> Summary:
    """`infer` with an engine that is open; the options that say which one are not looked at.

    Raises:
        InputError, ManifestError: as `infer`.
    """
    with display(options.quiet) as shown:
        panels, left_out = _panels(options, engine, options.model or default_model())
        work = find_work(options.source, options.out, options.include_processing, shown.file)
        shown.pairs(len(work.jobs))
        with ResultFiles(options.out) as results:
            started = time.perf_counter()
            failures = _run(work, engine, results, options, panels, shown)
            seconds = time.perf_counter() - started
        fates = final_fates(work, failures)
        write_fates(options.out, fates)
        write_boxes(options.out, read_rows(options.out))
        exams = exams_of(read_rows(options.out), [failure.job for failure in failures])
        write_table(options.out / EXAMS, Exam, exams)
        return Summary(
            out=options.out,
            scored=len(work.jobs) - len(failures),
            fates=fates,
            seconds=seconds,
            engine=engine.name,
            model_sha256=engine.info.model_sha256,
            left_out=left_out,
        )


def default_model() -> Path:
    """$DISASYM_MODEL, else the demonstration model that is part of the package."""
    named = os.environ.get("DISASYM_MODEL")
    return Path(named) if named else Path(__file__).parent.parent / "demonstration"


def _panels(options: InferOptions, engine: Engine, model: Path) -> tuple[bool, str]:
    """Whether panels are drawn, and what to say if they are only left out because the model makes no images."""
    if options.write is not None and "panels" not in options.write:
        return False, ""
    missing = [name for name in IMAGES if name not in engine.info.outputs]
    if not missing:
        return True, ""
    without = f"{model} was exported without {', '.join(missing)}"
    if options.write is not None:
        raise InputError(f"panels cannot be drawn: {without}; write scores only, or export it with --outputs all")
    return False, f"panels: {without}"


Finishing = Future[Row]


def _run(
    work: Work, engine: Engine, results: ResultFiles, options: InferOptions, panels: bool, shown: Display
) -> list[Failed]:
    """All pairs through all stages, in order; returns those without a result."""
    workers = options.workers or usable_cores()
    batch = min(options.batch, engine.info.max_batch or options.batch)
    failures: list[Failed] = []
    with _pool(workers) as pool:

        def finish(pair: Scored) -> Finishing:
            return pool.submit(_finish, pair, engine, options.out, panels)

        loaded = load_all(work.jobs, engine.info.height, engine.info.width, pool, ahead=workers + batch)
        for done in _finished(score_all(loaded, engine, batch), finish):
            for end in done:
                if isinstance(end, Failed):
                    failures.append(end)
                else:
                    results.append(end.result())
            shown.scored(len(done))
    return failures


def _finished(
    batches: Iterable[list[Scored | Failed]], finish: Callable[[Scored], Finishing]
) -> Iterator[list[Failed | Finishing]]:
    """The pairs with their boxes and pictures, which are made while the next batch is scored."""
    before = None
    for batch in batches:
        begun = [finish(pair) if isinstance(pair, Scored) else pair for pair in batch]
        if before is not None:
            yield before
        before = begun
    if before is not None:
        yield before


def _finish(pair: Scored, engine: Engine, out: Path, panels: bool) -> Row:
    """Find the lesions of a pair and draw it, if `panels`; its row."""
    regions = regions_of(pair)
    panel = panel_name(pair.job.pair_id) if panels else ""
    if panel:
        write_panel(out / panel, pair, engine, regions or ())
    return row_of(pair, engine, regions, panel)


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Threads: decoders, numpy and PNG compression let each other run. An interrupt does not wait for the queue."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="disasym")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
