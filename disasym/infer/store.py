"""The folder of results: the ledger, what stands beside it, and the tables that are made from it.

Results may come in any order and from anywhere; the tables do not depend on it. Who scores pairs by other means than
`run.py`, such as a listener or a cluster, does this:

    with only_run(out), Store(out, settings_of(engine, asked)) as store:
        work = find_work(source, out)                 # or `find_films` of the files that have come
        for job in store.plan(work.jobs):             # those that are not done
            store.begin(job)
            pair = load_pair(job, height, width)      # pure, of a Job that can be pickled: here or on another machine
            ...                                       # Scorer.score, of several pairs at a time: on the device
            store.keep(finish(pair, engine, asked))   # one thread: files, then the ledger, then results.jsonl
        store.write_tables(work)                      # whenever the tables shall be up to date

A pair that was begun and never kept is as if it had not been begun.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from disasym import __version__
from disasym.dicom import Fate
from disasym.engines import Engine
from disasym.errors import InputError
from disasym.files import write_whole
from disasym.infer.exams import Exam, exams_of
from disasym.infer.fates import final_fates
from disasym.infer.finish import Finished
from disasym.infer.jobs import Job, Work
from disasym.infer.ledger import Ledger, pairs_of, remove_ledger
from disasym.infer.report import remove_report
from disasym.infer.report.layers import FOLDER as LAYERS
from disasym.infer.report.layers import layers_name
from disasym.infer.results import (
    BOXES,
    CSV,
    EXAMS,
    FILES,
    IMAGES,
    JSONL,
    OBJECTS,
    LiveRows,
    panel_name,
    read_rows,
    write_boxes,
    write_fates,
    write_rows,
    write_table,
)
from disasym.infer.stages import Failed
from disasym.infer.wanted import WRITABLE, Wanted
from disasym.preprocess import PREPROCESSING

TABLES = (JSONL, CSV, FILES, BOXES, EXAMS)


def settings_of(engine: Engine, asked: Wanted) -> dict[str, str]:
    """All that every row of a folder depends on: rows of other settings are not mixed with them."""
    info = engine.info
    return {
        "version": __version__,
        "preprocessing": PREPROCESSING,
        "model": info.model_sha256,
        "engine": engine.name,
        "precision": info.precision,
        "device": info.device,
        "outputs": ",".join(info.outputs),  # one model may be exported without heat maps
        "write": ",".join(name for name in WRITABLE if name in asked.names),
    }


@dataclass(frozen=True)
class Tables:
    """What was written, as far as more is made of it."""

    exams: list[Exam]
    fates: tuple[Fate, ...]


class Store:
    """The folder of results of one run, which has it for itself (`only_run`); a context manager."""

    def __init__(self, out: Path, settings: Mapping[str, str], fresh: bool = False) -> None:
        """Open `out`, and remove what a killed run left half done.

        Args:
            settings: see `settings_of`.
            fresh: forget all that was done in this folder, and remove its pictures and objects.

        Raises:
            InputError: the folder cannot be written, or holds results of other `settings`.
        """
        self.out = out
        self.confirmed = 0  # pairs that this run had scored before they were planned
        with self._written():
            if fresh:
                self._remove_files(pairs_of(out))
                remove_ledger(out)
            out.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(out, settings)
        try:
            self._remove_unfinished()
            with self._written():
                remove_report(out)  # it speaks of another state than the tables will
                for name in (*TABLES, "report*.html"):
                    _remove_temporaries(out, name)
            self._live = LiveRows(out)
        except BaseException:
            self.ledger.close()
            raise

    def plan(self, jobs: Iterable[Job]) -> list[Job]:
        """The pairs that are to be scored: those not done, failed before, or changed since. The others are kept.

        What was made of a pair that has changed is removed first, so that nothing of it outlasts its new result.
        """
        waiting, before = [], []
        for job in jobs:
            row = self.ledger.find(job)
            if row is not None:
                self.confirmed += self.ledger.confirm(job)
                self._live.append(row)
                continue
            waiting.append(job)
            if self.ledger.knows(job):
                before.append(job)
        self.ledger.reopen(before)
        self.ledger.reopen_guesses()
        self._remove_unfinished()
        return waiting

    def guesses(self, jobs: Iterable[Job | None]) -> Iterator[Job | None]:
        """Begin those that may be pairs and of which nothing is known, before it is known which pairs there are."""
        for job in jobs:
            if job is None:
                yield None
            elif not self.ledger.knows(job):
                self.ledger.begin(job, guess=True)
                yield job

    def begin(self, job: Job) -> None:
        """Before the films of a pair are read."""
        self.ledger.begin(job)

    def write(self, end: Finished | Failed) -> Finished | Failed:
        """Write the files of a pair that was begun, each whole; in any thread. What is left to `keep`.

        Raises:
            InputError: the disk refuses.
        """
        if isinstance(end, Failed):
            return end
        with self._written():
            for name, content in end.files:
                write_whole(self.out / name, content)
        return Finished(end.job, end.row, ())

    def keep(self, end: Finished | Failed) -> None:
        """`keep_guess` of a real pair; then its row can be seen."""
        self.keep_guess(end)
        if isinstance(end, Finished):
            self._live.append(end.row.line())

    def keep_guess(self, end: Finished | Failed) -> None:
        """Write the files of a pair that are not written yet, and enter it in the ledger.

        Raises:
            InputError: the disk refuses; the pair is not done then, and nothing of it is in a table.
        """
        end = self.write(end)
        self.ledger.keep(end.job, end if isinstance(end, Failed) else end.row)

    def write_tables(self, work: Work) -> Tables:
        """Write all tables of the pairs of `work`, in their order.

        Whatever else is in the ledger, of films that are gone, stays there and is in no table.

        Raises:
            InputError: the disk refuses, or a pair has no end yet.
        """
        write_rows(self.out, (end for _, end in self._ends(work.jobs) if isinstance(end, str)))
        write_boxes(self.out, read_rows(self.out))
        failed = {job.pair_id: end for job, end in self._ends(work.jobs) if isinstance(end, Failed)}
        exams = exams_of(read_rows(self.out), [end.job for end in failed.values()])
        write_table(self.out / EXAMS, Exam, exams)
        fates = final_fates(work, failed)
        write_fates(self.out, fates)
        return Tables(exams, fates)

    def _ends(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, str | Failed]]:
        for job in jobs:
            end = self.ledger.end_of(job)
            if end is None:
                raise InputError(f"{self.out}: pair {job.pair_id} was not scored, so no table is written: run it again")
            yield job, end

    def close(self) -> None:
        self._live.close()
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _remove_unfinished(self) -> None:
        """Whatever was written of pairs that have no end. The entry goes last: a kill in between repeats this."""
        if pairs := self.ledger.unfinished():
            with self._written():
                self._remove_files(pairs)
            self.ledger.forget_unfinished()

    def _remove_files(self, pairs: Sequence[str]) -> None:
        """What was written of these pairs, whole or half. No other file of the folder is touched."""
        names = {Path(name(pair_id)).name for pair_id in pairs for name in (panel_name, layers_name)}
        known = set(pairs)
        for folder in (IMAGES, LAYERS):
            for file in _files(self.out / folder):
                if file.name in names or (file.name[0] == "." and file.name[1:].rpartition(".")[0] in names):
                    file.unlink()
        for file in _files(self.out / OBJECTS):
            if file.name.removeprefix(".").partition("-")[0] in known:
                file.unlink()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.out}: pictures and DICOM objects cannot be written ({error.strerror}); the pairs that are done"
                " stay done and have all of theirs: free space and give the same command again"
            ) from error


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _remove_temporaries(folder: Path, name: str) -> None:
    for file in folder.glob(f".{name}.*"):
        file.unlink()
