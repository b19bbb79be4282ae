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
from disasym.errors import ImageError, InputError
from disasym.files import write_whole
from disasym.infer.boxes import regions_of
from disasym.infer.exams import Exam, exams_of
from disasym.infer.fates import final_fates
from disasym.infer.jobs import Work, find_work
from disasym.infer.lock import only_run
from disasym.infer.panels import draw_panel, write_picture
from disasym.infer.progress import Display, display
from disasym.infer.report import REPORT, layers_file, remove_report, write_report
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
from disasym.infer.stages import Failed, Scored, load_all, score_all
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
    report: Path | None = None  # its first page; None: it was not asked for
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
        InputError: the source does not exist, the results cannot be written, or what is asked for cannot be made of
            this model or this source.
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
        asked = wanted(options.write, engine, options.model or default_model())
        work = find_work(options.source, options.out, options.include_processing, shown.file)
        check_source(work.jobs, asked, options.source)
        shown.pairs(len(work.jobs))
        with only_run(options.out):
            failures, fates, seconds = _written(work, engine, options, asked, shown)
        return Summary(
            out=options.out,
            scored=len(work.jobs) - len(failures),
            fates=fates,
            seconds=seconds,
            engine=engine.name,
            model_sha256=engine.info.model_sha256,
            report=options.out / REPORT if asked.report else None,
            left_out=asked.left_out,
        )


def _written(
    work: Work, engine: Engine, options: InferOptions, asked: Wanted, shown: Display
) -> tuple[list[Failed], tuple[Fate, ...], float]:
    """Score all pairs and write every table; pairs without a result, the fates, and the seconds of the pairs."""
    with ResultFiles(options.out) as results:
        remove_report(options.out)  # it speaks of another run
        started = time.perf_counter()
        failures = _run(work, engine, results, options, asked, shown)
        seconds = time.perf_counter() - started
    fates = final_fates(work, failures)
    write_fates(options.out, fates)
    write_boxes(options.out, read_rows(options.out))
    exams = exams_of(read_rows(options.out), [failure.job for failure in failures])
    write_table(options.out / EXAMS, Exam, exams)
    if asked.report:
        write_report(options.out, engine, exams, fates)
    return failures, fates, seconds


def default_model() -> Path:
    """$DISASYM_MODEL, else the demonstration model that is part of the package."""
    named = os.environ.get("DISASYM_MODEL")
    return Path(named) if named else Path(__file__).parent.parent / "demonstration"


Finishing = Future[Row | Failed]


def _run(
    work: Work, engine: Engine, results: ResultFiles, options: InferOptions, asked: Wanted, shown: Display
) -> list[Failed]:
    """All pairs through all stages, in order; returns those without a result."""
    workers = options.workers or usable_cores()
    batch = min(options.batch, engine.info.max_batch or options.batch)
    failures: list[Failed] = []
    with _pool(workers) as pool:

        def finish(pair: Scored) -> Finishing:
            return pool.submit(_finish, pair, engine, options.out, asked)

        loaded = load_all(work.jobs, engine.info.height, engine.info.width, pool, ahead=workers + batch)
        for done in _finished(score_all(loaded, engine, batch), finish):
            for pair in done:
                end = pair if isinstance(pair, Failed) else pair.result()
                if isinstance(end, Failed):
                    failures.append(end)
                else:
                    results.append(end)
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


def _finish(pair: Scored, engine: Engine, out: Path, asked: Wanted) -> Row | Failed:
    """Find the lesions of a pair and write what is asked for beside the tables; its row."""
    regions = regions_of(pair)
    drawn = draw_panel(pair, engine, regions or ()) if asked.panels or "capture" in asked.dicom else None
    objects: list[tuple[str, bytes]] = []
    if asked.dicom:
        from disasym.infer.objects import objects_of

        try:
            objects = objects_of(pair, regions, engine, asked.dicom, drawn)
        except ImageError as error:
            return _without_objects(pair, f"cannot be made: {error}")
        except Exception as error:  # odd tags of one film cost its pair, not the archive; the text may quote them
            return _without_objects(pair, f"failed with an unexpected {type(error).__name__}: please report this")
    panel = panel_name(pair.job.pair_id) if asked.panels else ""
    row = row_of(pair, engine, regions, panel, [name for name, _ in objects])
    layers = [layers_file(row, pair, regions)] if asked.report else []
    try:
        for name, content in (*objects, *layers):
            write_whole(out / name, content)
        if drawn is not None and panel:
            write_picture(out / panel, drawn)
    except OSError as error:
        raise InputError(
            f"{out}: pictures and DICOM objects cannot be written ({error.strerror}); the pairs in the tables have"
            " all of theirs: free space or name another folder"
        ) from error
    return row


def _without_objects(pair: Scored, why: str) -> Failed:
    """A pair without the DICOM objects that were asked for has failed, so that nobody overlooks it."""
    reason = f"scored, but its DICOM result {why}"
    return Failed(pair.job, dict.fromkeys((pair.job.right.path, pair.job.left.path), reason))


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Threads: decoders, numpy and PNG compression let each other run. An interrupt does not wait for the queue."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="disasym")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
