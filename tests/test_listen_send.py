"""Results reach their receiver once it is there, each once, whatever became of it or of the server before."""

import logging
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is absent: pip install '.[listen]'")

from pydicom import dcmread

import disasym.listen.send as send_module
from archives import UNCLOSED, free_port, listening, receiving, send, until
from disasym.errors import InputError
from disasym.listen.book import BOOK, Book, Outcome, Result
from disasym.listen.send import Destination, backoff
from exams import write_exam

pytestmark = UNCLOSED


def waiting(out: Path) -> list[str]:
    """The objects that were not sent yet."""
    with sqlite3.connect(out / BOOK) as base:
        found = [str(row[0]) for row in base.execute("SELECT path FROM objects WHERE sent IS NULL")]
    base.close()
    return found


def written(out: Path) -> set[str]:
    return {str(dcmread(path).SOPInstanceUID) for path in out.glob("exams/*/dicom/*.dcm")}


def test_a_receiver_that_is_down_or_full_gets_its_results_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(send_module, "FIRST_WAIT", 0.2)
    caplog.set_level(logging.INFO)
    port = free_port()
    to = f"ARCHIVE@127.0.0.1:{port}"
    with listening(tmp_path / "out", send_to=(to,), write=("sr", "capture")) as server:
        send(server.port, write_exam(tmp_path / "films", "woman"))
        until(lambda: "cannot be reached" in caplog.text)
        assert len(waiting(server.out)) == 2
        with receiving(port) as archive:
            archive.status = 0xA700
            until(lambda: "does not take instance" in caplog.text)
            assert len(waiting(server.out)) == 2
            archive.status = 0
            until(lambda: not waiting(server.out))
            assert set(archive.taken) == written(server.out)
            assert [len(times) for times in archive.taken.values()] == [1, 1]
    assert f"results sent to {to}" in caplog.text
    films = [dcmread(path) for path in (tmp_path / "films").iterdir()]
    for path in (tmp_path / "out").glob("exams/*/dicom/*.dcm"):
        made = dcmread(path)
        assert made.StudyInstanceUID == films[0].StudyInstanceUID
        assert path.read_bytes().endswith(archive.taken[made.SOPInstanceUID][0][-1000:]), "bytes as written"


def test_what_was_not_sent_is_sent_after_a_start_and_what_was_is_not_sent_again(tmp_path: Path) -> None:
    port = free_port()
    to = f"ARCHIVE@127.0.0.1:{port}"
    with listening(tmp_path / "out", send_to=(to,)) as server:
        send(server.port, write_exam(tmp_path / "films", "one"))
        until(lambda: waiting(server.out))
    with receiving(port) as archive:
        with listening(tmp_path / "out", send_to=(to,)):
            until(lambda: not waiting(tmp_path / "out"))
        first = dict(archive.taken)
        assert set(first) == written(tmp_path / "out")
        with listening(tmp_path / "out", send_to=(to,)) as server:
            send(server.port, write_exam(tmp_path / "films", "two"))
            until(lambda: len(archive.taken) > len(first))
            until(lambda: not waiting(tmp_path / "out"))
        assert all(len(times) == 1 for times in archive.taken.values())


def test_one_receiver_that_is_down_holds_up_no_other(tmp_path: Path) -> None:
    with receiving() as archive:
        down, up = f"DOWN@127.0.0.1:{free_port()}", f"ARCHIVE@127.0.0.1:{archive.port}"
        with listening(tmp_path / "out", send_to=(down, up)) as server:
            send(server.port, write_exam(tmp_path / "films", "woman"))
            until(lambda: archive.taken)
            until(lambda: len(waiting(server.out)) == len(archive.taken))


def test_what_a_second_analysis_did_not_make_is_not_sent_any_more(tmp_path: Path) -> None:
    """A film that came late made the pair ambiguous: its report must not go out."""
    book = Book(tmp_path)
    outcome = Outcome("1.2", "", 2, 1, 0, 0.5, 0.5)
    sent, left = (Result(f"exams/e/dicom/{name}.dcm", "A@b:1", "e", "1.2", "1.3", "1.4") for name in "xy")
    book.begin("e", "two films")
    book.finish("e", outcome, [sent, left])
    book.sent(sent, "0x0000")
    assert book.due("A@b:1") == [left]
    book.begin("e", "three films")
    book.finish("e", outcome, [])
    assert book.due("A@b:1") == []
    book.begin("e", "four films")
    book.finish("e", outcome, [sent, left])
    assert book.due("A@b:1") == [left], "what was sent is not sent again"
    other = replace(sent, sop_uid="1.3.9")
    book.finish("e", outcome, [other, left])
    assert book.due("A@b:1") == [left, other], "what another model made under the same name is another object"
    book.finish("e", outcome, [left])
    book.refused(left, "0xA700", 1000)
    assert book.due("A@b:1") == []
    assert (book.tries(left), book.unsent("e")) == (1, 1)
    book.close()
    book = Book(tmp_path)
    assert book.due("A@b:1") == [left], "a start asks at once"
    book.close()


def test_a_damaged_record_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / BOOK).write_bytes(b"no database, but longer than a header of one would be" * 20)
    with pytest.raises(InputError, match=r"listen\.sqlite cannot be opened"):
        Book(tmp_path)


def test_a_receiver_is_read_from_its_name() -> None:
    assert Destination.read("ORTHANC@10.0.0.5:4242") == Destination("ORTHANC", "10.0.0.5", 4242)
    assert Destination.read("MY PACS@[::1]:104") == Destination("MY PACS", "::1", 104)
    assert str(Destination.read("MY PACS@[::1]:104")) == "MY PACS@[::1]:104"
    for text in (
        "ORTHANC",
        "@host:1",
        "A@host",
        "A@host:0",
        "A@host:70000",
        "A@b@host:1",
        "A@::1:104",
        "SEVENTEEN_LETTERS@h:1",
    ):
        with pytest.raises(InputError):
            Destination.read(text)


def test_waits_double_up_to_ten_minutes() -> None:
    assert [backoff(failures) for failures in (1, 2, 3, 7, 8, 9, 10_000)] == [5, 10, 20, 320, 600, 600, 600]
