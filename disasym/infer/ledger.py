"""What a run has done so far, in `ledger.sqlite`: the source of truth from which every table is made (ADR 0023).

One entry a pair, and what it was made from. Each change is one transaction of SQLite in WAL mode, so a kill at any
moment leaves all entries that were kept, whole. An entry is

- `begun`: somebody is at it. What a killed run leaves in this state never happened.
- `done`: with its row, as the line of results.jsonl.
- `failed`: with the reasons, one for each breast at fault. The next run tries it again.

Nothing in it names a woman: a row holds what the tables hold.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from disasym.errors import InputError
from disasym.infer.jobs import Job, inputs_of
from disasym.infer.results import Row
from disasym.infer.stages import Failed

LEDGER = "ledger.sqlite"
FILES = (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", f"{LEDGER}-journal")
FORMAT = 2  # PRAGMA user_version
SIDES: tuple[Literal["right", "left"], ...] = ("right", "left")

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pairs (
  pair_id TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('begun', 'done', 'failed')),
  inputs TEXT NOT NULL,  -- digest of everything the row depends on but the settings: `jobs.inputs_of`
  begun TEXT NOT NULL,   -- UTC
  ended TEXT,
  row TEXT,              -- JSON: a line of results.jsonl
  problems TEXT,         -- JSON: {"right": reason, "left": reason}
  guessed INTEGER        -- the run that scored it before it was known to be a pair; NULL: it is one (`guess.py`)
);
CREATE INDEX IF NOT EXISTS by_state ON pairs (state);
CREATE TABLE IF NOT EXISTS runs (
  number INTEGER PRIMARY KEY,
  begun TEXT NOT NULL,   -- UTC
  ended TEXT,            -- NULL: it was killed, or failed
  scored INTEGER, already INTEGER, failed INTEGER,  -- pairs
  batch INTEGER, notes TEXT
);
"""


class OtherSettingsError(InputError):
    """The results in the folder were made with other settings than this run has."""


_CONFIRM = "UPDATE pairs SET guessed = NULL WHERE pair_id = ?"


@dataclass(frozen=True)
class Counts:
    """What one run did, for the table `runs`."""

    scored: int
    already: int
    failed: int
    batch: int
    notes: tuple[str, ...] = ()


