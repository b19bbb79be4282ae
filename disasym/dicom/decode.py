"""One frame's bytes → its stored cells. One decoder for each transfer syntax, and never another one instead.

A compressed stream states its own size: it must agree with the header before the decoder sees it (`codestream.py`).
JPEG 2000 and HTJ2K can also be decoded at 1/2^r of their size (`resolutions.py`): to the same cells as the low-pass
filter of `disasym.lowpass` makes of all of them, which `reduced` does for every other syntax.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid

from disasym.dicom.codestream import DCT, JPEG_LS, LOSSLESS, Stream, parse_j2k, parse_jpeg
from disasym.dicom.matrix import Matrix
from disasym.dicom.resolutions import at_reduction, deepest, reversible
from disasym.errors import ImageError
from disasym.lowpass import low_pass

Cells = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]  # [rows, columns], the bits as stored
Decoder = Callable[[bytes, Matrix], npt.NDArray[np.generic]]


def decode(transfer_syntax: str, data: bytes, matrix: Matrix, word_vr: bool = False) -> Cells:
    """Decode one frame to unsigned cells [rows, columns].

    `word_vr`: the element is OW, which matters to 8-bit samples in a big-endian file (PS3.5 8.1.1 note).

    Raises:
        ImageError: unknown transfer syntax, a stream that contradicts it or the header, or a damaged stream.
    """
    if transfer_syntax == uid.ExplicitVRBigEndian:
        return _big_endian(data, matrix, word_vr)
    decoder = DECODERS.get(transfer_syntax)
    if decoder is None:
        raise ImageError(f"the transfer syntax {transfer_syntax} is not one that is read: {', '.join(DECODERS)}")
    if transfer_syntax not in uid.UncompressedTransferSyntaxes and matrix.high_bit != matrix.bits_stored - 1:
        raise ImageError(f"HighBit {matrix.high_bit} with BitsStored {matrix.bits_stored} in a compressed frame")
    cells = _caught(lambda: decoder(data, matrix), transfer_syntax)
    return _as_declared(cells, matrix.rows, matrix.columns)


def decode_reduced(transfer_syntax: str, data: bytes, matrix: Matrix, reduction: int) -> Cells:
    """Decode one frame at 1/2^reduction of its size, reduction from 1 to `deepest_reduction`.

    Returns unsigned cells [ceil(rows / 2^reduction), ceil(columns / 2^reduction)] of BitsStored bits: the filter can
    reach beyond the range of what is stored, and is held to it.

    Raises:
        ImageError: as `decode`. Damage in what is not needed for this size stays unseen.
    """
    stream = _j2k_stream(transfer_syntax, data, matrix)
    cells = _caught(lambda: _openjpeg(at_reduction(stream.data, reduction)), transfer_syntax)
    rows, columns = (-(-size // 2**reduction) for size in (matrix.rows, matrix.columns))
    return _as_declared(_held(cells, matrix), rows, columns)


def reduced(cells: Cells, matrix: Matrix, reduction: int) -> Cells:
    """What `decode_reduced` gives, made of all `cells` of the frame: uint16, of which BitsStored count."""
    values: npt.NDArray[Any] = cells
    spare = 8 * cells.itemsize - matrix.bits_stored
    if spare or matrix.signed:  # bits outside of BitsStored may hold an overlay, or anything
        aligned = cells << (8 * cells.itemsize - 1 - matrix.high_bit)
        values = aligned.view(f"i{cells.itemsize}" if matrix.signed else aligned.dtype) >> spare
    smaller = _held(low_pass(values, reduction, matrix.bits_stored), matrix)
    patterns: npt.NDArray[np.uint16] = smaller.astype(np.int32).astype(np.uint16)  # two's complement
    return patterns << np.uint16(matrix.high_bit + 1 - matrix.bits_stored)


def deepest_reduction(transfer_syntax: str, data: bytes, matrix: Matrix) -> int:
    """The largest reduction that `decode_reduced` takes for this frame; 0 where it must be decoded whole.

    Whole: what is not JPEG 2000 or HTJ2K, or not by a lossless transfer syntax, whose filter may be another one and
    whose noise is cut off at black before it is averaged; a stream in which the lower resolutions do not come first, or
    with tiles, each of which is filtered by itself; one that keeps signed pixels as unsigned ones, or has fewer bits
    than BitsStored and is held to another range.

    Raises:
        ImageError: the stream contradicts its transfer syntax or the header.
    """
    if transfer_syntax not in RESOLUTIONS:
        return 0
    stream = _j2k_stream(transfer_syntax, data, matrix)
    alike = stream.signed == matrix.signed and stream.bits >= matrix.bits_stored == matrix.high_bit + 1
    return deepest(stream.data) if alike and reversible(stream.data) else 0


def _j2k_stream(transfer_syntax: str, data: bytes, matrix: Matrix) -> Stream:
    return _checked(parse_j2k(data, high_throughput=RESOLUTIONS[transfer_syntax]), matrix)


def _caught(decoder: Callable[[], npt.NDArray[np.generic]], transfer_syntax: str) -> npt.NDArray[np.generic]:
    try:
        return decoder()
    except (ValueError, RuntimeError) as error:  # what imagecodecs raises for a damaged stream
        kind = type(error).__name__
        raise ImageError(f"damaged: the {uid.UID(transfer_syntax).name} stream cannot be decoded ({kind})") from None


def _held(cells: npt.NDArray[Any], matrix: Matrix) -> npt.NDArray[np.generic]:
    """`cells` within the range of BitsStored: beyond it, the bits that count would say black where white was meant."""
    count, kind = 2**matrix.bits_stored, np.iinfo(cells.dtype)
    low, high = (-count // 2, count // 2 - 1) if matrix.signed else (0, count - 1)
    if kind.min >= low and kind.max <= high:
        return cells
    held = cells if cells.flags.writeable else cells.copy()  # as decoded: nobody else has it
    if kind.min >= low:  # against a row of the limit NumPy takes a quarter of the time that it takes against a number
        np.minimum(held, np.full(held.shape[-1], high, held.dtype), out=held)
    else:
        np.clip(held, max(low, kind.min), min(high, kind.max), out=held)
    return held


def _as_declared(cells: npt.NDArray[np.generic], rows: int, columns: int) -> Cells:
    if cells.shape != (rows, columns) or cells.dtype.kind not in "ui" or cells.dtype.itemsize > 2:
        raise ImageError(
            f"the header declares {rows}×{columns} and the stream decodes to "
            f"{'×'.join(map(str, cells.shape))} of {cells.dtype}"
        )
    return cells.view(np.uint8) if cells.dtype.itemsize == 1 else cells.view(np.uint16)


def _native(data: bytes, matrix: Matrix) -> npt.NDArray[np.generic]:
    cells = np.frombuffer(data, "<u2" if matrix.bits_allocated == 16 else "u1", matrix.pixels)
    return cells.reshape(matrix.rows, matrix.columns)


def _big_endian(data: bytes, matrix: Matrix, word_vr: bool) -> Cells:
    if matrix.bits_allocated == 8 and not word_vr:
        return np.frombuffer(data, np.uint8, matrix.pixels).reshape(matrix.rows, matrix.columns)
    words = np.frombuffer(data, ">u2").astype("<u2")
    return words.view("<u2" if matrix.bits_allocated == 16 else "u1")[: matrix.pixels].reshape(
        matrix.rows, matrix.columns
    )


def _rle(data: bytes, matrix: Matrix) -> npt.NDArray[np.generic]:
    """PS3.5 annex G: one PackBits segment a byte of the cell, most significant first."""
    import imagecodecs

    segments = int.from_bytes(data[:4], "little")
    if segments != matrix.bits_allocated // 8:
        raise ImageError(f"the RLE stream has {segments} segments and {matrix.bits_allocated} bits need one a byte")
    plain = imagecodecs.dicomrle_decode(data, np.dtype(f"<u{segments}"), out=matrix.frame_bytes)
    if len(plain) != matrix.frame_bytes:
        raise ImageError(f"the RLE stream holds {len(plain)} bytes and the header declares {matrix.frame_bytes}")
    return _native(bytes(plain), matrix)


def _jpeg_dct(data: bytes, matrix: Matrix) -> npt.NDArray[np.generic]:
    """Baseline (8 bits) and extended (8 or 12 bits), libjpeg-turbo."""
    import imagecodecs

    return _array(imagecodecs.jpeg8_decode(_checked(parse_jpeg(data, DCT), matrix).data))


def _jpeg_lossless(data: bytes, matrix: Matrix) -> npt.NDArray[np.generic]:
    """Lossless, any predictor, 2 to 16 bits, libjpeg-turbo 3."""
    import imagecodecs

    return _array(imagecodecs.jpeg8_decode(_checked(parse_jpeg(data, LOSSLESS), matrix).data))


def _jpeg_ls(data: bytes, matrix: Matrix) -> npt.NDArray[np.generic]:
    """Lossless and near-lossless, CharLS."""
    import imagecodecs

    return _array(imagecodecs.jpegls_decode(_checked(parse_jpeg(data, JPEG_LS), matrix).data))


def _jpeg_2000(data: bytes, matrix: Matrix) -> npt.NDArray[np.generic]:
    return _openjpeg(_checked(parse_j2k(data, high_throughput=False), matrix).data)


def _htj2k(data: bytes, matrix: Matrix) -> npt.NDArray[np.generic]:
    """OpenJPEG too: OpenJPH, twice as fast at full size, crashes the process on damaged streams (docs/log.md)."""
    return _openjpeg(_checked(parse_j2k(data, high_throughput=True), matrix).data)


def _lossy(decoder: Decoder) -> Decoder:
    """For a process that changes values: beyond their range, too, where the stream has more bits than BitsStored."""

    def decode_and_hold(data: bytes, matrix: Matrix) -> npt.NDArray[np.generic]:
        return _held(decoder(data, matrix), matrix)

    return decode_and_hold


def _openjpeg(data: bytes) -> npt.NDArray[np.generic]:
    """OpenJPEG ≥ 2.5 with one thread: files are what runs in parallel."""
    import imagecodecs

    return _array(imagecodecs.jpeg2k_decode(data, numthreads=1))


def _checked(stream: Stream, matrix: Matrix) -> Stream:
    """The stream, once it agrees with the header."""
    if (stream.rows, stream.columns, stream.components) != (matrix.rows, matrix.columns, 1):
        raise ImageError(
            f"the header declares {matrix.columns}×{matrix.rows}×1 and the stream "
            f"{stream.columns}×{stream.rows}×{stream.components}: one of them lies"
        )
    if stream.bits > matrix.bits_allocated:
        raise ImageError(f"the stream has {stream.bits} bits a sample and BitsAllocated is {matrix.bits_allocated}")
    if matrix.signed and stream.bits < matrix.bits_stored:
        raise ImageError(f"signed pixels of {matrix.bits_stored} bits in a stream of {stream.bits}: the sign is lost")
    return stream


def _array(decoded: object) -> npt.NDArray[np.generic]:
    return np.asarray(decoded)


DECODERS: dict[str, Decoder] = {
    uid.ImplicitVRLittleEndian: _native,
    uid.ExplicitVRLittleEndian: _native,
    uid.DeflatedExplicitVRLittleEndian: _native,  # the data set is deflated, not the frame
    uid.RLELossless: _rle,
    uid.JPEGBaseline8Bit: _jpeg_dct,
    uid.JPEGExtended12Bit: _jpeg_dct,
    uid.JPEGLossless: _jpeg_lossless,
    uid.JPEGLosslessSV1: _jpeg_lossless,
    uid.JPEGLSLossless: _jpeg_ls,
    uid.JPEGLSNearLossless: _lossy(_jpeg_ls),
    uid.JPEG2000Lossless: _jpeg_2000,
    uid.JPEG2000: _lossy(_jpeg_2000),
    uid.HTJ2KLossless: _htj2k,
    uid.HTJ2KLosslessRPCL: _htj2k,
    uid.HTJ2K: _lossy(_htj2k),
}

# Which of them hold the lower resolutions of every pixel as it was, and whether by HTJ2K.
RESOLUTIONS: dict[str, bool] = {
    uid.JPEG2000Lossless: False,
    uid.HTJ2KLossless: True,
    uid.HTJ2KLosslessRPCL: True,
}
