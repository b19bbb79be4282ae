"""JPEG 2000 at a lower resolution: the codec's own result, and in the right place."""

import io
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid

from disasym.dicom.resolutions import at_reduction, deepest
from disasym.levels import Level
from phantom import film
from tolerances import tolerance

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
        ({"tile_size": (96, 96)}, 0),  # each is filtered by itself
        ({"tile_size": (256, 256)}, 4),  # one, larger than the picture
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
