"""JPEG 2000 at a lower resolution: the codec's own result, in the right place, only where scores stay as they are."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

import disasym.engines
from dicom_files import lut, write_mammogram
from disasym.dicom import open_film, read_pixels
from disasym.dicom.pixels import Film, bends
from disasym.dicom.resolutions import at_reduction, deepest
from disasym.errors import ImageError
from disasym.levels import Level, Whole, keeping, sufficient
from disasym.preprocess import Mammogram, preprocess
from disasym.spec import Array
from phantom import film
from tolerances import tolerance

WHOLE_RANGE: dict[str, Any] = {"WindowCenter": "2048", "WindowWidth": "4096"}
MEASURED = Path(__file__).parent / "data" / "trained_small.safetensors"  # the weights that ADR 0026 was measured with
SYNTAXES = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2K)


def cells_of(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """A film of 12 bits."""
    image = film(height, width, seed)
    cells: npt.NDArray[np.uint16] = np.rint(image / image.max() * 4000).astype(np.uint16)
    return cells


def by_pillow(data: bytes, reduction: int, bits: int) -> npt.NDArray[Any]:
    """OpenJPEG's own `cp_reduce`; Pillow scales samples to 16 bits."""
    with Image.open(io.BytesIO(data)) as image:
        image.reduce = reduction  # type: ignore[method-assign, assignment]
        image.load()
        cells: npt.NDArray[Any] = np.asarray(image) >> (16 - bits)
        return cells


def stream(syntax: str, cells: npt.NDArray[np.uint16]) -> tuple[bytes, int]:
    """The codestream, and the bits it declares."""
    if syntax in (uid.HTJ2KLossless, uid.HTJ2K):
        return bytes(imagecodecs.htj2k_encode(cells, 0.0005, reversible=syntax == uid.HTJ2KLossless)), 16
    reversible = syntax == uid.JPEG2000Lossless
    return bytes(imagecodecs.jpeg2k_encode(cells, 60, codecformat="j2k", reversible=reversible, bitspersample=12)), 12


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: uid.UID(syntax).keyword)
@pytest.mark.parametrize("reduction", [1, 2, 3])
def test_a_shorter_header_gives_what_openjpegs_own_reduction_gives(syntax: str, reduction: int) -> None:
    data, bits = stream(syntax, cells_of(320, 208))
    assert deepest(data) >= 3
    ours = imagecodecs.jpeg2k_decode(at_reduction(data, reduction))
    np.testing.assert_array_equal(ours, by_pillow(data, reduction, bits))


@settings(max_examples=15)
@given(height=st.integers(33, 200), width=st.integers(33, 200), reduction=st.integers(1, 4))
def test_a_reduced_size_is_rounded_up(height: int, width: int, reduction: int) -> None:
    data, _ = stream(uid.JPEG2000Lossless, cells_of(height, width))
    reduction = min(reduction, deepest(data))  # small pictures are encoded with fewer levels
    shape = imagecodecs.jpeg2k_decode(at_reduction(data, reduction)).shape
    assert shape == (-(-height // 2**reduction), -(-width // 2**reduction))


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"tile_size": (96, 96)}, 4),
        ({"tile_size": (64, 64), "progression": "RPCL"}, 4),
        ({"tile_size": (80, 48)}, 4),
        ({"tile_size": (36, 36)}, 2),  # tiles must end on pixels of the smaller picture
        ({"tile_size": (33, 64)}, 0),
        ({"progression": "RLCP", "quality_mode": "rates", "quality_layers": [40, 10, 0]}, 4),
        ({"progression": "RPCL", "precinct_size": (64, 64)}, 4),
        ({"progression": "RPCL", "plt": True, "irreversible": True}, 4),
        ({"progression": "LRCP", "quality_mode": "rates", "quality_layers": [40, 0]}, 0),
        ({"progression": "PCRL"}, 0),
        ({"progression": "CPRL"}, 0),
    ],
    ids=str,
)
def test_streams_of_every_order_are_reduced_rightly_or_not_at_all(options: dict[str, Any], most: int) -> None:
    file = io.BytesIO()
    Image.fromarray(cells_of(192, 160) << 4).save(file, "JPEG2000", no_jp2=True, num_resolutions=5, **options)
    data = file.getvalue()
    assert deepest(data) == most
    for reduction in range(1, most + 1):
        ours = imagecodecs.jpeg2k_decode(at_reduction(data, reduction))
        np.testing.assert_array_equal(ours, by_pillow(data, reduction, 16))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (b"\xff\x52", {5: 4}),  # CPRL: by position
        (b"\xff\x52", {5: 3}),  # PCRL
        (b"\xff\x52", {5: 0, 7: 2}),  # two layers in order of layers
        (b"\xff\x51", {21: 8}),  # an offset of the picture
        (b"\xff\x5c", {1: 0x53}),  # COC in the place of QCD
        (b"\xff\x64", {1: 0x5E}),  # RGN, a region of interest, in the place of the comment
    ],
)
def test_a_stream_that_is_ordered_otherwise_is_not_reduced(at: bytes, value: dict[int, int]) -> None:
    data = bytearray(stream(uid.JPEG2000Lossless, cells_of(64, 64))[0])
    start = data.index(at)
    for offset, byte in value.items():
        data[start + offset] = byte
    assert deepest(bytes(data)) == 0


