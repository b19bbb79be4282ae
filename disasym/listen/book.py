"""What was analysed and what was sent, in OUT/listen.sqlite: on the disk before it is relied on."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from disasym.errors import InputError

BOOK = "listen.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS exams (
  exam TEXT PRIMARY KEY,
  state TEXT NOT NULL,      -- of the films, see Spool.state
  crashes INTEGER NOT NULL, -- how often the program began with this state and did not come to an end
  analysed TEXT,            -- when; NULL: not yet, or not since other films came
  study_uids TEXT, patient_id_hash TEXT, films INTEGER, pairs INTEGER, failed INTEGER,
  p_abnormal REAL, p_asymmetry REAL,
  problem TEXT NOT NULL DEFAULT '',
  removed TEXT              -- when the films were removed; NULL: they were not
);
CREATE TABLE IF NOT EXISTS objects (
  path TEXT NOT NULL,        -- relative to OUT
  destination TEXT NOT NULL, -- as AE@host:port
  exam TEXT NOT NULL,
  sop_class TEXT NOT NULL, sop_uid TEXT NOT NULL, syntax TEXT NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  next_try REAL NOT NULL DEFAULT 0,  -- seconds since 1970
  answer TEXT NOT NULL DEFAULT '',   -- the receiver's last one, or why there was none
  sent TEXT,                         -- when; NULL: not yet
  PRIMARY KEY (path, destination, sop_uid)  -- another model makes another object of the same name
);
CREATE INDEX IF NOT EXISTS unsent ON objects (destination, next_try) WHERE sent IS NULL;
"""
_FINISHED = """
UPDATE exams SET crashes = 0, problem = '', analysed = ?, study_uids = ?, patient_id_hash = ?, films = ?, pairs = ?,
  failed = ?, p_abnormal = ?, p_asymmetry = ? WHERE exam = ?
"""
_LEFT = "SELECT path, destination, sop_uid FROM objects WHERE exam = ? AND sent IS NULL"
_THIS = "path = ? AND destination = ? AND sop_uid = ?"
_TO_SEND = """
INSERT OR IGNORE INTO objects (path, destination, exam, sop_class, sop_uid, syntax) VALUES (?, ?, ?, ?, ?, ?)
"""
_DUE = """
SELECT path, destination, exam, sop_class, sop_uid, syntax FROM objects
  WHERE destination = ? AND sent IS NULL AND next_try <= ? ORDER BY rowid LIMIT ?
"""
_ENTRIES = """
SELECT exams.exam, coalesce(study_uids, ''), coalesce(patient_id_hash, ''), coalesce(analysed, ''), films, pairs,
  failed, p_abnormal, p_asymmetry, count(objects.path), count(objects.sent), problem
  FROM exams LEFT JOIN objects ON objects.exam = exams.exam GROUP BY exams.exam ORDER BY exams.rowid
"""


@dataclass(frozen=True)
class Outcome:
    """What came of one analysis of an examination."""

    study_uids: str  # separated by blanks
    patient_id_hash: str
    films: int
    pairs: int
    failed: int  # files
    p_abnormal: float | None  # the largest of exams.csv; None: no pair has a result
    p_asymmetry: float | None


@dataclass(frozen=True)
class Result:
    """One DICOM object for one receiver."""

    path: str
    destination: str
    exam: str
    sop_class: str
    sop_uid: str
    syntax: str


@dataclass(frozen=True)
class Entry:
    """One examination; the fields are the columns of index.csv, in this order."""

    exam: str  # its folder in exams/
    study_uids: str
    patient_id_hash: str
    analysed: str
    films: int | None
    pairs: int | None
    failed: int | None
    p_abnormal: float | None
    p_asymmetry: float | None
    to_send: int  # DICOM objects, counted once a receiver
    sent: int
    problem: str


