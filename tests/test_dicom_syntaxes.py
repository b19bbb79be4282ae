"""Every transfer syntax, and every way in which a file can lie about its pixels or be cut."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from dicom_files import LOSSLESS, LOSSY, breast, encode, lut, write_mammogram
from disasym.dicom import read_pixels
from disasym.dicom.matrix import MAX_PIXELS
from disasym.errors import ImageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: uid.UID(syntax).keyword)
def test_every_lossless_transfer_syntax_gives_the_same_pixels(tmp_path: Path, syntax: str, bits: int) -> None:
    cells = breast(peak=2**bits - 20).astype(np.uint8 if bits == 8 else np.uint16)
    native = read_pixels(write_mammogram(tmp_path / "native.dcm", cells, bits=bits))
    coded = read_pixels(write_mammogram(tmp_path / "coded.dcm", cells, bits=bits, syntax=syntax))
    np.testing.assert_array_equal(coded, native)


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda syntax: uid.UID(syntax).keyword)
def test_every_lossy_transfer_syntax_gives_nearly_the_same_pixels(tmp_path: Path, syntax: str) -> None:
    bits = 8 if syntax == uid.JPEGBaseline8Bit else 12
    cells = breast(peak=2**bits - 20).astype(np.uint8 if bits == 8 else np.uint16)
    window = {"WindowCenter": str(2 ** (bits - 1)), "WindowWidth": str(2**bits)}
    native = read_pixels(write_mammogram(tmp_path / "native.dcm", cells, bits=bits, **window))
    coded = read_pixels(write_mammogram(tmp_path / "coded.dcm", cells, bits=bits, syntax=syntax, **window))
    assert np.abs(coded - native).max() < 0.05


def test_signed_pixels_survive_compression(tmp_path: Path) -> None:
    cells = (breast().astype(np.int16) - 2000).view(np.uint16)
    native = read_pixels(write_mammogram(tmp_path / "a.dcm", cells, PixelRepresentation=1))
    for syntax in (uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless):
        coded = write_mammogram(tmp_path / "b.dcm", cells, syntax=syntax, bits=16, PixelRepresentation=1)
        np.testing.assert_array_equal(read_pixels(coded), native)


def test_a_frame_in_several_fragments_is_joined(tmp_path: Path) -> None:
    frame = bytes(imagecodecs.jpegls_encode(breast()))
    split = encapsulate([frame], fragments_per_frame=3)
    path = write_mammogram(tmp_path / "a.dcm", syntax=uid.JPEGLSLossless, PixelData=split)
    np.testing.assert_array_equal(read_pixels(path), read_pixels(write_mammogram(tmp_path / "b.dcm")))


# What must be refused, in one sentence


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Rows": 40000, "Columns": 40000}, f"40000×40000 pixels, over the limit of {MAX_PIXELS}"),
        ({"Rows": 41}, "need 1968 bytes and the pixel data has 1920"),
        ({"Rows": 20}, "need 960 bytes and the pixel data has 1920"),
        ({"BitsStored": 17}, "do not fit BitsAllocated 16"),
        ({"HighBit": 5}, "do not fit BitsAllocated 16"),
        ({"BitsAllocated": 32}, "BitsAllocated is 32"),
        ({"Columns": 0}, "Columns is absent or 0"),
        ({"Rows": None}, "Rows is absent or 0"),
        ({"PixelData": None}, "no pixel data"),
        ({"NumberOfFrames": "60"}, "60 frames"),
        ({"PhotometricInterpretation": "RGB"}, "not a grey image"),
        ({"SamplesPerPixel": 3}, "3 samples a pixel"),
        ({"RescaleSlope": "0"}, "RescaleSlope is 0"),
        ({"WindowCenter": "10"}, "a centre or a width, not both"),
        ({"WindowCenter": "10", "WindowWidth": "0"}, "WindowWidth 0 is too small for LINEAR"),
        ({"WindowCenter": "10", "WindowWidth": "5", "VOILUTFunction": "SQUARE"}, "none of LINEAR"),
        ({"VOILUTSequence": lut(0, [1, 2, 3], bits=40)}, "VOILUTSequence declares 3 entries of 40 bits"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_header_that_cannot_be_followed_is_refused(path: Path, tags: dict[str, Any], words: str) -> None:
    write_mammogram(path, **tags)
    with pytest.raises(ImageError, match=words) as caught:
        read_pixels(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("syntax", LOSSLESS[4:], ids=lambda syntax: uid.UID(syntax).keyword)
def test_a_compressed_stream_of_another_size_is_refused(path: Path, syntax: str) -> None:
    """A bomb in the stream, not in the header: the decoder would allocate what the stream asks for."""
    write_mammogram(path, syntax=syntax, bits=16, PixelData=encode(breast(80, 24), syntax, 16))
    with pytest.raises(ImageError, match=r"declares|damaged"):
        read_pixels(path)


@pytest.mark.parametrize("written", LOSSLESS, ids=lambda syntax: uid.UID(syntax).keyword)
@pytest.mark.parametrize("claimed", LOSSLESS[4:], ids=lambda syntax: uid.UID(syntax).keyword)
def test_a_file_that_lies_about_its_transfer_syntax_is_refused_or_right(path: Path, written: str, claimed: str) -> None:
    data = encode(breast(), written, 16)
    if not uid.UID(written).is_encapsulated:
        data = encapsulate([data])
    write_mammogram(path, syntax=claimed, bits=16, PixelData=data)
    alike = [{uid.JPEGLossless, uid.JPEGLosslessSV1}, {uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL}]
    if written == claimed or {written, claimed} in alike:
        assert read_pixels(path).max() == 1
    else:
        with pytest.raises(ImageError):
            read_pixels(path)


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY], ids=lambda syntax: uid.UID(syntax).keyword)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
def test_a_truncated_file_is_refused(path: Path, syntax: str, share: float) -> None:
    cells = breast().astype(np.uint8 if syntax == uid.JPEGBaseline8Bit else np.uint16)
    write_mammogram(path, cells, syntax=syntax, bits=8 if cells.itemsize == 1 else 12)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"DICOM|truncated|damaged|no pixel data"):
        read_pixels(path)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.HTJ2KLossless])
def test_a_codestream_cut_inside_a_whole_file_is_refused(path: Path, syntax: str) -> None:
    write_mammogram(path, syntax=syntax, bits=16)
    frame = _frames(path)[0]
    write_mammogram(path, syntax=syntax, bits=16, PixelData=encapsulate([frame[: len(frame) // 2] + b"\xff\xd9"]))
    with pytest.raises(ImageError, match="tile-parts"):
        read_pixels(path)


def test_damaged_htj2k_streams_are_refused_and_do_not_crash(path: Path) -> None:
    """Streams on which OpenJPH took the process down, or left the missing rows black without an error."""
    cells = breast(64, 48)
    frame = _frames(write_mammogram(path, cells, syntax=uid.HTJ2KLossless, bits=16))[0]
    refused = 0
    for at in range(len(frame) // 8, len(frame) - 8, 11):
        damaged = frame[:at] + bytes([frame[at] ^ 0xFF, frame[at + 1] ^ 0xFF]) + frame[at + 2 :]
        write_mammogram(path, cells, syntax=uid.HTJ2KLossless, bits=16, PixelData=encapsulate([damaged]))
        try:
            read_pixels(path)
        except ImageError:
            refused += 1
    assert refused


def test_an_unknown_transfer_syntax_is_refused_by_its_uid(path: Path) -> None:
    write_mammogram(path, syntax=uid.JPEGLSLossless)
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.55"))
    with pytest.raises(ImageError, match=r"1\.2\.840\.10008\.1\.2\.4\.55 is not one that is read"):
        read_pixels(path)


def test_a_deflated_bomb_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disasym.dicom.reader.MAX_INFLATED", 4096)
    write_mammogram(path, breast(200, 100), syntax=uid.DeflatedExplicitVRLittleEndian)
    with pytest.raises(ImageError, match="grows beyond 4096 bytes"):
        read_pixels(path)


def test_a_text_file_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("not an image")
    (tmp_path / "b").write_bytes(b"")
    with pytest.raises(ImageError, match="not a DICOM file"):
        read_pixels(tmp_path / "a.txt")
    with pytest.raises(ImageError, match="empty"):
        read_pixels(tmp_path / "b")
    with pytest.raises(ImageError, match="cannot be read"):
        read_pixels(tmp_path / "absent.dcm")


def _frames(path: Path) -> list[bytes]:
    from pydicom.encaps import generate_frames

    return list(generate_frames(dcmread(path).PixelData, number_of_frames=1))


# Bombs: a few bytes that ask for much


def j2k(**changes: bytes) -> bytes:
    """A small JPEG 2000 stream under a header of a film of 4096 × 3328, with parts of its SIZ and COD changed."""
    data = bytearray(imagecodecs.jpeg2k_encode(breast(64, 64), codecformat="j2k", reversible=True))
    size = struct.pack(">4I", 3328, 4096, 0, 0)
    data[8:24] = changes.get("size", size)
    data[24:32] = changes.get("tile", size[:8])
    at = data.index(b"\xff\x52")
    data[at + 10 : at + 12] = changes.get("block", bytes(data[at + 10 : at + 12]))
    if precinct := changes.get("precinct"):
        levels = data[at + 9]
        data[at + 4] |= 1
        data[at + 2 : at + 4] = (13 + levels).to_bytes(2, "big")
        data[at + 14 : at + 14] = precinct * (levels + 1)
    if coc := changes.get("component"):
        data[at:at] = b"\xff\x53" + (2 + len(coc)).to_bytes(2, "big") + coc
    return bytes(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"tile": struct.pack(">2I", 16, 16)},
        {"tile": struct.pack(">2I", 0, 16)},
        {"precinct": b"\x00"},
        {"precinct": b"\x11"},
        {"block": b"\x00\x00", "size": struct.pack(">4I", 9000, 9000, 0, 0), "tile": struct.pack(">2I", 9000, 9000)},
        {"component": b"\x00\x01\x01\x04\x04\x00\x01\x00\x00"},
    ],
    ids=str,
)
def test_a_jpeg_2000_stream_of_countless_parts_is_refused_before_it_is_decoded(
    path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, bytes]
) -> None:
    """With precincts of one pixel, 421 bytes made OpenJPEG take 7 GB."""
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda *_, **__: pytest.fail("the decoder saw it"))
    stream = j2k(**changes)
    rows, columns = (int.from_bytes(stream[at : at + 4], "big") for at in (12, 8))
    write_mammogram(path, syntax=uid.JPEG2000Lossless, PixelData=encapsulate([stream]), Rows=rows, Columns=columns)
    with pytest.raises(ImageError, match=r"than a film has: refused|tiles without a size"):
        read_pixels(path)


def test_more_compressed_bytes_than_pixels_could_need_are_not_read(path: Path) -> None:
    write_mammogram(path, syntax=uid.JPEGLSLossless, PixelData=encapsulate([bytes(300_000)]))
    with pytest.raises(ImageError, match="refused before they are read"):
        read_pixels(path)


def test_noise_which_no_encoder_can_shrink_is_read(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (700, 500)).astype(np.uint16)
    for syntax in (uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless, uid.HTJ2KLossless):
        write_mammogram(path, noise, syntax=syntax, bits=16)
        assert read_pixels(path).max() == 1
