"""What a compressed stream says of itself, read from its own header: kind, size, components, bits.

A decoder allocates what the stream asks for, whatever the DICOM header says, so this is compared first.
A stream cut short has no end marker; JPEG 2000 also states the length of its parts. Neither family carries a check
sum, so a flipped bit inside the coded samples changes the picture without a word, in any decoder.
JPEG: ITU-T T.81 annex B; JPEG-LS: T.87 annex C; JPEG 2000: T.800 annex A; HTJ2K: T.814 annex A.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from disasym.errors import ImageError

LOSSLESS = (0xC3,)  # start-of-frame markers
DCT = (0xC0, 0xC1)  # baseline, extended sequential
JPEG_LS = (0xF7,)
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_BOX_SIGNATURE = b"\x00\x00\x00\x0cjP  "
SOT, SOD, SIZ, COD, COC = 0xFF90, 0xFF93, 0xFF51, 0xFF52, 0xFF53  # markers of JPEG 2000
_MAX_PARTS = 150_000  # a decoder keeps some 2 kB for each; a film in tiles or precincts of 64 × 64 has 20,000
_MAX_BLOCKS = 2_000_000  # code-blocks, some 300 bytes each


@dataclass(frozen=True)
class Stream:
    """A compressed stream and its own account of itself."""

    data: bytes
    rows: int
    columns: int
    components: int
    bits: int  # of a sample
    signed: bool = False  # JPEG 2000 alone can say so


def parse_jpeg(data: bytes, frame_markers: tuple[int, ...]) -> Stream:
    """Read the frame header of a JPEG or JPEG-LS stream.

    Raises:
        ImageError: not such a stream, another process than `frame_markers`, or no end marker.
    """
    if data[:2] != b"\xff\xd8":
        raise ImageError("the stream does not begin as JPEG does: it is damaged, or its transfer syntax is wrong")
    _check_end(data)
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAME_MARKERS:
            if marker not in frame_markers:
                raise ImageError(f"a JPEG process of another transfer syntax (marker FF{marker:02X})")
            if at + 10 > len(data):
                break
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
            return Stream(data, rows, columns, components, bits)
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise ImageError("damaged: the JPEG stream has no frame header")


def parse_j2k(data: bytes, high_throughput: bool) -> Stream:
    """Read the SIZ segment of a JPEG 2000 codestream, taking it out of a JP2 file where someone wrapped it.

    Raises:
        ImageError: not such a stream, HTJ2K where plain JPEG 2000 is declared or the reverse, or no end marker.
    """
    if data[: len(_BOX_SIGNATURE)] == _BOX_SIGNATURE:
        data = _unwrap(data)
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 44:
        raise ImageError("the stream does not begin as JPEG 2000 does: it is damaged, or its transfer syntax is wrong")
    _check_end(data)
    _check_tile_parts(data)
    capabilities, *sizes, components, depth = struct.unpack_from(">H8IHB", data, 6)
    x, y, x_offset, y_offset, tile_x, tile_y, _, _ = sizes
    if bool(capabilities & 0x4000) != high_throughput:
        raise ImageError("HTJ2K and JPEG 2000 are mixed up between the stream and its transfer syntax")
    if not tile_x or not tile_y:
        raise ImageError("damaged: the JPEG 2000 stream declares tiles without a size")
    _check_parts(data, x, y, -(-x // tile_x) * -(-y // tile_y))
    return Stream(data, y - y_offset, x - x_offset, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def segments(data: bytes, at: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment of a JPEG 2000 header from `at` up to the marker `stop`."""
    while at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == stop:
            return
        yield marker, data[at + 4 : at + 2 + max(2, length)]
        at += 2 + max(2, length)


def tile_part_headers(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment in the headers of the tile-parts."""
    at = 2 + sum(4 + len(body) for _, body in segments(data, 2, SOT))
    while data[at : at + 2] == b"\xff\x90" and at + 12 <= len(data):
        yield from segments(data, at + 12, SOD)
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if length == 0:  # the last one
            return
        at += max(12, length)


def _check_parts(data: bytes, width: int, height: int, tiles: int) -> None:
    """Tiles, precincts and code-blocks are kept one by one: 421 bytes that declare precincts of one pixel took 7 GB."""
    main = list(segments(data, 2, SOT))
    coded = [(body[0], body[5:]) for marker, body in (*main, *tile_part_headers(data)) if marker == COD and body]
    coded += [(body[1], body[2:]) for marker, body in (*main, *tile_part_headers(data)) if marker == COC and body[1:]]
    if COD not in dict(main) or any(len(how) < 5 or how[0] > 32 for _, how in coded):
        raise ImageError("damaged: the JPEG 2000 stream does not say how it is coded")
    for style, how in coded:
        parts, levels = tiles * (how[0] + 1), how[0]
        for resolution, size in enumerate(how[5 : 6 + levels] if style & 1 else b""):
            columns, rows = (-(-side // 2 ** (levels - resolution)) for side in (width, height))
            parts += -(-columns // 2 ** (size & 15)) * -(-rows // 2 ** (size >> 4))
        blocks = width * height // 2 ** ((how[1] & 15) + (how[2] & 15) + 4)
        if parts > _MAX_PARTS or blocks > _MAX_BLOCKS:
            raise ImageError(
                "the JPEG 2000 stream declares more tiles, precincts or code-blocks than a film has: refused"
            )


def _check_end(data: bytes) -> None:
    """Both families end with FFD9; a fragment may add padding to an even length."""
    if not data[-64:].rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ImageError("truncated: the compressed stream has no end marker")


def _check_tile_parts(data: bytes) -> None:
    """Walk the tile-parts by their lengths (Psot) up to the end marker: a cut stream decodes without any complaint."""
    at, marker = 2, 0
    while at + 12 <= len(data) and (marker := int.from_bytes(data[at : at + 2], "big")) != 0xFF90:
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))  # main header, up to the first SOT
    while marker == 0xFF90 and at + 12 <= len(data):
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if length == 0:  # the last tile-part: up to the end marker
            return
        at += max(12, length)
        marker = int.from_bytes(data[at : at + 2], "big")
    if marker != 0xFFD9 or at + 2 > len(data):
        raise ImageError("truncated: the tile-parts of the JPEG 2000 stream are not all there")


def _unwrap(data: bytes) -> bytes:
    """The contiguous codestream box of a JP2 file (T.800 annex I)."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"jp2c":
            return data[at + 8 :] if length == 0 else data[at + 8 : at + length]
        if length < 8:
            break
        at += length
    raise ImageError("damaged: the JP2 wrapper holds no codestream")