class Book:
    """The record of one folder of results. Any thread may use it; sqlite3.Error where the disk refuses."""

    def __init__(self, out: Path) -> None:
        """Open it in `out`, or begin one.

        Raises:
            InputError: it cannot be opened, or is damaged.
        """
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(out / BOOK, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(_TABLES)
            self._base.execute("UPDATE objects SET next_try = 0 WHERE sent IS NULL")  # whoever starts anew wants it now
        except sqlite3.Error as error:
            raise InputError(f"{out / BOOK} cannot be opened ({error}): name another folder for --out") from error

    def close(self) -> None:
        with self._lock:
            self._base.close()

    def analysed(self, exam: str) -> str | None:
        """The state of the films that was analysed to the end; None: none was."""
        found = self._read("SELECT state FROM exams WHERE exam = ? AND analysed IS NOT NULL", exam)
        return str(found[0][0]) if found else None

    def begin(self, exam: str, state: str) -> int:
        """Note that an analysis begins; how often one of the same films began before and did not come to an end."""
        with self._writing() as base:
            base.execute(
                "INSERT INTO exams (exam, state, crashes) VALUES (?, ?, 1) ON CONFLICT (exam) DO UPDATE SET"
                " crashes = iif(state = excluded.state, crashes + 1, 1), state = excluded.state, analysed = NULL",
                (exam, state),
            )
        return int(self._read("SELECT crashes FROM exams WHERE exam = ?", exam)[0][0]) - 1

    def put_off(self, exam: str, problem: str) -> None:
        """The analysis came to an end without results, and will be tried again."""
        with self._writing() as base:
            base.execute("UPDATE exams SET crashes = 0, problem = ? WHERE exam = ?", (problem, exam))

    def give_up(self, exam: str, problem: str) -> None:
        """The films are not tried again until others come."""
        with self._writing() as base:
            base.execute("UPDATE exams SET analysed = ?, problem = ? WHERE exam = ?", (now(), problem, exam))

    def finish(self, exam: str, outcome: Outcome, results: Sequence[Result]) -> None:
        """Note results and what is to be sent, together. What was sent before is not sent again.

        What an earlier analysis of these films left to send, and this one did not make, is not sent any more.
        """
        made = {_key(result) for result in results}
        with self._writing() as base:
            base.execute(_FINISHED, (now(), *astuple(outcome), exam))
            for key in base.execute(_LEFT, (exam,)).fetchall():
                if key not in made:
                    base.execute(f"DELETE FROM objects WHERE {_THIS}", key)  # noqa: S608 - a constant
            base.executemany(_TO_SEND, [astuple(result) for result in results])

    def due(self, destination: str, most: int = 50) -> list[Result]:
        """What is to be sent to `destination` now, the oldest first."""
        return [Result(*row) for row in self._read(_DUE, destination, time.time(), most)]

    def sent(self, result: Result, answer: str) -> None:
        """The receiver has it."""
        self._offered(result, answer, now(), 0.0)

    def refused(self, result: Result, answer: str, wait: float) -> None:
        """The receiver does not take it; it is offered again after `wait` seconds."""
        self._offered(result, answer, None, time.time() + wait)

    def tries(self, result: Result) -> int:
        """How often it was offered."""
        found = self._read(f"SELECT tries FROM objects WHERE {_THIS}", *_key(result))  # noqa: S608 - a constant
        return int(found[0][0]) if found else 0

    def unsent(self, exam: str) -> int:
        """Objects of an examination that a receiver has not got yet."""
        return int(self._read("SELECT count(*) FROM objects WHERE exam = ? AND sent IS NULL", exam)[0][0])

    def finished_before(self, moment: datetime) -> list[str]:
        """The examinations with films that were analysed before `moment`, and whose objects were all sent."""
        found = self._read(
            "SELECT exam FROM exams WHERE removed IS NULL AND analysed < ? AND problem = ''"
            " AND NOT EXISTS (SELECT 1 FROM objects WHERE objects.exam = exams.exam AND sent IS NULL)",
            moment.isoformat("T", "seconds"),
        )
        return [str(row[0]) for row in found]

    def removed(self, exam: str) -> None:
        """Its films are not there any more."""
        with self._writing() as base:
            base.execute("UPDATE exams SET removed = ? WHERE exam = ?", (now(), exam))

    def entries(self) -> list[Entry]:
        """Every examination that was analysed or tried, in the order in which they were first."""
        return [Entry(*row) for row in self._read(_ENTRIES)]

    def _offered(self, result: Result, answer: str, sent: str | None, next_try: float) -> None:
        with self._writing() as base:
            base.execute(
                f"UPDATE objects SET tries = tries + 1, answer = ?, sent = ?, next_try = ? WHERE {_THIS}",  # noqa: S608
                (answer, sent, next_try, *_key(result)),
            )

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._base.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")


def _key(result: Result) -> tuple[str, str, str]:
    return result.path, result.destination, result.sop_uid


def now() -> str:
    """The time in UTC, to a second."""
    return datetime.now(UTC).isoformat("T", "seconds")
