"""A folder of anything: every file gets one fate and one reason."""

import io
import os
import shutil
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread, uid

from dicom_files import breast, write_ct, write_film, write_mammogram
from disasym.dicom import Header, Scan, read_header, read_pixels, scan
from disasym.dicom.reader import HEAD
from disasym.errors import ImageError, InputError

module = sys.modules["disasym.dicom.scan"]  # the package has a function of this name


def fates(result: Scan, folder: Path) -> dict[str, tuple[str, str]]:
    listed = [str(fate.path.relative_to(folder)) for fate in result.fates]
    assert len(set(listed)) == len(listed)
    assert listed == sorted(listed, key=lambda name: Path(name).parts)
    return {name: (fate.fate, fate.reason) for name, fate in zip(listed, result.fates, strict=True)}


def test_a_folder_of_everything_gives_one_fate_and_reason_a_file(tmp_path: Path) -> None:
    write_film(tmp_path / "films" / "r.dcm", side="RIGHT")
    write_film(tmp_path / "films" / "l.dcm", side="LEFT")
    write_mammogram(tmp_path / "digital" / "r.dcm", laterality="R", view="MLO", study="a")
    write_mammogram(tmp_path / "digital" / "l.dcm", laterality="L", view="MLO", study="a", syntax=uid.JPEG2000Lossless)
    shutil.copy(tmp_path / "digital" / "l.dcm", tmp_path / "digital" / "l again.dcm")
    inverse: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1"}
    write_mammogram(tmp_path / "m1" / "r.dcm", 4095 - breast(), laterality="R", view="MLO", study="b", **inverse)
    write_mammogram(tmp_path / "m1" / "l.dcm", 4095 - breast(), laterality="L", view="MLO", study="b", **inverse)
    write_mammogram(tmp_path / "alone.dcm", view="CC", study="c", patient="99")
    write_ct(tmp_path / "ct.dcm")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    whole = write_mammogram(tmp_path / "cut.dcm", study="d").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) // 2])

    result = scan(tmp_path)
    found = fates(result, tmp_path)
    assert {name: fate for name, (fate, _) in found.items()} == {
        ".DS_Store": "skipped",
        "alone.dcm": "skipped",
        "ct.dcm": "skipped",
        "cut.dcm": "failed",
        "digital/l again.dcm": "used",
        "digital/l.dcm": "skipped",
        "digital/r.dcm": "used",
        "empty": "failed",
        "films/l.dcm": "used",
        "films/r.dcm": "used",
        "m1/l.dcm": "used",
        "m1/r.dcm": "used",
        "notes.txt": "skipped",
    }
    assert all(reason for _, reason in found.values())
    assert found["digital/l.dcm"][1] == f"duplicate of {tmp_path}/digital/l again.dcm (same SOPInstanceUID)"
    assert found["cut.dcm"][1].startswith("truncated: the pixel data should have 1920 bytes")
    assert [made.paired_by for made in result.pairs] == ["study", "cbis-ddsm-stem", "study"]
    original, copy = (made for made in result.pairs if made.view == "MLO")
    np.testing.assert_array_equal(read_pixels(copy.right.path), read_pixels(original.right.path))


def test_a_monochrome1_copy_of_one_film_in_the_same_study_is_the_same_picture(tmp_path: Path) -> None:
    for side in ("R", "L"):
        write_mammogram(tmp_path / f"{side}.dcm", laterality=side)
    write_mammogram(tmp_path / "R copy.dcm", 4095 - breast(), PhotometricInterpretation="MONOCHROME1")
    found = fates(scan(tmp_path), tmp_path)
    assert [fate for fate, _ in found.values()] == ["used", "used", "skipped"]
    assert found["R.dcm"][1] == f"duplicate of {tmp_path}/R copy.dcm (the same picture under another SOPInstanceUID)"


def test_two_different_pictures_of_one_breast_are_ambiguous(tmp_path: Path) -> None:
    for side in ("R", "L"):
        write_mammogram(tmp_path / f"{side}.dcm", laterality=side)
    write_mammogram(tmp_path / "R2.dcm", np.flipud(breast()).copy())
    assert {fate for fate, _ in fates(scan(tmp_path), tmp_path).values()} == {"skipped"}


