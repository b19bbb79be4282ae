"""Our decoder of each transfer syntax against other people's: the same stream must give the same cells.

Others: DCMTK (IJG's JPEG with patches of its own, an older CharLS, its own RLE), Pillow's OpenJPEG and libjpeg,
OpenJPH, liblj92, pydicom's RLE. DCMTK and Pillow also make streams that imagecodecs did not make.
"""

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from dicom_files import LOSSLESS, LOSSY, write_mammogram
from disasym.dicom import open_film
from disasym.dicom.decode import DECODERS, Cells, decode
from disasym.dicom.pixels import Film
from phantom import film
from tolerances import tolerance

COMPRESSED = [syntax for syntax in DECODERS if uid.UID(syntax).is_encapsulated]
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
J2K = (uid.JPEG2000Lossless, uid.JPEG2000)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
needs_dcmtk = pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="Debian's dcmtk is not installed")


def cells_of(bits: int, seed: int = 3) -> npt.NDArray[Any]:
    """A film with grain over the whole range of `bits`; no two rows are alike, neither side is even."""
    image = film(131, 93, seed)
    scaled = np.rint(image / image.max() * (2**bits - 1))
    cells: npt.NDArray[Any] = scaled.astype(np.uint8 if bits == 8 else np.uint16)
    return cells


def ours(opened: Film) -> Cells:
    return decode(opened.transfer_syntax, opened.data, opened.grey.matrix)


def dcmtk(tool: str, source: Path, *options: str) -> Path:
    """What a command of DCMTK makes of a file."""
    target = source.with_name(f"{tool}.dcm")
    subprocess.run([tool, *options, str(source), str(target)], check=True, capture_output=True)
    return target


def by_dcmtk(tool: str) -> Callable[[Path, Film], Cells]:
    def read(path: Path, opened: Film) -> Cells:
        plain = dcmread(dcmtk(tool, path))
        assert not plain.file_meta.TransferSyntaxUID.is_compressed
        return np.frombuffer(plain.PixelData, f"<u{plain.BitsAllocated // 8}", plain.Rows * plain.Columns).reshape(
            plain.Rows, plain.Columns
        )

    return read


def by_pillow(path: Path, opened: Film) -> Cells:
    """It spreads a sample of JPEG 2000 with more than 8 bits over 16."""
    with Image.open(io.BytesIO(opened.data)) as image:
        cells = np.asarray(image)
    declared = opened.data[42] + 1 if opened.data[:2] == b"\xff\x4f" else 8
    return (cells >> (16 - declared) if declared > 8 else cells).astype(cells.dtype)


def by_openjph(path: Path, opened: Film) -> Cells:
    return np.asarray(imagecodecs.htj2k_decode(opened.data))


def by_liblj92(path: Path, opened: Film) -> Cells:
    return np.asarray(imagecodecs.ljpeg_decode(opened.data))


def by_pydicom(path: Path, opened: Film) -> Cells:
    return np.asarray(dcmread(path).pixel_array)


OTHERS: dict[str, dict[str, Callable[[Path, Film], Cells]]] = {
    uid.RLELossless: {"dcmtk": by_dcmtk("dcmdrle"), "pydicom": by_pydicom},
    **{syntax: {"dcmtk": by_dcmtk("dcmdjpeg")} for syntax in JPEG},
    **{syntax: {"dcmtk": by_dcmtk("dcmdjpls")} for syntax in JPEG_LS},
    **{syntax: {"pillow": by_pillow} for syntax in J2K},
    **{syntax: {"pillow": by_pillow, "openjph": by_openjph} for syntax in HTJ2K},
}
OTHERS[uid.JPEGBaseline8Bit] |= {"pillow": by_pillow}
for lossless_jpeg in (uid.JPEGLossless, uid.JPEGLosslessSV1):
    OTHERS[lossless_jpeg] |= {"liblj92": by_liblj92}
CASES = [(syntax, other) for syntax in OTHERS for other in OTHERS[syntax]]


def test_no_compressed_transfer_syntax_is_without_a_second_decoder() -> None:
    assert set(OTHERS) == set(COMPRESSED)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(("syntax", "other"), CASES, ids=lambda value: getattr(value, "keyword", value))
