"""Killed at any moment and started again, the server has every film that it acknowledged, and every result once."""

import csv
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("pynetdicom", reason="pynetdicom is absent: pip install '.[listen]'")

from pydicom import dcmread

from archives import UNCLOSED, free_port, listening, process, receiving, send, until
from disasym.cli import main
from disasym.listen.book import Book
from disasym.listen.spool import Spool
from exams import rows_of, write_exam

pytestmark = [UNCLOSED, pytest.mark.slow]


def pairs(out: Path) -> dict[str, tuple[str, str]]:
    """The pairs of all examinations with two of their scores; a pair in two folders is a mistake."""
    found: dict[str, tuple[str, str]] = {}
    for folder in out.glob("exams/*/results.csv"):
        made = scores(folder.parent)
        assert not found.keys() & made.keys()
        found |= made
    return found


def scores(folder: Path) -> dict[str, tuple[str, str]]:
    return {row["pair_id"]: (row["p_abnormal_right"], row["p_asymmetry"]) for row in rows_of(folder)}


def done(out: Path) -> int:
    """Examinations that the record holds as analysed."""
    if not (out / "listen.sqlite").exists():
        return 0
    book = Book(out)
    try:
        return sum(bool(entry.analysed) for entry in book.entries())
    finally:
        book.close()


def test_a_kill_while_films_come_loses_none_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed after the 3rd and the 5th answer to a sender that goes on with what was not taken."""
    films = [film for number in range(4) for film in write_exam(tmp_path / "films", f"woman{number}", seed=number)]
    left, out = list(films), tmp_path / "out"
    for moment in (3, 2):
        with process(out) as (server, port):

            def kill(count: int, moment: int = moment, server: "subprocess.Popen[str]" = server) -> None:
                if count == moment:
                    server.send_signal(signal.SIGKILL)

            answers = send(port, left, after=kill)
            assert answers.count(0) >= moment
            left = [film for film, answer in zip(left, answers, strict=True) if answer != 0]
    kept = {str(dcmread(path).SOPInstanceUID) for path in (out / "spool").rglob("*.dcm")}
    assert {str(dcmread(film).SOPInstanceUID) for film in films if film not in left} <= kept
    with process(out) as (_, port):
        assert not list((out / "spool" / ".incoming").iterdir())
        assert send(port, left) == [0] * len(left)
        until(lambda: done(out) == 4)
    assert len(pairs(out)) == 4
    assert len(list((out / "spool").rglob("*.dcm"))) == len(films)


def test_a_kill_while_an_examination_is_analysed_doubles_and_loses_nothing(tmp_path: Path) -> None:
    """Killed as soon as it began, and when the first table was there; the results are those of `infer`."""
    films = [
        film
        for name in ("one", "two")
        for view in ("CC", "MLO")
        for film in write_exam(tmp_path / "films", name, view, seed=len(name + view))
    ]
    port = free_port()
    to = f"ARCHIVE@127.0.0.1:{port}"
    out = tmp_path / "out"
    with process(out, to) as (_, own):
        assert send(own, films) == [0] * 8
        until(lambda: list(out.glob("exams/*/.running")))
    with process(out, to):
        until(lambda: list(out.glob("exams/*/dicom/*.dcm")))
    with receiving(port) as archive, process(out, to):
        until(lambda: done(out) == 2)
        until(lambda: len(archive.taken) == len(list(out.glob("exams/*/dicom/*.dcm"))))
    arguments = ["infer", str(tmp_path / "films"), "--out", str(tmp_path / "alone"), "--threads", "1", "-q"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert pairs(out) == scores(tmp_path / "alone")
    assert len(pairs(out)) == 4
    assert all(len(times) == 1 for times in archive.taken.values())


def test_an_examination_that_ends_the_program_again_and_again_is_left_alone(tmp_path: Path) -> None:
    """It must not keep the others from their turn."""
    out = tmp_path / "out"
    with listening(out) as running:
        send(running.port, write_exam(tmp_path / "films", "one"))
        until(lambda: done(out) == 1)
    book = Book(out)
    (entry,) = book.entries()
    state = Spool(out / "spool", out / "exams").state(entry.exam)
    for _ in range(3):  # as if it had been killed in the middle each time
        book.begin(entry.exam, state)
    book.close()
    with listening(out) as running:
        until(lambda: done(out) == 1)
        send(running.port, write_exam(tmp_path / "films", "two"))
        until(lambda: done(out) == 2)
    book = Book(out)
    assert "ended 3 times while it was analysed" in book.entries()[0].problem
    assert book.entries()[1].problem == ""
    book.close()


def test_a_signal_ends_it_after_the_examination_in_work(tmp_path: Path) -> None:
    port = free_port()
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from disasym.cli import main; main()", "listen", "--out", str(out)]
    options = ["--port", str(port), "--timeout", "1", "--threads", "1", "--allow", "PACS"]
    server = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        assert "DISASYM listens on 127.0.0.1" in server.stderr.readline()
        assert send(port, write_exam(tmp_path / "films", "woman")) == [0, 0]
        until(lambda: list(out.glob("exams/*/.running")))
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0
    assert "1 pairs scored" in said
    assert said.rstrip().endswith("stopped")
    with (out / "index.csv").open(newline="") as file:
        assert [row["pairs"] for row in csv.DictReader(file)] == ["1"]
