"""The pixel matrix that a header declares, checked against limits and against the bytes present, before any decode.

Image Pixel Module: PS3.3 C.7.6.3. Bits within a cell: PS3.5 8.1.
"""

from dataclasses import dataclass

from pydicom.uid import UID, UncompressedTransferSyntaxes

from disasym.dicom.reader import DicomFile, PixelElement, Skip
from disasym.dicom.tags import Tags
from disasym.errors import ImageError

MAX_PIXELS = 100_000_000  # the largest mammograms, film scanned at 43 µm, have 40 million
MIN_BITS = 8
HEADERS = 1 << 16  # bytes of a stream that are no pixels, comments and tables
MOST_GROWTH = 2  # times the pixels: no encoder makes noise larger than that
INTEGER_PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True)
class Matrix:
    """How the single grey frame is stored."""

    rows: int
    columns: int
    bits_allocated: int  # 8 or 16
    bits_stored: int
    high_bit: int
    signed: bool
    monochrome1: bool

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def frame_bytes(self) -> int:
        return self.pixels * self.bits_allocated // 8


def read_matrix(file: DicomFile) -> Matrix:
    """Read and check what the header declares; the bytes of the pixels are left to `frame_of`. Allocates nothing.

    Raises:
        Skip: no image, several frames, or colour.
        ImageError: contradictory, damaged or too large.
    """
    tags = file.tags
    if file.pixel_header and file.pixel_header[0] != INTEGER_PIXEL_DATA:
        raise Skip("floating-point pixel data: not a mammogram as acquired")
    frames = int(tags.number("NumberOfFrames", 1))
    if frames > 1:
        raise Skip(f"{frames} frames: a tomosynthesis volume or a series, not a single mammogram")
    if (samples := tags.integer("SamplesPerPixel")) not in (None, 1):
        raise Skip(f"{samples} samples a pixel: a colour image, not a mammogram")
    photometric = tags.first("PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Skip("PhotometricInterpretation is neither MONOCHROME1 nor MONOCHROME2: not a grey image")
    matrix = Matrix(
        rows=_required(tags, "Rows"),
        columns=_required(tags, "Columns"),
        bits_allocated=_required(tags, "BitsAllocated"),
        bits_stored=_required(tags, "BitsStored"),
        high_bit=_high_bit(tags),
        signed=tags.integer("PixelRepresentation") == 1,
        monochrome1=photometric == "MONOCHROME1",
    )
    if matrix.bits_stored < MIN_BITS:
        raise Skip(f"{matrix.bits_stored} bits a pixel: a drawing or a mask, not a mammogram")
    _check(matrix)
    return matrix


def frame_of(file: DicomFile, matrix: Matrix) -> PixelElement:
    """Where the frame lies in the file, which was looked at: all its bytes are there, as many as `matrix` needs.

    Raises:
        ImageError: absent, truncated, or not as many.
    """
    pixels = file.locate_pixels()
    _check_bytes(matrix, pixels, file.transfer_syntax)
    return pixels


def _required(tags: Tags, keyword: str) -> int:
    value = tags.integer(keyword)
    if not value:
        raise ImageError(f"damaged: {keyword} is absent or 0")
    return value


def _high_bit(tags: Tags) -> int:
    value = tags.integer("HighBit")
    return _required(tags, "BitsStored") - 1 if value is None else value


def _check(matrix: Matrix) -> None:
    if matrix.pixels > MAX_PIXELS:
        raise ImageError(
            f"declares {matrix.columns}×{matrix.rows} pixels, over the limit of {MAX_PIXELS}: refused before decoding"
        )
    if matrix.bits_allocated not in (8, 16):
        raise ImageError(f"BitsAllocated is {matrix.bits_allocated}: mammograms are read with 8 or 16")
    if not matrix.bits_stored - 1 <= matrix.high_bit < matrix.bits_allocated:
        raise ImageError(
            f"BitsStored {matrix.bits_stored} and HighBit {matrix.high_bit} do not fit "
            f"BitsAllocated {matrix.bits_allocated}"
        )


def _check_bytes(matrix: Matrix, pixels: PixelElement, transfer_syntax: str) -> None:
    native = UID(transfer_syntax) in UncompressedTransferSyntaxes
    if pixels.encapsulated == native:
        has = "is compressed" if native else "is not compressed"
        raise ImageError(f"the pixel data {has}, against the transfer syntax {transfer_syntax}")
    if native and pixels.length not in (matrix.frame_bytes, matrix.frame_bytes + matrix.frame_bytes % 2):
        raise ImageError(
            f"{matrix.columns}×{matrix.rows} pixels of {matrix.bits_allocated} bits need {matrix.frame_bytes} bytes "
            f"and the pixel data has {pixels.length}"
        )
    if pixels.encapsulated and pixels.length > MOST_GROWTH * matrix.frame_bytes + HEADERS:
        raise ImageError(
            f"{pixels.length} compressed bytes for {matrix.frame_bytes} bytes of pixels: refused before they are read"
        )
    if not pixels.length:
        raise ImageError("the pixel data is empty")