# Where a reduced picture lies


def test_a_level_is_centred_on_every_second_pixel_of_the_whole() -> None:
    """By hand: at reduction 1 pixel 3 is centred on pixel 6, edge 6.5; it covers the edges from 5.5 to 7.5."""
    level = Level(np.arange(10, dtype=np.float32)[:, None] * np.ones(4, np.float32), (20, 8), 1)
    assert level.rows(5.5, 7.5, 1)[0, 0] == 3
    assert level.rows(6.5, 8.5, 1)[0, 0] == 3.5
    assert level.rows(-2.0, 0.0, 1)[0, 0] == 0  # beyond the first row


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_blob_is_where_it_was(mirrored: bool) -> None:
    y, x = np.mgrid[:256, :192]
    blob = np.rint(3000 * np.exp(-((y - 100.0) ** 2 + (x - 70.0) ** 2) / 200)).astype(np.uint16)
    data, _ = stream(uid.JPEG2000Lossless, blob)
    for reduction in (1, 2):
        pixels = imagecodecs.jpeg2k_decode(at_reduction(data, reduction)).astype(np.float32)
        level = Level(pixels, (256, 192), reduction)
        small = level.columns(level.rows(0, 256, 64), 0, 192, 48, mirrored)
        expected = Level(blob.astype(np.float32), (256, 192), 0)
        wanted = expected.columns(expected.rows(0, 256, 64), 0, 192, 48, mirrored)
        for axis in (0, 1):
            position = [float((np.arange(s.shape[axis]) * s.sum(1 - axis)).sum() / s.sum()) for s in (small, wanted)]
            assert position[0] == pytest.approx(position[1], abs=tolerance("place of a reduced blob"))


def test_the_reduction_is_the_largest_that_is_enough() -> None:
    whole = replace(Whole(np.zeros((4096, 3328), np.float32)), deepest=5)
    assert [keeping(whole, rows) for rows in (512, 1024, 1025, 4096, 9999)] == [3, 2, 1, 0, 0]
    finer = replace(whole, oversampling=2)
    assert [sufficient(finer, scale) for scale in (0.0625, 0.126, 0.25, 0.5, 1.0)] == [3, 1, 1, 0, 0]
    assert [sufficient(whole, scale) for scale in (0.125, 0.126, 0.25, 0.5, 0.51, 1.0, 2.0)] == [3, 2, 2, 1, 0, 0, 0]


# Which films are reduced


def opened(path: Path, syntax: str = uid.JPEG2000Lossless, **tags: Any) -> Film:
    return open_film(write_mammogram(path, cells_of(128, 96), syntax=syntax, **tags))


def test_any_window_allows_a_half_and_a_bent_one_asks_for_more_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    straight = [
        opened(path, **WHOLE_RANGE),
        opened(path),  # no window: the range of values
        opened(path, **WHOLE_RANGE, PhotometricInterpretation="MONOCHROME1"),
    ]
    bent = [
        opened(path, **WHOLE_RANGE, VOILUTFunction="SIGMOID"),
        opened(path, WindowCenter="2048", WindowWidth="2000"),
        opened(path, VOILUTSequence=lut(0, [0, 9, 65535])),
    ]
    assert [found.deepest for found in straight + bent] == [1] * 6
    assert [found.oversampling for found in straight + bent] == [1] * 3 + [2] * 3


def test_lossy_streams_are_read_whole(tmp_path: Path) -> None:
    for syntax in (uid.JPEG2000, uid.HTJ2K):
        assert opened(tmp_path / "a.dcm", syntax, **WHOLE_RANGE).deepest == 0


