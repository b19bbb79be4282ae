"""JPEG 2000 and HTJ2K at 1/2^r of their size: the same stream under a header that declares only that much.

A stream that is ordered by resolution holds its lowest ones first, whole, and what follows refines them (T.800 B.12). A
decoder that is told of r levels less and of an image 2^r times smaller reads the first part and stops. Size (SIZ),
number of levels (COD) and list of step sizes (QCD) are all that changes. The result is bit for bit what OpenJPEG gives
for its own parameter `cp_reduce`, which imagecodecs does not offer; Pillow does, but keeps Python's lock meanwhile.
"""

import struct

from disasym.dicom.codestream import COD, SIZ, SOT, segments, tile_part_headers

_QCD, _CAP, _COM = 0xFF5C, 0xFF50, 0xFF64
_TLM, _PLM, _PLT = 0xFF55, 0xFF57, 0xFF58  # lengths of tile-parts and packets
_UNDERSTOOD = {SIZ, COD, _QCD, _CAP, _COM, _TLM, _PLM}  # what is missing here changes how packets are read
_LRCP, _RESOLUTION_FIRST = 0, {1, 2}  # RLCP, RPCL (T.800 table A.16)


def deepest(data: bytes) -> int:
    """The largest r for which `at_reduction` is right and gives what `disasym.lowpass` makes of the whole picture.

    0 for a stream in another order, with several tiles (each is filtered by itself) or with anything unusual in it.

    `data`: a codestream of one component whose length and tiling were checked (`codestream.py`).
    """
    found = dict(segments(data, 2, SOT))
    if not {SIZ, COD, _QCD} <= set(found) <= _UNDERSTOOD or _changes_by_tile(data):
        return 0
    order, layers, levels = struct.unpack_from(">BHxB", found[COD], 1)
    columns, rows, left, top, tile_columns, tile_rows, *tile_offset = struct.unpack_from(">8I", found[SIZ], 2)
    subsampling = found[SIZ][37:39]
    if order not in _RESOLUTION_FIRST and not (order == _LRCP and layers == 1):
        return 0
    if any((left, top, *tile_offset)) or subsampling != b"\x01\x01":
        return 0
    if len(found[_QCD]) < 1 + _steps(found[_QCD][0], levels):
        return 0
    return int(levels) if tile_columns >= columns and tile_rows >= rows else 0


def reversible(data: bytes) -> bool:
    """Whether the main header declares the reversible transform, 5-3 (T.800 table A.20)."""
    return any(marker == COD and body[9:10] == b"\x01" for marker, body in segments(data, 2, SOT))


def at_reduction(data: bytes, reduction: int) -> bytes:
    """The stream of the picture at 1/2^reduction of its size, each side rounded up; reduction ≤ `deepest`."""
    levels = dict(segments(data, 2, SOT))[COD][5] - reduction
    header, end = data[:2], 2
    for marker, body in segments(data, 2, SOT):
        end += 4 + len(body)
        if marker == SIZ:
            sizes = [-(-size // 2**reduction) for size in struct.unpack_from(">8I", body, 2)]
            body = body[:2] + struct.pack(">8I", *sizes) + body[34:]
        elif marker == COD:
            precincts = body[10 : 11 + levels]  # none, or one for each resolution, the lowest first
            body = body[:5] + bytes([levels]) + body[6:10] + precincts
        elif marker == _QCD:
            body = body[: 1 + _steps(body[0], levels)]
        if marker not in (_TLM, _PLM):
            header += struct.pack(">HH", marker, 2 + len(body)) + body
    return b"".join((header, memoryview(data)[end:]))  # copied once


def _steps(style: int, levels: int) -> int:
    """Bytes of the step sizes of a QCD segment (T.800 table A.27): one for LL and three a level, or one for all."""
    kind = style & 31
    return 2 if kind == 1 else (1 + 3 * levels) * (1 if kind == 0 else 2)


def _changes_by_tile(data: bytes) -> bool:
    """Whether a tile-part says otherwise than the main header of order, levels or steps."""
    return any(marker not in (_COM, _PLT) for marker, _ in tile_part_headers(data))
