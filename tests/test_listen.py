"""The server takes films from a network full of mistakes: refusals, doubles, damaged files, full disks, silence."""

import csv
import errno
import logging
import os
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("pynetdicom", reason="pynetdicom is absent: pip install '.[listen]'")

from pydicom import dcmread

import disasym.listen.analyse as analyse_module
import disasym.listen.receive as receive_module
import disasym.listen.run as run_module
from archives import UNCLOSED, echo, free_port, listening, send, until
from dicom_files import LOSSLESS, LOSSY, breast, write_ct, write_mammogram
from disasym.cli import main
from disasym.dicom import read_pixels
from disasym.errors import InputError
from disasym.infer.run import infer_with
from exams import files_of, rows_of, write_exam

pytestmark = UNCLOSED
EIGHT = (LOSSY[0],)  # JPEG baseline has 8 bits


def index(out: Path) -> list[dict[str, str]]:
    with (out / "index.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def folders(out: Path) -> list[Path]:
    """The folders of results that are whole."""
    return sorted(path.parent for path in out.glob("exams/*/files.csv"))


def fates(folder: Path) -> dict[str, tuple[str, str]]:
    """What became of each file; {} while the folder is written anew."""
    return files_of(folder) if (folder / "files.csv").exists() else {}


def test_only_those_who_are_known_and_ask_for_us_are_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    films = write_exam(tmp_path / "films", "woman")
    with listening(tmp_path / "out", allow=("PACS", "OTHER")) as server:
        assert echo(server.port)
        assert echo(server.port, calling="OTHER")
        assert not echo(server.port, calling="STRANGER")
        assert send(server.port, films, calling="STRANGER") == []
        assert send(server.port, films, called="DISASYM2") == []
    assert not list((tmp_path / "out" / "spool").rglob("*.dcm"))
    assert "association of STRANGER at 127.0.0.1 refused: its AE title is not among those" in caplog.text
    assert "association of PACS at 127.0.0.1 refused: it called DISASYM2, and this is DISASYM" in caplog.text


def test_every_transfer_syntax_that_is_read_is_taken_as_it_is(tmp_path: Path) -> None:
    films = []
    for number, syntax in enumerate((*LOSSLESS, *LOSSY)):
        cells = (breast() // 16).astype("u1") if syntax in EIGHT else breast()
        bits = 8 if syntax in EIGHT else 12
        films.append(write_mammogram(tmp_path / f"{number}.dcm", cells, syntax=syntax, bits=bits))
    with listening(tmp_path / "out", timeout=1000.0) as server:
        assert send(server.port, films) == [0] * len(films)
    kept = {str(dcmread(path).SOPInstanceUID): path for path in (tmp_path / "out" / "spool").rglob("*.dcm")}
    for film in films:
        assert (read_pixels(kept[str(dcmread(film).SOPInstanceUID)]) == read_pixels(film)).all()


def test_a_film_that_comes_twice_is_one_and_two_women_never_mix(tmp_path: Path) -> None:
    """The second woman has the same StudyInstanceUID, as no archive may do and some do."""
    one = write_exam(tmp_path / "films", "one")
    two = [
        write_mammogram(tmp_path / f"{side}.dcm", breast(200, 120), laterality=side, patient="two", study="one")
        for side in "RL"
    ]
    with listening(tmp_path / "out") as server:
        assert send(server.port, [one[0], two[0], one[1], one[0]]) == [0] * 4
        assert send(server.port, [two[1], *one]) == [0] * 3
        until(lambda: len(folders(server.out)) == 2)
    assert [len(rows_of(folder)) for folder in folders(tmp_path / "out")] == [1, 1]
    assert sorted(len(files_of(folder)) for folder in folders(tmp_path / "out")) == [2, 2]
    women = {row["patient_id_hash"] for row in index(tmp_path / "out")}
    assert len(women) == 2
    for folder in folders(tmp_path / "out"):
        for row in rows_of(folder):
            uids = {row["right_sop_uid"], row["left_sop_uid"]}
            assert uids in [{str(dcmread(path).SOPInstanceUID) for path in films} for films in (one, two)]


def test_the_results_are_those_of_infer(tmp_path: Path) -> None:
    films = write_exam(tmp_path / "films", "woman")
    with listening(tmp_path / "out") as server:
        send(server.port, films)
        until(lambda: folders(server.out))
    arguments = ["infer", str(tmp_path / "films"), "--out", str(tmp_path / "plain"), "--threads", "1", "-q"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    (folder,) = folders(tmp_path / "out")
    assert rows_of(folder) == rows_of(tmp_path / "plain")
    (row,), (entry,) = rows_of(folder), index(tmp_path / "out")
    assert entry["pairs"] == "1"
    assert entry["p_abnormal"] == max(row["p_abnormal_right"], row["p_abnormal_left"])


def test_a_full_disk_leaves_the_film_with_its_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = write_exam(tmp_path / "films", "woman")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with listening(tmp_path / "out") as server:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            assert send(server.port, films) == [0xA700] * 2
        assert not list((tmp_path / "out" / "spool").rglob("*.dcm"))
        with monkeypatch.context() as patched:  # a disk with less room than results may need
            patched.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
            assert send(server.port, films) == [0xA700] * 2
        assert not list((tmp_path / "out" / "spool").rglob("*.dcm"))
        assert send(server.port, films) == [0, 0]
        until(lambda: folders(server.out))


def test_what_cannot_be_read_or_is_something_else_is_refused_by_its_number(tmp_path: Path) -> None:
    """Then the sender knows that it has not been taken; the server goes on."""
    film = write_mammogram(tmp_path / "film.dcm")
    nowhere = write_mammogram(tmp_path / "nowhere.dcm", StudyInstanceUID=None)
    with listening(tmp_path / "out", timeout=1000.0) as server:
        assert send(server.port, [nowhere, film, nowhere]) == [0xC000, 0, 0xC000]
        assert raw_store(server.port, film, cut=300) == 0xC000
        assert raw_store(server.port, film, instance="1.2.3.4.5") == 0xA900
        assert raw_store(server.port, film) == 0


def raw_store(port: int, path: Path, cut: int | None = None, instance: str | None = None) -> int:
    """Send the data set of `path` as bytes, cut off or under another name."""
    from io import BytesIO

    from pynetdicom import AE, build_context
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import split_dataset

    meta, offset = split_dataset(path)
    association = AE(ae_title="PACS").associate(
        *("127.0.0.1", port, [build_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)]),
        ae_title="DISASYM",
    )
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = dcmread(path).SOPClassUID
    request.AffectedSOPInstanceUID = instance or dcmread(path).SOPInstanceUID
    request.DataSet = BytesIO(path.read_bytes()[offset:][:cut])
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, 1)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert isinstance(answer, C_STORE)
    return int(answer.Status or 0)


def test_a_film_that_comes_late_makes_its_pair_then(tmp_path: Path) -> None:
    right, left = write_exam(tmp_path / "films", "woman")
    with listening(tmp_path / "out") as server:
        assert send(server.port, [right]) == [0]
        until(lambda: folders(server.out))
        (folder,) = folders(server.out)
        assert [fate for fate, _ in files_of(folder).values()] == ["skipped"]
        assert send(server.port, [left]) == [0]
        until(lambda: len(fates(folder)) == 2)
    assert len(rows_of(folder)) == 1
    assert len(index(tmp_path / "out")) == 1


def test_a_damaged_film_or_a_slice_costs_itself_alone(tmp_path: Path) -> None:
    films = [*write_exam(tmp_path / "films", "woman"), *write_exam(tmp_path / "films", "woman", "MLO")]
    odd = write_mammogram(tmp_path / "odd.dcm", patient="woman", study="woman", Modality="OT")
    whole = films[3].read_bytes()
    films[3].write_bytes(whole[:-1000])
    with listening(tmp_path / "out") as server:
        assert send(server.port, [write_ct(tmp_path / "ct.dcm")]) == []  # no context of that class is accepted
        answers = [raw_store(server.port, film) for film in (*films, odd)]
        assert answers == [0] * 5
        until(lambda: folders(server.out) and len(fates(folders(server.out)[0])) == 5)
    (folder,) = folders(tmp_path / "out")
    assert len(rows_of(folder)) == 1
    assert sorted(fate for fate, _ in files_of(folder).values()) == ["failed", "skipped", "skipped", "used", "used"]


def test_an_analysis_that_fails_is_tried_again_and_the_server_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    troubles = [MemoryError(), OSError(errno.ENOSPC, "x"), InputError("full"), KeyError("C4N4RY")]
    whole = infer_with

    def troubled(*arguments: Any) -> Any:
        if troubles:
            raise troubles.pop()
        return whole(*arguments)

    monkeypatch.setattr(analyse_module, "infer_with", troubled)
    monkeypatch.setattr(run_module, "backoff", lambda failures: 0.1 * failures)
    with listening(tmp_path / "out") as server:
        send(server.port, write_exam(tmp_path / "films", "woman"))
        until(lambda: folders(server.out))
    assert caplog.text.count("not analysed, tried again") == 4
    assert "C4N4RY" not in caplog.text
    (entry,) = index(tmp_path / "out")
    assert (entry["pairs"], entry["problem"]) == ("1", "")


def test_films_are_removed_when_they_are_done_and_later_ones_do_not_replace_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "HOUSEKEEPING_EVERY", 0.2)
    right, left = write_exam(tmp_path / "films", "woman")
    with listening(tmp_path / "out", keep_days=0.0) as server:
        send(server.port, [right, left])
        until(lambda: folders(server.out) and not list((server.out / "spool").rglob("*.dcm")))
        send(server.port, [write_exam(tmp_path / "films", "woman", "MLO")[0]])
        until(lambda: len(folders(server.out)) == 2)
    first, second = folders(tmp_path / "out")
    assert second.name == f"{first.name}-2"
    assert (len(rows_of(first)), len(rows_of(second))) == (1, 0)