def test_padding_that_is_black_only_by_rule_forbids_it(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    assert opened(path, **WHOLE_RANGE, PixelPaddingValue=0).deepest == 1
    assert opened(path, **WHOLE_RANGE, PixelPaddingValue=4095).deepest == 0
    assert opened(path, **WHOLE_RANGE, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1").deepest == 0
    assert opened(path, PixelPaddingValue=0).deepest == 0


def test_other_transfer_syntaxes_are_read_whole(tmp_path: Path) -> None:
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless):
        assert opened(tmp_path / "a.dcm", syntax, **WHOLE_RANGE).deepest == 0


def test_signed_pixels_are_reduced_only_where_the_stream_knows_of_the_sign(tmp_path: Path) -> None:
    cells = cells_of(128, 96).astype(np.int16) - 2000
    plain: dict[str, Any] = {"PixelRepresentation": 1, "WindowCenter": "0", "WindowWidth": "65536"}
    path = write_mammogram(tmp_path / "a.dcm", cells.view(np.uint16), syntax=uid.JPEG2000Lossless, bits=16, **plain)
    assert open_film(path).deepest == 0
    data = bytes(imagecodecs.jpeg2k_encode(cells, codecformat="j2k", reversible=True))
    path = write_mammogram(
        path, cells.view(np.uint16), syntax=uid.JPEG2000Lossless, bits=16, PixelData=encapsulate([data]), **plain
    )
    opened_film = open_film(path)
    assert opened_film.deepest == 1
    np.testing.assert_array_equal(opened_film.read(0), read_pixels(path))
    shown = opened_film.read(1)
    assert shown.shape == (64, 48)
    assert abs(float(shown.mean() - opened_film.read(0).mean())) < tolerance("mean of a reduced film")


def test_what_the_filter_adds_beyond_the_range_is_held_to_it(tmp_path: Path) -> None:
    """HTJ2K with 16 bits for 12: at a sharp edge from 0 to 4095 the filter overshoots; the bits would wrap round."""
    cells = np.zeros((128, 96), np.uint16)
    cells[:, 33:60] = 4095
    for syntax in (uid.HTJ2KLossless, uid.HTJ2K):
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
    """Of the file decoded whole, and as it is decoded for the network."""
    return (
        preprocess(read_pixels(path), "L", "CC", height, width),
        preprocess(open_film(path), "L", "CC", height, width),
    )


@pytest.mark.parametrize("syntax", SYNTAXES[::2], ids=lambda syntax: uid.UID(syntax).keyword)
@pytest.mark.parametrize("flip", [False, True], ids=["chest wall left", "chest wall right"])
def test_boxes_of_a_reduced_film_are_in_the_pixels_of_the_file(tmp_path: Path, syntax: str, flip: bool) -> None:
    cells = cells_of(2048, 1500)
    cells = cells[:, ::-1].copy() if flip else cells
    path = write_mammogram(tmp_path / "a.dcm", cells, syntax=syntax, **WHOLE_RANGE)
    whole, reduced = both(path, 128, 64)
    assert (whole.reduction, reduced.reduction) == (0, 1)
    assert (reduced.geometry.source_height, reduced.geometry.source_width) == cells.shape
    assert reduced.geometry.mirrored == whole.geometry.mirrored == flip
    there = whole.geometry.box_to_source((10, 20, 30, 40))
    here = reduced.geometry.box_to_source((10, 20, 30, 40))
    np.testing.assert_allclose(here, there, atol=tolerance("box of a reduced film"))
    assert np.abs(reduced.pixels - whole.pixels).mean() < tolerance("pixels of a reduced film")


def test_a_small_crop_is_read_again_at_the_resolution_that_it_needs(tmp_path: Path) -> None:
    """A breast of 500 rows in a film of 2100: into 512 rows it goes from the whole film, not from its half."""
    cells = np.zeros((2100, 700), np.uint16)
    cells[1000:1500, :300] = cells_of(500, 300) + 90
    path = write_mammogram(tmp_path / "a.dcm", cells, syntax=uid.HTJ2KLossless, **WHOLE_RANGE)
    reductions: list[int] = []

    class Watched(Film):
        def read(self, reduction: int = 0) -> Array:
            reductions.append(reduction)
            return super().read(reduction)

    opened_film = open_film(path)
    watched = Watched(**{name: getattr(opened_film, name) for name in opened_film.__dataclass_fields__})
    found = preprocess(watched, "L", "CC", 512, 256)
    assert reductions == [1, 0]
    assert found.reduction == 0
    assert 0.5 < max(found.geometry.scale_y, found.geometry.scale_x) <= 1


def test_a_bent_window_is_read_whole_where_the_network_sees_nearly_as_much(tmp_path: Path) -> None:
    bent: dict[str, Any] = {"WindowCenter": "2048", "WindowWidth": "2000"}
    path = write_mammogram(tmp_path / "a.dcm", cells_of(2100, 900), syntax=uid.HTJ2KLossless, **bent)
    assert [both(path, height, height // 2)[1].reduction for height in (128, 256, 512)] == [1, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("syntax", "voi"),
    [
        (uid.HTJ2KLossless, "straight"),
        (uid.HTJ2KLossless, "SIGMOID"),
    ],
)
def test_scores_of_reduced_films_are_those_of_whole_ones(tmp_path: Path, syntax: str, voi: str) -> None:
    window = WHOLE_RANGE if voi == "straight" else {**WHOLE_RANGE, "WindowWidth": "2000", "VOILUTFunction": "SIGMOID"}
    pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")
    with disasym.engines.load(MEASURED) as engine:
        pairs = [
            both(
                write_mammogram(tmp_path / f"{seed}.dcm", cells_of(2200, 1600, seed), syntax=syntax, **window),
                engine.info.height,
                engine.info.width,
            )
            for seed in (1, 2)
        ]
        assert [right.reduction for _, right in pairs] == [1, 1]
        scores = engine.run(np.array([[side[which].pixels for side in pairs] for which in (0, 1)]))
    for score in (scores.asymmetry, scores.abnormal):
        assert np.abs(score[1] - score[0]).max() <= tolerance("score of a reduced film")


def test_the_rules_are_asked_of_the_film_alone(tmp_path: Path) -> None:
    path = write_mammogram(tmp_path / "a.dcm", cells_of(128, 96), syntax=uid.JPEG2000Lossless, **WHOLE_RANGE)
    assert open_film(path) == open_film(path)
    assert not bends(open_film(path).grey)
