"""Pairs that look complete while a folder is still being searched, so that the engine does not wait for its last file.

A guess is only that: which images are a pair is known when all were seen, for one more may make a group ambiguous, be
a copy, or be preferred. So a guess is scored into the ledger and marked there (`Ledger.begin`), and no table is made of
it. When the search is over, the real pairs are planned as ever: of a real pair that equals a guess, to the files, the
result is there already; whatever else was guessed is removed (`Store.plan`). What is missed here costs time, never a
result.
"""

import queue
from collections.abc import Hashable, Iterator
from concurrent.futures import Future
from pathlib import Path

from disasym.dicom import DicomPair, Header, PairedBy
from disasym.infer.jobs import Job, Work, job_of

HELD = 8  # batches of guesses that wait; more are not kept, as they will be found again
LOOK = 0.05  # seconds between two looks whether the search is over


class Stopped(Exception):  # noqa: N818 - no error: the run that wanted the search is over
    """The search is not needed any more."""


class Guesses:
    """Made of headers by the thread that searches, taken by the one that scores."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._waiting: queue.Queue[Job] = queue.Queue(HELD * batch)
        self._halves: dict[Hashable, Header] = {}  # one breast each
        self._stopped = False

    def file(self, _: Path) -> None:
        """Called before each file is looked at.

        Raises:
            Stopped: after `stop`.
        """
        if self._stopped:
            raise Stopped

    def header(self, header: Header) -> None:
        """Called with each usable mammogram as it is found."""
        if header.kind != "standard":
            return
        rule: PairedBy = "cbis-ddsm-stem" if header.patient.stem else "study"
        study = "" if header.patient.stem else header.study_uid
        key = (study, header.patient.identity, header.view)
        other = self._halves.pop(key, None)
        if other is None or other.laterality == header.laterality:
            self._halves[key] = header
            return
        right, left = (header, other) if header.laterality == "R" else (other, header)
        try:
            self._waiting.put_nowait(job_of(DicomPair(right, left, header.view, rule)))
        except queue.Full:
            return

    def until(self, searched: Future[Work]) -> Iterator[Job | None]:
        """Guesses, whole batches of them, until the search is over; None where there is none at hand yet."""
        batch: list[Job] = []
        while not searched.done():
            try:
                batch.append(self._waiting.get(timeout=LOOK))
            except queue.Empty:
                yield None
                continue
            if len(batch) == self._batch:
                yield from batch
                batch = []

    def stop(self) -> None:
        """End the search at its next file."""
        self._stopped = True
