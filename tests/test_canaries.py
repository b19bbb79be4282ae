"""Who the woman is stands in her films and in the DICOM objects of her study; nowhere else, whatever goes wrong."""

import base64
import csv
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import dcmread, uid
from pydicom.datadict import keyword_for_tag
from pydicom.encaps import encapsulate
from pydicom.tag import BaseTag

from canaries import BIRTHS, WORD, every_text, found_in, hits, seed
from dicom_files import write_film, write_mammogram
from disasym.cli import main
from disasym.dicom import read_header
from exams import files_of, rows_of, write_exam
from pairs import write_pairs


def disasym(*arguments: object, code: int, **environment: str) -> str:
    """What the command prints, warnings of every library included."""
    command = [sys.executable, "-W", "always", "-c", "from disasym.cli import main; main()", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    said = result.stdout + result.stderr
    assert result.returncode == code, said
    return said


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two women with good films, and one film for each way in which one can fail."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("one", "two"):
        for number, path in enumerate(write_exam(folder, name)):
            seed(path, name).rename(folder / f"{name}-{number}.dcm")
    for name in ("cut", "odd", "header", "long", "stream"):
        write_exam(folder, name)
        for path in folder.glob(f"{name}-*.dcm"):
            seed(path, name)
    cut, odd, header, long = (folder / f"{name}-R-CC.dcm" for name in ("cut", "odd", "header", "long"))
    cut.write_bytes(cut.read_bytes()[:-100])
    odd.write_bytes(odd.read_bytes().replace(b"MONOCHROME2", f"{WORD}ODD2".ljust(11).encode()))
    header.write_bytes(header.read_bytes()[:900])
    film = dcmread(long)
    with warnings.catch_warnings():  # pydicom says that the standard allows no such name
        warnings.simplefilter("ignore")
        film.PatientName = WORD * 200  # longer than what is copied into an object of her study
        film.save_as(long)
    seed(write_mammogram(folder / "view.dcm", laterality=f"{WORD}SIDE", view=f"{WORD}VIEW"), "view")
    stream: dict[str, Any] = {"PixelData": encapsulate([bytes([2]) + bytes(200)]), "syntax": uid.RLELossless}
    seed(write_mammogram(folder / "stream-L-CC.dcm", laterality="L", study="stream", **stream), "stream")
    seed(write_mammogram(folder / "modality.dcm", Modality="OT"), "modality")
    seed(write_film(folder / "crop.dcm"), "P_00001_LEFT_CC_1")
    (folder / "text.dcm").write_text(f"{WORD} is no DICOM file")
    return folder


def test_the_films_really_hold_a_word_in_every_tag_that_can_name_somebody(films: Path) -> None:
    """So that the tests below look for something. The table of PS3.15 E.1-1 that is text stands in it."""
    content = (films / "one-0.dcm").read_bytes()
    words = every_text()
    assert len(words) > 150
    assert all(word.encode() in content for keyword, word in words.items() if keyword != "PatientID")
    for keyword in ("PatientName", "PatientAddress", "AccessionNumber", "InstitutionName", "ReferringPhysicianName"):
        assert keyword in words
    assert WORD in read_header(films / "one-0.dcm").patient.patient_id
    assert found_in(content)
    assert keyword_for_tag(BaseTag(0x00100030)) == "PatientBirthDate"
    assert BIRTHS[0].encode() in content


@pytest.mark.parametrize(
    "hidden",
    [
        f"a {WORD} b".encode(),
        f"{WORD}".encode("utf-16-le"),
        WORD.encode().hex().encode(),
        b"data:image/png;base64," + base64.b64encode(b"xy" + WORD.encode() + b"0000000"),
        b"born " + BIRTHS[1].encode(),
    ],
)
def test_the_search_finds_a_word_however_it_is_written(hidden: bytes) -> None:
    assert found_in(hidden)
    assert not found_in(b"1.2.19440229.3 and 119440229")


def test_the_search_looks_into_pictures(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Comment", f"x{WORD}", zip=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png", pnginfo=info)
    assert WORD.encode() not in (tmp_path / "a.png").read_bytes()
    assert list(hits(tmp_path)) == [("a.png", f"metadata: {WORD}")]


@pytest.mark.slow
def test_infer_names_nobody_in_anything_it_writes_or_says(films: Path, tmp_path: Path) -> None:
    from disasym.infer.wanted import WRITABLE

    out = tmp_path / "out"
    said = disasym("infer", films, "--out", out, "--write", ",".join(WRITABLE), "-v", code=1)
    assert len(rows_of(out)) == 2
    fates = [fate for fate, _ in files_of(out).values()]
    assert fates.count("failed") == 6
    assert not found_in(said.encode())
    assert not list(hits(out, exempt=["dicom/*.dcm"]))
    assert found_in(next((out / "dicom").glob("*-sr.dcm")).read_bytes()), "her report is about nobody"
    again = disasym("infer", films, "--out", out, "--write", ",".join(WRITABLE), "-v", code=1)
    assert not found_in(again.encode())
    assert not list(hits(out, exempt=["dicom/*.dcm"]))


def test_a_run_that_is_refused_names_nobody(films: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in (("--out", tmp_path / "file"), ("--out", films), ("--out", tmp_path / "out", "--model", films)):
        result = CliRunner().invoke(main, ["infer", str(films), *map(str, arguments)])
        assert result.exit_code == 2
        assert not found_in(result.output.encode())


@pytest.mark.slow
def test_what_a_folder_is_called_stands_where_a_file_must_be_found_and_nowhere_else(tmp_path: Path) -> None:
    """`files.csv` and messages say which file they speak of; README.md says so."""
    write_exam(tmp_path / "in" / f"{WORD}^JANE", "woman")
    out = tmp_path / "out"
    arguments = ["infer", str(tmp_path / "in"), "--out", str(out), "--write", "panels,sr,seg,capture", "--threads", "1"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert {name for name, _ in hits(out)} == {"files.csv"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with canaries in their metadata and in the column patient_id, one of them damaged."""
    path = write_pairs(tmp_path_factory.mktemp("pictures"), 8)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["patient_id"] = f"{WORD}-{row['patient_id']}"
        info = PngInfo()
        info.add_text("Patient", WORD)
        with Image.open(path.parent / row["path"]) as picture:
            picture.load()
        picture.save(path.parent / row["path"], pnginfo=info)
    broken = path.parent / rows[0]["path"]
    broken.write_bytes(broken.read_bytes()[:-200])
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("command", ["infer", "evaluate"])
def test_a_manifest_of_named_women_gives_hashes(manifest: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / "out"
    if command == "evaluate":
        pytest.importorskip("sklearn", reason="scikit-learn is absent: pip install '.[evaluate]'")
        said = disasym("evaluate", "--manifest", manifest, "--out", out, "--bootstraps", 20, "--by", "view", code=1)
    else:
        said = disasym("infer", manifest, "--out", out, "-v", code=1)
    assert not found_in(said.encode())
    assert list(out.rglob("*"))
    assert not list(hits(out))


@pytest.mark.slow
def test_listen_names_nobody_outside_of_its_spool_and_the_objects(films: Path, tmp_path: Path) -> None:
    """Good films and bad ones, results that are refused, a stranger and a data set that cannot be read; with -v."""
    pytest.importorskip("pynetdicom", reason="pynetdicom is absent: pip install '.[listen]'")
    from archives import free_port, receiving, send, until

    out, port = tmp_path / "out", free_port()
    with receiving() as archive:
        archive.status = 0xA900
        to = f"A@127.0.0.1:{archive.port}"
        arguments = ["--port", port, "--timeout", 1, "--allow", "PACS", "--send-to", to, "-v"]
        command = [sys.executable, "-W", "always", "-c", "from disasym.cli import main; main()", "listen", "--out", out]
        with (tmp_path / "log").open("wb") as log:
            server = subprocess.Popen([*map(str, command), *map(str, arguments)], stdout=log, stderr=log)
            try:
                until(lambda: "listens on" in (tmp_path / "log").read_text())
                sent = [
                    films / f"{name}.dcm" for name in ("one-0", "one-1", "cut-L-CC", "odd-R-CC", "view", "modality")
                ]
                assert send(port, sent, calling="STRANGER") == []
                assert send(port, sent) == [0] * len(sent)
                assert WORD in nameless(films / "two-0.dcm", port)
                until(lambda: "does not take instance" in (tmp_path / "log").read_text(), 60)
                until(lambda: len(list(out.glob("exams/*/files.csv"))) == 5, 60)
            finally:
                server.terminate()
                server.wait(60)
    said = (tmp_path / "log").read_bytes()
    assert b"refused" in said
    assert b"pairs scored" in said
    assert not found_in(said)
    assert not list(hits(out, exempt=["spool/*/*.dcm", "exams/*/dicom/*.dcm"]))


def nameless(path: Path, port: int) -> str:
    """Send a film without study whose instance is called by a name; that name."""
    from pydicom import dcmread
    from pynetdicom import AE, build_context

    film = dcmread(path)
    del film.StudyInstanceUID
    association = AE(ae_title="PACS").associate(
        *("127.0.0.1", port, [build_context(film.SOPClassUID, film.file_meta.TransferSyntaxUID)]), ae_title="DISASYM"
    )
    assert association.is_established
    assert association.send_c_store(film).Status == 0xC000
    association.release()
    return str(film.PatientID)