def test_films_stay_while_a_result_was_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "HOUSEKEEPING_EVERY", 0.2)
    port = free_port()
    with listening(tmp_path / "out", keep_days=0.0, send_to=(f"ARCHIVE@127.0.0.1:{port}",)) as server:
        send(server.port, write_exam(tmp_path / "films", "woman"))
        until(lambda: folders(server.out))
        time.sleep(1)
        assert len(list((server.out / "spool").rglob("*.dcm"))) == 2


def test_a_data_set_without_end_and_a_peer_that_falls_silent_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(receive_module, "LARGEST_FILM", 100_000)
    monkeypatch.setattr(receive_module, "SILENCE", 0.5)
    film = write_mammogram(tmp_path / "large.dcm", breast(600, 400))
    with listening(tmp_path / "out") as server:
        assert send(server.port, [film]) == [None]
        silent = socket.create_connection(("127.0.0.1", server.port))
        silent.sendall(b"\x01\x00\x00\x00\x10\x00half of a request")
        other = socket.create_connection(("127.0.0.1", server.port))
        other.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert echo(server.port)
        silent.settimeout(20)
        assert silent.recv(100) == b""
        silent.close()
        other.close()
        assert send(server.port, write_exam(tmp_path / "films", "woman")) == [0, 0]
        until(lambda: folders(server.out))
    assert "ended: a data set of more than 100000 bytes" in caplog.text


def test_more_associations_than_there_are_places_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pynetdicom import AE

    monkeypatch.setattr(receive_module, "MOST_ASSOCIATIONS", 2)
    with listening(tmp_path / "out") as server:
        entity = AE(ae_title="PACS")
        entity.add_requested_context("1.2.840.10008.1.1")
        held = [entity.associate("127.0.0.1", server.port, ae_title="DISASYM") for _ in range(2)]
        assert all(association.is_established for association in held)
        assert not echo(server.port)
        held[0].release()
        until(lambda: echo(server.port))
        held[1].release()
    assert "refused: 2 associations are open" in caplog.text
