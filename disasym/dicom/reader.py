"""Opens a DICOM file: its tags as plain values, and where its pixel data lies. Nothing is decoded here.

pydicom walks the file (PS3.5, PS3.10); values are taken from its raw elements. Its own conversion of a value warns
about odd files, and such a warning can quote the value: a name in a log.
"""

import io
import logging
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from disasym.dicom.tags import Tags
from disasym.errors import ImageError

MAX_INFLATED = 256 * 2**20  # bytes: a deflated data set may not grow beyond this; the largest film is under 200 MiB
MAX_FRAGMENTS = 100_000  # one mammogram is one frame, and its encoder writes one or a few fragments
HEAD = 64 * 1024  # bytes read at once: more than what stands before the pixels of most films
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double and integer pixel data
UNDEFINED = 0xFFFFFFFF

_quiet_lock = threading.Lock()


class Skip(Exception):  # noqa: N818 - a rule of selection, not an error: nothing is wrong with the file
    """This file is not used, by rule. `reason` is one sentence without any patient data."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class PixelElement:
    """Where the bytes of the single frame lie in the stream: (offset, length) of each fragment, one if native."""

    tag: int
    encapsulated: bool
    word_vr: bool  # OW: 8-bit samples of a big-endian file lie in 16-bit words
    fragments: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        return sum(length for _, length in self.fragments)


@dataclass(frozen=True)
class DicomFile:
    """An open file: valid only inside `open_dicom`."""

    transfer_syntax: str
    tags: Tags
    stream: BinaryIO
    pixel_header: tuple[int, str | None, int, int] | None  # tag, VR, declared length, offset of the value

    def locate_pixels(self) -> PixelElement:
        """Find the bytes of the pixel data and check that the file holds all of them.

        Raises:
            ImageError: absent or truncated.
        """
        if self.pixel_header is None:
            raise ImageError("no pixel data: the file is truncated, or was exported without its image")
        return _locate(self.stream, *self.pixel_header)

    def read_pixels(self, pixels: PixelElement) -> bytes:
        """The bytes of the frame, fragments joined (PS3.5 A.4)."""
        parts = []
        for offset, length in pixels.fragments:
            self.stream.seek(offset)
            parts.append(self.stream.read(length))
        return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def open_dicom(path: Path, wanted: frozenset[int] | None = None) -> Iterator[DicomFile]:
    """Open `path` and read its tags up to the pixel data; with `wanted`, those tags instead of `_WANTED`.

    Raises:
        Skip: not a DICOM file, or a DICOMDIR.
        ImageError: empty, unreadable or damaged. Whatever goes wrong inside the block comes out as one of these two.
    """
    try:
        with path.open("rb", buffering=0) as raw:
            size = os.fstat(raw.fileno()).st_size
            if size == 0:
                raise ImageError("the file is empty (0 bytes): copy it again from its source")
            file = io.BufferedReader(raw, HEAD)
            file.peek()  # here, where a slow store holds up nobody else: what is parsed in `quiet` lies in memory
            yield _read(_Clipped(file, size), path.suffix.lower() in (".dcm", ".dicom"), wanted or _WANTED)
    except Skip:
        raise
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from None
    except Exception as error:  # a damaged file can fail anywhere in pydicom; its own message may quote a tag value
        kind = type(error).__name__
        raise ImageError(f"{path}: damaged DICOM file ({kind} while reading): copy it again from its source") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Drop pydicom's warnings and log lines in this block: they can quote tag values. One thread at a time."""
    me = threading.get_ident()
    logger = logging.getLogger("pydicom")

    def not_mine(record: logging.LogRecord) -> bool:
        return record.thread != me

    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.addFilter(not_mine)
        try:
            yield
        finally:
            logger.removeFilter(not_mine)


