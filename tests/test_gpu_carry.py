"""What is carried to a GPU machine without a network arrives whole, or what is missing is said."""

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import archive as archives
from benchmarks import gpu_carry
from benchmarks.archive import HANGING, Plate, read_plates
from benchmarks.gpu_carry import FILMS, LOADS, PAIRS, READING, THIRD, archive, halved, main, pack, unpack
from dicom_files import breast
from disasym.model import PRESETS
from pairs import write_pairs

LIBRARY = np.random.default_rng(0).bytes(50_000) + b"\0" * 10_000


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as made:
        for file, content in files.items():
            made.writestr(file, content)
        made.writestr(f"{name.split('-')[0]}-1.dist-info/RECORD", "")
    return path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Wheels of the right names are there at once; returns what was asked for."""
    asked: list[Sequence[str]] = []

    def download(packages: Sequence[str], folder: Path) -> None:
        asked.append(packages)
        for package in packages:
            name = package.split("==")[0]
            content = LIBRARY if "libs" in name else b"VALUE = 7\n"
            wheel(folder, f"{name}-1-py3-none-any.whl", {f"{name}/__init__.py": content})

    monkeypatch.setattr(gpu_carry, "download", download)
    return asked


def test_what_was_packed_is_there_when_it_was_unpacked(tmp_path: Path, no_network: list[Sequence[str]]) -> None:
    pycuda = wheel(tmp_path, "pycuda-2026.1-cp312-cp312-linux_x86_64.whl", {"pycuda/driver.py": b"DRIVER = 1\n"})
    pack(tmp_path / "loads", pycuda, None, ["extra==1"])
    assert no_network == [gpu_carry.RTX, ["extra==1"]]
    unpack(tmp_path / "loads", tmp_path / "site")
    found = {path.relative_to(tmp_path / "site").as_posix(): path for path in (tmp_path / "site").rglob("*.py")}
    assert found["tensorrt_rtx_cu13_libs/__init__.py"].read_bytes() == LIBRARY
    assert {"tensorrt_rtx_cu13_bindings/__init__.py", "extra/__init__.py", "pycuda/driver.py"} <= set(found)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pycuda.driver as d; print(d.DRIVER)"
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path / "site")], capture_output=True, text=True)
    assert said.stdout == "1\n"


def test_each_load_holds_its_half_and_both_are_needed(tmp_path: Path, no_network: list[Sequence[str]]) -> None:
    pack(tmp_path / "loads", None, None)
    sizes = [sum(file.stat().st_size for file in (tmp_path / "loads" / load).iterdir()) for load in LOADS]
    assert abs(sizes[0] - sizes[1]) <= 1
    for name in gpu_carry.HALVES:
        (half,) = (tmp_path / "loads").rglob(name)
        content = half.read_bytes()
        half.unlink()
        with pytest.raises(SystemExit, match=rf"{name} missing: copy both loads"):
            unpack(tmp_path / "loads", tmp_path / "site")
        assert not (tmp_path / "site").exists()
        half.write_bytes(content)


def test_what_reads_films_and_four_films_are_a_third_load(
    tmp_path: Path, no_network: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    films = tuple(Plate(view, side, breast(64, 48)) for view, side in HANGING * 2)
    monkeypatch.setattr(archives, "real_plates", lambda: films)
    pack(tmp_path / "loads", None, None, films=True)
    assert [*no_network[1], *no_network[2]] == [*READING["one"], *READING[THIRD]]
    unpack(tmp_path / "loads", tmp_path / "site")
    assert {"pydicom", "click", "imagecodecs"} <= {path.name for path in (tmp_path / "site").iterdir()}
    carried = read_plates(tmp_path / "loads" / THIRD / FILMS)
    assert [(plate.view, plate.laterality) for plate in carried] == list(HANGING)
    assert np.array_equal(carried[0].cells, films[0].cells)


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_halves_make_the_whole(size: int) -> None:
    content = bytes(range(size))
    assert b"".join(halved(content)) == content


def test_the_same_wheels_make_the_same_archive(tmp_path: Path) -> None:
    one = wheel(tmp_path, "one-1-py3-none-any.whl", {"a.py": b"1", "b.so": LIBRARY})
    assert archive([one]) == archive([one])


def test_a_load_that_is_too_large_to_be_carried_is_refused(
    tmp_path: Path, no_network: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_carry, "MOST", 20_000)
    with pytest.raises(SystemExit, match="leave some out"):
        pack(tmp_path / "loads", None, None)


@pytest.mark.parametrize("name", ["pycuda-2026.1-cp311-cp311-linux_x86_64.whl", "pycuda-2026.1.tar.gz", "absent"])
def test_what_is_no_wheel_for_that_machine_is_refused(
    name: str, tmp_path: Path, no_network: list[Sequence[str]]
) -> None:
    if name != "absent":
        wheel(tmp_path, name, {})
    with pytest.raises(SystemExit, match=r"is no wheel for Python 3\.12"):
        pack(tmp_path / "loads", tmp_path / name, None)


def test_pairs_are_those_of_the_preset_that_is_measured(
    tmp_path: Path, no_network: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (PRESETS["paper"].height, PRESETS["paper"].width) == (gpu_carry.HEIGHT, gpu_carry.WIDTH)
    monkeypatch.setattr(gpu_carry, "HEIGHT", 128)
    monkeypatch.setattr(gpu_carry, "WIDTH", 64)
    pack(tmp_path / "loads", None, write_pairs(tmp_path / "films", 3))
    with np.load(tmp_path / "loads" / LOADS[1] / PAIRS) as file:
        views = file["views"]
    assert views.shape == (3, 2, 128, 64)
    assert views.dtype == np.float16
    assert 0 < views.max() <= 1


def test_the_command_downloads_for_the_gpu_machine_not_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    monkeypatch.setattr(gpu_carry, "archive", lambda wheels: b"ab")
    monkeypatch.setattr(sys, "argv", ["gpu_carry", "pack", str(tmp_path)])
    main()
    (command,) = asked
    assert command[1:4] == ["-m", "pip", "download"]
    assert command[command.index("--python-version") + 1] == "3.12"
    assert "--no-deps" in command
    assert "manylinux_2_28_x86_64" in command
    assert set(gpu_carry.RTX) <= set(command)


def test_the_versions_are_those_that_are_tested_here(root: Path) -> None:
    lines = {line.replace("-", "_") for line in (root / "constraints.txt").read_text().splitlines()}
    carried = {*gpu_carry.RTX, *(package for packages in READING.values() for package in packages)}
    assert carried <= lines