def test_loops_of_links_and_odd_files_end(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    for side in ("R", "L"):
        write_mammogram(folder / "real" / f"{side}.dcm", laterality=side)
    (folder / "real" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "a link").symlink_to(folder / "real", target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "dangling.dcm").symlink_to(folder / "nothing")
    (folder / "R link.dcm").symlink_to(folder / "real" / "R.dcm")
    (folder / ".hidden").mkdir()
    os.mkfifo(folder / "pipe.dcm")
    found = fates(scan(folder), folder)
    assert {name: fate for name, (fate, _) in found.items()} == {
        ".hidden": "skipped",
        "R link.dcm": "used",  # the same instance as real/R.dcm, and first by path
        "a link": "skipped",
        "dangling.dcm": "failed",
        "pipe.dcm": "skipped",
        "real/L.dcm": "used",
        "real/R.dcm": "skipped",
        "real/up": "skipped",
        "self": "failed",
    }
    assert found["pipe.dcm"][1] == "not a regular file"


def test_a_linked_folder_elsewhere_is_read(tmp_path: Path) -> None:
    for side in ("R", "L"):
        write_mammogram(tmp_path / "elsewhere" / f"{side}.dcm", laterality=side)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    result = scan(tmp_path / "archive")
    assert [str(made.right.path.relative_to(tmp_path)) for made in result.pairs] == ["archive/link/R.dcm"]


def test_a_file_can_be_named_instead_of_a_folder(tmp_path: Path) -> None:
    path = write_mammogram(tmp_path / ".one.dcm")
    assert [(fate.path, fate.fate) for fate in scan(path).fates] == [(path, "skipped")]
    with pytest.raises(InputError, match="does not exist"):
        scan(tmp_path / "absent")


def test_raw_images_are_used_only_when_asked_for(tmp_path: Path) -> None:
    raw: dict[str, Any] = {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForProcessing}
    for side in ("R", "L"):
        write_mammogram(tmp_path / f"{side}.dcm", laterality=side, **raw)
    assert not scan(tmp_path).pairs
    assert scan(tmp_path, include_processing=True).pairs[0].right.kind == "for processing"


# Several files at a time


def test_many_readers_find_what_one_finds_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged and odd files among good ones; each later file is read faster, so that all would come in reverse."""
    for number in range(30):
        for side in ("R", "L"):
            path = write_mammogram(tmp_path / f"{number:02}{side}.dcm", laterality=side, study=str(number))
            if number % 7 == 3 and side == "L":
                path.write_bytes(path.read_bytes()[:-9])
            if number % 7 == 5 and side == "R":
                path.write_text("no film")
    found = []
    for readers in (1, 8):
        monkeypatch.setattr(module, "READERS", readers)
        monkeypatch.setattr(module, "read_header", backwards if readers > 1 else read_header)
        files: list[Path] = []
        headers: list[Header] = []
        result = scan(tmp_path, on_file=files.append, on_header=headers.append)
        found.append((result, files, headers))
    assert found[0] == found[1]
    assert {fate.fate for fate in result.fates} == {"used", "skipped", "failed"}
    assert files == sorted(tmp_path.iterdir())


def backwards(path: Path, include_processing: bool) -> Header:
    time.sleep(0.002 * (30 - int(path.name[:2])))
    return read_header(path, include_processing)


def test_readers_wait_for_a_slow_store_together_and_no_lock_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two compressed films, each read of one of which comes back only when the other is being read too."""
    cells = np.random.default_rng(0).integers(0, 4095, (300, 200), np.uint16)
    for side in ("R", "L"):
        written = write_mammogram(tmp_path / f"{side}.dcm", cells, laterality=side, syntax=uid.JPEG2000Lossless)
        assert written.stat().st_size > HEAD  # its end is another read
    both = threading.Barrier(2)
    reads: list[Path] = []

    class Share(io.FileIO):
        def readinto(self, buffer: Any) -> int | None:
            reads.append(Path(str(self.name)))
            both.wait(20)
            return super().readinto(buffer)

    monkeypatch.setattr(Path, "open", lambda self, *_, **__: Share(self))
    assert [fate.reason for fate in scan(tmp_path).fates] == ["paired by study"] * 2
    assert len(reads) > 2


def test_what_goes_wrong_in_one_file_stays_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        for side in ("R", "L"):
            write_mammogram(tmp_path / f"{number}{side}.dcm", laterality=side, study=str(number))
    monkeypatch.setattr(module, "read_header", broken)
    found = fates(scan(tmp_path), tmp_path)
    others = {name: fate for name, (fate, _) in found.items() if fate != "used"}
    assert others == {"4L.dcm": "failed", "4R.dcm": "skipped"}
    assert found["4L.dcm"] == ("failed", "cannot be read: Stale file handle")


def broken(path: Path, include_processing: bool) -> Header:
    if path.name == "4L.dcm":
        raise ImageError(f"{path}: cannot be read: Stale file handle")
    return read_header(path, include_processing)


def test_few_files_are_opened_ahead_of_the_one_that_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []
    most = 0

    def looked(_: Header) -> None:
        nonlocal most
        taken.append(1)
        most = max(most, len(begun) - len(taken))

    taken: list[int] = []
    for number in range(60):
        write_mammogram(tmp_path / f"{number:02}.dcm", study=str(number))
    scan(tmp_path, on_file=begun.append, on_header=looked)
    assert len(taken) == 60
    assert most < 2 * module.READERS


def test_odd_films_read_by_many_threads_warn_nobody(tmp_path: Path) -> None:
    """pydicom warns about each of these files; Python's filters are those of before when all were read."""
    for number in range(40):
        path = write_mammogram(tmp_path / f"{number}.dcm", study=str(number), SpecificCharacterSet="ISO_IR 100")
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 999"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        scan(tmp_path)
        assert list(warnings.filters) == before
        assert caught == []
        dcmread(tmp_path / "0.dcm").PatientName  # noqa: B018 - this is what would be told
        assert caught != []


def test_an_empty_folder_has_no_pairs(tmp_path: Path) -> None:
    assert scan(tmp_path) == Scan((), ())


# Real files


def test_the_eight_real_films_are_four_pairs(films: list[dict[str, Path]]) -> None:
    result = scan(films[0]["rcc"].parent.parent)
    assert [made.paired_by for made in result.pairs] == ["cbis-ddsm-stem"] * 4
    assert {fate.fate for fate in result.fates} == {"used"}
    assert len({made.right.patient_key for made in result.pairs}) == 2
    wanted = {(case[f"r{view}"], case[f"l{view}"]) for case in films for view in ("cc", "mlo")}
    assert {(made.right.path, made.left.path) for made in result.pairs} == wanted


def test_a_monochrome1_copy_of_a_real_film_gives_the_same_pixels(tmp_path: Path, films: list[dict[str, Path]]) -> None:
    path = films[0]["rcc"]
    ds = dcmread(path)
    ds.PixelData = (65535 - ds.pixel_array).tobytes()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds["PixelData"].is_undefined_length = False
    ds.PhotometricInterpretation = "MONOCHROME1"
    ds.save_as(tmp_path / "copy.dcm")
    np.testing.assert_array_equal(read_pixels(tmp_path / "copy.dcm"), read_pixels(path))