def test_two_decoders_give_the_same_cells(tmp_path: Path, syntax: str, other: str, bits: int) -> None:
    if other == "dcmtk" and shutil.which("dcmdjpeg") is None:
        pytest.skip("Debian's dcmtk is not installed")
    if bits not in {uid.JPEGBaseline8Bit: (8,), uid.JPEGExtended12Bit: (12,)}.get(uid.UID(syntax), (8, 12, 16)):
        pytest.skip("this process has no such number of bits")
    cells = cells_of(bits)
    if syntax in LOSSY:  # what lies beyond BitsStored we hold to it, the others do not, and OpenJPH wraps it round
        cells = (cells * 0.8 + 0.1 * 2**bits).astype(cells.dtype)
    path = write_mammogram(tmp_path / "a.dcm", cells, syntax=syntax, bits=bits)
    opened = open_film(path)
    mine, theirs = ours(opened).astype(int), OTHERS[syntax][other](path, opened).astype(int)
    if syntax in LOSSLESS:
        np.testing.assert_array_equal(mine, cells)
    assert np.abs(mine - theirs).max() <= tolerance(
        "two decoders, lossy" if syntax in LOSSY else "two decoders, lossless"
    )


@needs_dcmtk
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_lossless_jpeg_of_dcmtk_is_decoded_with_every_predictor(tmp_path: Path, predictor: int, bits: int) -> None:
    """The seven of ITU-T T.81 table H.1; the first row and column are predicted otherwise, which some codecs forget."""
    cells = cells_of(bits)
    plain = write_mammogram(tmp_path / "plain.dcm", cells, bits=bits)
    coded = dcmtk("dcmcjpeg", plain, "+el", "+sv", str(predictor))
    assert open_film(coded).transfer_syntax == uid.JPEGLossless
    np.testing.assert_array_equal(ours(open_film(coded)), cells)


@needs_dcmtk
@pytest.mark.parametrize(
    ("encoder", "options", "bits", "syntax", "decoder"),
    [
        ("dcmcjpeg", ("+e1",), 12, uid.JPEGLosslessSV1, "dcmdjpeg"),
        ("dcmcjpeg", ("+eb",), 8, uid.JPEGBaseline8Bit, "dcmdjpeg"),
        ("dcmcjpeg", ("+ee",), 12, uid.JPEGExtended12Bit, "dcmdjpeg"),
        ("dcmcjpls", ("+el",), 12, uid.JPEGLSLossless, "dcmdjpls"),
        ("dcmcjpls", ("+el",), 16, uid.JPEGLSLossless, "dcmdjpls"),
        ("dcmcjpls", ("+en", "+md", "3"), 12, uid.JPEGLSNearLossless, "dcmdjpls"),
        ("dcmcrle", (), 8, uid.RLELossless, "dcmdrle"),
        ("dcmcrle", (), 16, uid.RLELossless, "dcmdrle"),
    ],
    ids=str,
)
def test_streams_of_dcmtk_are_decoded_as_dcmtk_decodes_them(
    tmp_path: Path, encoder: str, options: tuple[str, ...], bits: int, syntax: str, decoder: str
) -> None:
    cells = cells_of(bits)
    coded = dcmtk(encoder, write_mammogram(tmp_path / "plain.dcm", cells, bits=bits), *options)
    opened = open_film(coded)
    assert opened.transfer_syntax == syntax
    mine, theirs = ours(opened).astype(int), by_dcmtk(decoder)(coded, opened).astype(int)
    if syntax in LOSSLESS:
        np.testing.assert_array_equal(mine, cells)
    assert np.abs(mine - theirs).max() <= tolerance(
        "two decoders, lossy" if syntax in LOSSY else "two decoders, lossless"
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile_size": (40, 64)},
        {"progression": "CPRL", "precinct_size": (64, 64)},
        {"quality_mode": "rates", "quality_layers": [30, 8, 0], "num_resolutions": 4},
        {"irreversible": True, "codeblock_size": (16, 64)},
    ],
    ids=str,
)
def test_streams_of_pillow_are_decoded_as_pillow_decodes_them(tmp_path: Path, options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.fromarray(cells_of(16)).save(file, "JPEG2000", no_jp2=True, **options)
    frame = encapsulate([file.getvalue()])
    path = write_mammogram(tmp_path / "a.dcm", cells_of(16), syntax=uid.JPEG2000, bits=16, PixelData=frame)
    opened = open_film(path)
    np.testing.assert_array_equal(ours(opened), by_pillow(path, opened))


def test_a_decoder_that_is_wrong_would_be_noticed(tmp_path: Path) -> None:
    """The comparison itself: the stream of another picture does not pass for this one's."""
    path = write_mammogram(tmp_path / "a.dcm", cells_of(12), syntax=uid.JPEGLosslessSV1)
    other = open_film(write_mammogram(tmp_path / "b.dcm", cells_of(12, seed=4), syntax=uid.JPEGLosslessSV1))
    assert np.abs(ours(open_film(path)).astype(int) - by_liblj92(path, other)).max() > tolerance("two decoders, lossy")
