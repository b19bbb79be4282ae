"""Films whose every tag that can name somebody holds a word of its own, and a search for these words."""

import base64
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from pydicom import dcmread
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

WORD = "Q7ZXW5"  # every canary begins with it; by chance, it stands in a random megabyte once in 300 million
BIRTHS = ("19440229", "1944-02-29")
GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x0054, 0x0088)  # what describes exams and people
TEXTS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC", "AE")
NESTED = ("OtherPatientIDsSequence", "RequestAttributesSequence", "PerformingPhysicianIdentificationSequence")


def every_text() -> dict[str, str]:
    """A canary for each text element of the standard in GROUPS, by keyword: names, ids, addresses, comments, places."""
    return {
        keyword: f"{WORD}{tag >> 16:02X}{tag & 0xFFFF:04X}"
        for tag, (vr, _, _, retired, keyword) in DicomDictionary.items()
        if tag >> 16 in GROUPS and vr in TEXTS and not retired and keyword
    }


def seed(path: Path, patient: str) -> Path:
    """Put canaries into every text element of a film, into private ones and into sequences."""
    film = dcmread(path)
    for keyword, word in every_text().items():
        setattr(film, keyword, word)
    film.PatientID, film.PatientBirthDate = f"{WORD}-{patient}", BIRTHS[0]
    for keyword in NESTED:
        setattr(film, keyword, Sequence([_item()]))
    block = film.private_block(0x0009, f"{WORD} CREATOR", create=True)
    block.add_new(0x01, "LO", f"{WORD}-PRIVATE")
    block.add_new(0x02, "PN", f"{WORD}^PRIVATE")
    film.save_as(path)
    return path


def _item() -> Dataset:
    item = Dataset()
    item.PatientID, item.PersonName, item.RequestedProcedureDescription = f"{WORD}-A", f"{WORD}^B", f"{WORD}-C"
    return item


def found_in(content: bytes) -> list[str]:
    """Where a canary or the birth date stands in bytes: plainly, in UTF-16, base64 or hexadecimal, or in a picture."""
    hits = []
    for name, pattern in _patterns().items():
        hits += [f"{name}: {content[max(0, at - 40) : at + 60]!r}" for at in _places(pattern, content)]
    for embedded in re.findall(rb"base64,([A-Za-z0-9+/=]{16,})", content):
        hits += [f"embedded {hit}" for hit in found_in(base64.b64decode(embedded + b"=" * (-len(embedded) % 4)))]
    return hits + [f"metadata: {hit}" for hit in _metadata(content)]


def _patterns() -> dict[str, bytes]:
    patterns: dict[str, bytes] = {}
    for word in (WORD, *BIRTHS):
        plain = word.encode()
        patterns |= {word: plain, f"{word} UTF-16": word.encode("utf-16-le"), f"{word} hex": plain.hex().encode()}
        for shift in range(3):  # the letters of base64 that only the word decides, at each place it can begin
            encoded = base64.b64encode(b"\0" * shift + plain)
            patterns[f"{word} base64 {shift}"] = encoded[-(-8 * shift // 6) : (shift + len(plain)) * 8 // 6]
    return patterns


def _places(pattern: bytes, content: bytes) -> list[int]:
    """Where a pattern stands, in any case; a date not inside a number or a UID, which are random."""
    if pattern.isdigit():
        return [match.start() for match in re.finditer(rb"(?<![\d.])" + pattern + rb"(?![\d.])", content)]
    return [match.start() for match in re.finditer(re.escape(pattern), content)]


def _metadata(content: bytes) -> list[str]:
    """The hits in the text chunks and EXIF data of a picture, which may be compressed."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            said = repr(picture.info) + repr(dict(picture.getexif()))
    except (UnidentifiedImageError, OSError):
        return []
    return [word for word in (WORD, *BIRTHS) if word in said]


def hits(folder: Path, exempt: Iterable[str] = ()) -> Iterator[tuple[str, Any]]:
    """(path, where) of every canary under `folder`, in names too; files of a glob of `exempt` are not opened."""
    left_out = {path for pattern in exempt for path in folder.glob(pattern)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if found_in(name.encode()):
            yield name, "its name"
        if path.is_file() and path not in left_out:
            for hit in found_in(path.read_bytes()):
                yield name, hit
