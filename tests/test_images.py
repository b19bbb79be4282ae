"""Image files of every accepted format give the grey levels that were written; anything else is an ImageError."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from disasym.data import read
from disasym.data.images import load_mammogram, load_pair, read_image
from disasym.data.rows import ImageRow, PairRow
from disasym.errors import ImageError
from disasym.spec import Laterality
from phantom import film

EIGHT = np.arange(256, dtype=np.uint8).reshape(16, 16)
SIXTEEN = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)


def row_of(path: Path, laterality: Laterality = "L", pixel_aspect: float = 1.0) -> ImageRow:
    return ImageRow("d", "p", "w", "CC", laterality, path, None, "", "", (), None, pixel_aspect)


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif"])
@pytest.mark.parametrize("levels", [EIGHT, SIXTEEN])
def test_grey_levels_come_back_as_stored(tmp_path: Path, suffix: str, levels: np.ndarray) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(levels).save(path)
    read_back = read_image(path)
    assert read_back.dtype == np.float32
    np.testing.assert_array_equal(read_back, levels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_a_grey_picture_stored_in_colour_is_grey(tmp_path: Path, mode: str) -> None:
    Image.fromarray(EIGHT).convert(mode).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), EIGHT)


def test_a_bilevel_picture_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(EIGHT > 99).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), EIGHT > 99)


def test_a_coloured_picture_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.stack([EIGHT, EIGHT, EIGHT.T], -1)).save(tmp_path / "image.png")
    with pytest.raises(ImageError, match="colour"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize(("levels", "white"), [(EIGHT, 255), (SIXTEEN, 65535)])
@pytest.mark.parametrize("photometric", [0, 1])
def test_a_tiff_in_which_white_is_zero_is_inverted(
    tmp_path: Path, levels: np.ndarray, white: int, photometric: int
) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(bare_tiff(levels, photometric))
    np.testing.assert_array_equal(read_image(path), levels if photometric else white - levels.astype(np.float32))


def bare_tiff(levels: np.ndarray, photometric: int) -> bytes:
    """One uncompressed strip (TIFF 6.0, section 3), little endian."""
    height, width = levels.shape
    data = levels.astype(levels.dtype.newbyteorder("<")).tobytes()
    bits = levels.dtype.itemsize * 8
    values = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: height, 279: len(data)}
    values[273] = 8 + 2 + 12 * len(values) + 4  # where the strip begins: after header and directory
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + data


def test_several_pictures_in_one_file_are_refused(tmp_path: Path) -> None:
    one = Image.fromarray(EIGHT)
    one.save(tmp_path / "image.tif", save_all=True, append_images=[one])
    with pytest.raises(ImageError, match="2 pictures"):
        read_image(tmp_path / "image.tif")


@pytest.mark.parametrize("limit", [255, 100, 10])
def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    Image.fromarray(EIGHT).save(tmp_path / "image.png")
    monkeypatch.setattr(read, "MAX_PIXELS", limit)
    with pytest.raises(ImageError, match=r"16 × 16"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize("side", [10_000, 40_000])
def test_a_header_that_declares_a_bomb_is_refused(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.pgm"
    path.write_bytes(f"P5 {side} {side + 1} 255\n".encode() + bytes(100))
    with pytest.raises(ImageError, match="at most"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"hello", b"P5 -1 5 255\n", b"II*\0\xff\xff\xff\xff"])
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"image\.png"):
        read_image(tmp_path / "image.png")


def test_a_gif_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(EIGHT).save(tmp_path / "image.gif")
    with pytest.raises(ImageError, match="not a PNG"):
        read_image(tmp_path / "image.gif")


@pytest.mark.parametrize("name", ["absent.png", ".", "absent.dcm"])
def test_an_absent_file_is_an_image_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="read"):
        read_image(tmp_path / name)


@given(cut=st.integers(1, 400), flip=st.integers(0, 10_000), suffix=st.sampled_from(["png", "pgm", "tif"]))
def test_a_damaged_file_is_a_picture_or_an_image_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"image.{suffix}"
    Image.fromarray(EIGHT).save(path)
    whole = bytearray(path.read_bytes())
    whole[flip % len(whole)] ^= 1 << flip % 8
    path.write_bytes(whole[: max(1, len(whole) - cut + 200)] if cut > 200 else whole)
    try:
        image = read_image(path)
    except ImageError:
        return
    assert (image.ndim, image.dtype) == (2, np.dtype(np.float32))


def test_a_pair_is_two_views_right_first(tmp_path: Path) -> None:
    left = film(seed=1)
    right = film(seed=2)[:, ::-1].copy()
    for name, image in (("r", right), ("l", left)):
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
    pair = PairRow(row_of(tmp_path / "r.png", "R"), row_of(tmp_path / "l.png", "L"))
    views = load_pair(pair, 128, 64)
    assert (views.shape, views.dtype) == ((2, 128, 64), np.dtype(np.float32))
    np.testing.assert_array_equal(views[1], load_mammogram(pair.left, 128, 64).pixels)
    assert load_mammogram(pair.right, 128, 64).geometry.mirrored
    assert (views[:, :, 0] > 0).any(axis=1).all()


def test_the_error_of_an_image_without_a_breast_names_its_file(tmp_path: Path) -> None:
    Image.fromarray(np.full((50, 50), 9, np.uint8)).save(tmp_path / "blank.png")
    with pytest.raises(ImageError, match=r"blank\.png.*grey level 9"):
        load_mammogram(row_of(tmp_path / "blank.png"), 128, 64)


def test_a_dicom_row_must_be_of_the_side_and_view_of_its_file(films: list[dict[str, Path]]) -> None:
    with pytest.raises(ImageError, match="the manifest says R CC, the file L CC"):
        load_mammogram(row_of(films[0]["lcc"], "R"), 128, 64)


@pytest.mark.slow
def test_real_dicom_films_load_through_a_row(films: list[dict[str, Path]]) -> None:
    pair = PairRow(row_of(films[0]["rcc"], "R"), row_of(films[0]["lcc"], "L"))
    views = load_pair(pair, 256, 128)
    assert (views[:, 100:150, 0] > 0).all()
    assert 0.3 < (views > 0).mean() < 0.9


def test_png_archives_load_without_torch_and_without_pydicom() -> None:
    code = "import sys, disasym.data.manifest; print([m for m in ('torch', 'pydicom') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