def _read(clipped: "_Clipped", named_dicom: bool, wanted: frozenset[int]) -> DicomFile:
    stream = cast(BinaryIO, clipped)
    with quiet():
        try:
            read_preamble(stream, False)
        except InvalidDicomError:
            if named_dicom:
                raise ImageError("named as DICOM, without its DICM prefix at byte 128: damaged or cut off") from None
            raise Skip("not a DICOM file (no DICM prefix at byte 128)") from None
        clipped.short = False
        meta = Tags(read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2))
        if meta.first("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            raise Skip("a DICOMDIR: an index of files, not an image")
        syntax = meta.first("TransferSyntaxUID")
        if not syntax:
            raise ImageError("no TransferSyntaxUID in the file meta information: the file cannot be decoded")
        if not set(syntax) <= set("0123456789."):
            raise ImageError("damaged: TransferSyntaxUID is not a UID (PS3.5 9.1)")
        if syntax == DeflatedExplicitVRLittleEndian:
            clipped = _inflate(stream.read())
        return _read_data_set(clipped, syntax, wanted)


def _read_data_set(clipped: "_Clipped", syntax: str, wanted: frozenset[int]) -> DicomFile:
    stream = cast(BinaryIO, clipped)
    found: tuple[int, str | None, int, int] | None = None

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        nonlocal found
        if tag not in PIXEL_TAGS:
            return False
        found = (int(tag), vr, length, stream.tell())
        return True

    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    data_set: Dataset = read_dataset(stream, implicit, little, stop_when=at_pixels, specific_tags=list(wanted))
    if clipped.short:
        raise ImageError("truncated: the file ends inside its header")
    return DicomFile(syntax, Tags(data_set), stream, found)


def _locate(stream: BinaryIO, tag: int, vr: str | None, length: int, offset: int) -> PixelElement:
    end = stream.seek(0, io.SEEK_END)
    if length != UNDEFINED:
        if offset + length > end:
            raise ImageError(
                f"truncated: the pixel data should have {length} bytes and {max(0, end - offset)} are left in the file"
            )
        return PixelElement(tag, False, vr in (None, "OW"), ((offset, length),))
    items = _items(stream, offset, end)
    return PixelElement(tag, True, False, tuple(items[1:]))  # the first item is the offset table


def _items(stream: BinaryIO, offset: int, end: int) -> list[tuple[int, int]]:
    """Offset and length of each item up to the sequence delimiter; always little endian (PS3.5 A.4)."""
    items: list[tuple[int, int]] = []
    while len(items) <= MAX_FRAGMENTS:
        stream.seek(offset)
        head = stream.read(8)
        if len(head) < 8:
            raise ImageError("truncated: the compressed pixel data ends without its delimiter")
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            return items
        if (group, element) != (0xFFFE, 0xE000):
            raise ImageError("damaged: the compressed pixel data is not a sequence of items")
        if offset + 8 + length > end:
            left = end - offset - 8
            raise ImageError(f"truncated: a compressed fragment should have {length} bytes and {left} are left")
        items.append((offset + 8, length))
        offset += 8 + length
    raise ImageError(f"the pixel data has more than {MAX_FRAGMENTS} fragments: refused as unsafe")


def _inflate(data: bytes) -> "_Clipped":
    """Inflate a deflated data set (PS3.5 A.5: raw deflate), refusing one that grows without bound."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data, MAX_INFLATED)
    except zlib.error:
        raise ImageError("damaged: the deflated data set cannot be inflated") from None
    if not inflater.eof:
        why = f"grows beyond {MAX_INFLATED} bytes" if len(plain) >= MAX_INFLATED else "is truncated"
        raise ImageError(f"the deflated data set {why}: refused")
    return _Clipped(io.BytesIO(plain), len(plain))


class _Clipped:
    """A file whose reads never ask for more than is left: a lying length must not allocate 4 GiB."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.short = False  # less was there than was asked for: the file ends inside an element

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        at_end = left == 0 and count == 8  # pydicom looks for the head of another element, which is no fault
        self.short = self.short or (left < count and not at_end)
        return self._file.read(left if count < 0 else min(count, left))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.short = self.short or (whence == io.SEEK_SET and offset > self._size)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def tags_of(*keywords: str) -> frozenset[int]:
    """The tags of DICOM keywords."""
    tags = [tag_for_keyword(keyword) for keyword in keywords]
    assert None not in tags, "a keyword is misspelt"  # noqa: S101 - a check of this table, not of input
    return frozenset(tag for tag in tags if tag is not None)


# Only these are kept: no name, address or comment. PatientID and PatientBirthDate serve to keep
# two women apart and leave only as a hash.
_WANTED = tags_of(
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "Modality", "ImageType"),
    *("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PresentationIntentType", "QualityControlImage"),
    *("ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence", "PatientOrientation", "PartialView"),
    *("AnatomicRegionSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("SpecimenDescriptionSequence", "EstimatedRadiographicMagnificationFactor", "SeriesDescription"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"),
    *("NominalScannedPixelSpacing", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope"),
    *("RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PresentationLUTShape",),
)