class Ledger:
    """The ledger of one folder of results; a context manager; calls from several threads take turns.

    Whoever opens it has the folder for itself (`lock.py`).
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        """Open the ledger of `folder`, or begin one.

        Args:
            settings: all that a row depends on besides its films, such as the model.

        Raises:
            OtherSettingsError: it was made with other settings.
            InputError: it is of another format, is damaged, or cannot be written.
        """
        self._path = folder / LEDGER
        self._lock = threading.Lock()
        self._run = 0  # its number in `runs`
        with self._said():
            self._base = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            with self._said():
                self._prepare(settings)
        except BaseException:
            self._base.close()
            raise

    def _prepare(self, settings: Mapping[str, str]) -> None:
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")  # a kill loses nothing; a power cut the last entries
        (found,) = self._base.execute("PRAGMA user_version").fetchone()
        if found not in (0, FORMAT):
            raise InputError(
                f"{self._path} has format {found}, this version of disasym reads {FORMAT}: name another folder, or"
                " begin anew with --fresh"
            )
        self._base.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        before = dict(self._base.execute("SELECT name, value FROM settings").fetchall())
        if not before:
            self._base.execute("BEGIN")
            self._base.executemany("INSERT INTO settings VALUES (?, ?)", settings.items())
            self._base.execute("COMMIT")
        elif before != settings:
            raise OtherSettingsError(_differ(self._path.parent, before, settings))

    def find(self, job: Job) -> str | None:
        """The row of a pair, as JSON, if it is done and neither its films nor what they say have changed since."""
        entry = self._ask("SELECT state, inputs, row FROM pairs WHERE pair_id = ?", (_text(job.pair_id),))
        if entry is None or entry[0] != "done" or entry[1] != inputs_of(job):
            return None
        return str(entry[2])

    def confirm(self, job: Job) -> bool:
        """Say that this is a pair; whether the present run has guessed it."""
        own = self._do(f"{_CONFIRM} AND guessed = ?", (_text(job.pair_id), self._run))
        self._do(_CONFIRM, (_text(job.pair_id),))  # that of a run that was killed
        return bool(own)

    def reopen_guesses(self) -> None:
        """Set what was guessed and never confirmed back to begun."""
        self._do("UPDATE pairs SET state = 'begun', row = NULL, problems = NULL WHERE guessed IS NOT NULL")

    def knows(self, job: Job) -> bool:
        """Whether there is any entry of this pair."""
        return self._ask("SELECT 1 FROM pairs WHERE pair_id = ?", (_text(job.pair_id),)) is not None

    def end_of(self, job: Job) -> str | Failed | None:
        """How a pair ended: its row as JSON, or why it has none; None: it has not."""
        entry = self._ask("SELECT row, problems FROM pairs WHERE pair_id = ?", (_text(job.pair_id),))
        if entry is None or entry == (None, None):
            return None
        if entry[0] is not None:
            return str(entry[0])
        reasons = json.loads(entry[1])
        return Failed(job, {getattr(job, side).path: reasons[side] for side in SIDES if side in reasons})

    def begin(self, job: Job, guess: bool = False) -> None:
        """Say that somebody is at this pair, before its films are read and before anything of it is written.

        `guess`: it may turn out to be none; what is not confirmed counts as never begun.
        """
        self._do(
            "INSERT OR REPLACE INTO pairs (pair_id, state, inputs, begun, guessed) VALUES (?, 'begun', ?, ?, ?)",
            (_text(job.pair_id), inputs_of(job), _now(), self._run if guess else None),
        )

    def keep(self, job: Job, end: Row | Failed) -> None:
        """Keep how a pair that was begun ended.

        Raises:
            InputError: the disk refuses; the entry stays begun, and all others stay as they are.
        """
        row, problems = (None, _reasons(end)) if isinstance(end, Failed) else (end.line(), None)
        changed = self._do(
            "UPDATE pairs SET state = ?, row = ?, problems = ?, ended = ? WHERE pair_id = ? AND state = 'begun'",
            ("done" if row else "failed", row, problems, _now(), _text(job.pair_id)),
        )
        if changed != 1:
            raise ValueError(f"pair {job.pair_id} was kept twice, or was never begun")

    def reopen(self, jobs: Iterable[Job]) -> None:
        """Set pairs back to begun, so that `unfinished` lists them."""
        for job in jobs:
            self._do(
                "UPDATE pairs SET state = 'begun', row = NULL, problems = NULL WHERE pair_id = ?", (_text(job.pair_id),)
            )

    def unfinished(self) -> list[str]:
        """The pair_ids that are begun and not ended."""
        return [pair_id for (pair_id,) in self._all("SELECT pair_id FROM pairs WHERE state = 'begun'")]

    def forget_unfinished(self) -> None:
        """Drop them, when nothing that was written for them is left."""
        self._do("DELETE FROM pairs WHERE state = 'begun'")

    def count(self) -> int:
        """Pairs with an entry."""
        entry = self._ask("SELECT count(*) FROM pairs")
        return 0 if entry is None else int(entry[0])

    @contextmanager
    def run(self) -> Iterator[list[Counts]]:
        """A line of `runs` for what happens inside; put its counts into the list when it is over."""
        counts: list[Counts] = []
        self._do("INSERT INTO runs (begun) VALUES (?)", (_now(),))
        (self._run,) = self._ask("SELECT max(number) FROM runs") or (0,)
        yield counts
        for done in counts:
            values = (done.scored, done.already, done.failed, done.batch, "; ".join(done.notes))
            self._do(
                "UPDATE runs SET ended = ?, scored = ?, already = ?, failed = ?, batch = ?, notes = ? WHERE number = ?",
                (_now(), *values, self._run),
            )

    def close(self) -> None:
        with self._lock, suppress(sqlite3.Error):  # a full disk: what is in the WAL file stays there
            self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        with self._lock, self._said():
            return self._base.execute(statement, values).rowcount

    def _ask(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        with self._lock, self._said():
            found: tuple[Any, ...] | None = self._base.execute(statement, values).fetchone()
            return found

    def _all(self, statement: str) -> list[tuple[Any, ...]]:
        with self._lock, self._said():
            return self._base.execute(statement).fetchall()

    @contextmanager
    def _said(self) -> Iterator[None]:
        """SQLite's errors as one sentence each."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise InputError(
                f"{self._path} cannot be used ({error}); the pairs that are done stay done: free space or mend the"
                " folder, and give the same command again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self._path} is damaged ({error}): name another folder, or begin anew with --fresh"
            ) from error


def remove_ledger(folder: Path) -> None:
    """Remove the ledger of a folder, whatever state it is in. OSError when that cannot be done."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def pairs_of(folder: Path) -> list[str]:
    """The pair_ids of a ledger with whatever settings; none if there is no ledger or it cannot be read."""
    path = folder / LEDGER
    if not path.exists():
        return []
    with suppress(sqlite3.Error):
        base = sqlite3.connect(path)
        try:
            return [pair_id for (pair_id,) in base.execute("SELECT pair_id FROM pairs")]
        finally:
            base.close()
    return []


def _differ(folder: Path, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    told = ", ".join(f"{name} {_short(before.get(name))} (now {_short(now.get(name))})" for name in names)
    return (
        f"{folder} holds results of other settings: {told}; one table never mixes them: name another folder, or score"
        " everything again with --fresh"
    )


def _short(value: str | None) -> str:
    return "none" if not value else value[:12] if len(value) == 64 else value


def _reasons(failed: Failed) -> str:
    paths = {side: getattr(failed.job, side).path for side in SIDES}
    return json.dumps({side: _text(failed.problems[path]) for side, path in paths.items() if path in failed.problems})


def _text(value: str) -> str:
    """What SQLite takes: a file name that is no text has lone surrogates."""
    return value.encode("utf-8", "backslashreplace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat("T", "milliseconds")
