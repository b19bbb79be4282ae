"""A disk that refuses: one sentence, nothing half, and the ledger whole."""

import errno
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from again import contents, scored
from disasym.errors import InputError
from disasym.files import write_whole
from disasym.infer.ledger import LEDGER
from exams import write_exam
from hot import HotEngine


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three women, one pair each."""
    for number in range(3):
        write_exam(tmp_path / "in", f"woman{number}", seed=number)
    return tmp_path / "in"


class Refusing:
    """In place of the ledger's connection: refuses one kind of statement from some call on."""

    def __init__(self, base: sqlite3.Connection, begins: str, after: int) -> None:
        self._base, self._begins, self._left = base, begins, after

    def execute(self, statement: str, *values: Any) -> Any:
        if statement.startswith(self._begins):
            if self._left == 0:
                raise sqlite3.OperationalError("database or disk is full")
            self._left -= 1
        return self._base.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)


def done_in(out: Path) -> set[bytes]:
    """The rows that the ledger holds."""
    base = sqlite3.connect(out / LEDGER)
    rows = {row.encode() for (row,) in base.execute("SELECT row FROM pairs WHERE state = 'done'")}
    base.close()
    return rows


@pytest.mark.parametrize("begins", ["UPDATE pairs SET state = ?", "INSERT OR REPLACE INTO pairs"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_row_that_the_ledger_could_not_keep_is_in_no_table_and_the_others_stay(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: str, after: int
) -> None:
    out, connect = tmp_path / "out", sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr("disasym.infer.ledger.sqlite3.connect", lambda *a, **k: Refusing(connect(*a, **k), begins, after))
        with pytest.raises(InputError, match=r"disk is full\); the pairs that are done stay done: free space"):
            scored(films, out)
    kept = done_in(out)
    seen = (out / "results.jsonl").read_bytes().splitlines()  # not those scored before the search for films ended
    assert set(seen) <= kept
    assert not (out / "results.csv").exists()
    summary = scored(films, out)
    assert (summary.already, summary.scored) == (len(kept), 3 - len(kept))
    if begins.startswith("UPDATE"):
        assert len(kept) == after
    scored(films, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_a_full_disk_for_pictures_and_tables_loses_nothing_that_was_done(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write = tmp_path / "out", ("scores", "panels")
    scored(films, tmp_path / "whole", HotEngine(), write=write)
    plain, room = write_whole, [1]

    def full(path: Path, content: Any) -> None:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room.pop()
        plain(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("disasym.infer.store.write_whole", full)
        with pytest.raises(InputError, match="No space left"):
            scored(films, out, HotEngine(), write=write, batch=1, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr("disasym.infer.results.write_whole", full)
        with pytest.raises(InputError, match="No space left"):
            scored(films, out, HotEngine(), write=write)
    assert scored(films, out, HotEngine(), write=write).already == 3
    assert contents(out) == contents(tmp_path / "whole")


def test_a_real_disk_that_is_full_is_one_sentence_and_the_ledger_stays_whole(films: Path, tmp_path: Path) -> None:
    """A file system of 300 kB, where this machine lets one be mounted."""
    out = tmp_path / "out"
    out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", out], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(InputError, match=r"free space"):
            scored(films, out, HotEngine(), write=("scores", "panels"))
        subprocess.run(["mount", "-o", "remount,size=8m", out], check=True)
        scored(films, out, HotEngine(), write=("scores", "panels"))
        scored(films, tmp_path / "whole", HotEngine(), write=("scores", "panels"))
        assert contents(out) == contents(tmp_path / "whole")
        before = contents(out)
        subprocess.run(["mount", "-o", "remount,ro", out], check=True)
        with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
            scored(films, out, HotEngine(), write=("scores", "panels"))
        assert contents(out) == before
    finally:
        subprocess.run(["umount", out], check=True)
