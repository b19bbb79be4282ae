"""A folder → its pairs, and one fate with a reason for every file in it."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from disasym.dicom.header import Header, read_header
from disasym.dicom.pairing import DicomPair, pair
from disasym.dicom.reader import Skip
from disasym.errors import ImageError, InputError

FateName = Literal["used", "skipped", "failed"]


@dataclass(frozen=True)
class Fate:
    """What became of one file. `failed`: damaged. `skipped`: not used, by rule. `used`: one side of a pair."""

    path: Path
    fate: FateName
    reason: str


@dataclass(frozen=True)
class Scan:
    """What a folder holds."""

    pairs: tuple[DicomPair, ...]
    fates: tuple[Fate, ...]  # one for each file, sorted by path


def scan(source: Path, include_processing: bool = False) -> Scan:
    """Read the headers of `source`, a folder (searched in depth) or one file, and pair them.

    Deterministic: sorted by path. Links to files and folders are followed, each folder is entered once. Hidden files
    and what is not a regular file are listed and not opened.

    Raises:
        InputError: `source` does not exist.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist: name a folder of DICOM files, or one file")
    fates: list[Fate] = []
    headers: list[Header] = []
    for found in _files(source):
        if isinstance(found, Fate):
            fates.append(found)
            continue
        try:
            headers.append(read_header(found, include_processing))
        except Skip as skip:
            fates.append(Fate(found, "skipped", skip.reason))
        except ImageError as error:
            fates.append(Fate(found, "failed", str(error).removeprefix(f"{found}: ")))
    pairing = pair(headers)
    fates += [Fate(path, "skipped", reason) for path, reason in pairing.skipped]
    for made in pairing.pairs:
        reason = f"paired by {made.paired_by}"
        fates += [Fate(header.path, "used", reason) for header in (made.right, made.left)]
    return Scan(pairing.pairs, tuple(sorted(fates, key=lambda fate: fate.path)))


def _files(source: Path) -> Iterator[Path | Fate]:
    """Every file under `source`, or the fate of what is not one that can be opened.

    Linked folders wait until all real ones were entered, so that a file is listed under its own path and not under
    that of a link to it; a folder is known by device and inode, so a loop of links ends.
    """
    if not source.is_dir():
        yield _regular(source) or source
        return
    entered: set[tuple[int, int]] = set()
    links: list[Path] = [source]
    while links:
        link = links.pop(0)
        if _identity(link) in entered:
            yield Fate(link, "skipped", "a link to a folder that is listed under its own path")
            continue
        folders = [link]
        while folders:
            folder = folders.pop()
            entered.add(_identity(folder))
            try:
                entries = sorted(folder.iterdir())
            except OSError as error:
                yield Fate(folder, "failed", f"the folder cannot be listed: {error.strerror}")
                continue
            for entry in entries:
                if not entry.is_dir():
                    yield _regular(entry) or entry
                elif entry.is_symlink():
                    links.append(entry)
                else:
                    folders.append(entry)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _regular(path: Path) -> Fate | None:
    """The fate of what must not be opened; None for a regular file."""
    if path.name.startswith("."):
        return Fate(path, "skipped", "a hidden file of the operating system or of another program")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return Fate(path, "failed", f"cannot be opened: {error.strerror}")
    return None if stat.S_ISREG(mode) else Fate(path, "skipped", "not a regular file")
