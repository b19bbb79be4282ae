"""A folder → its pairs, and one fate with a reason for every file in it."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from disasym.ahead import in_order
from disasym.dicom.header import Header, read_header
from disasym.dicom.pairing import DicomPair, pair
from disasym.dicom.pixels import read_pixels
from disasym.dicom.reader import Skip
from disasym.errors import ImageError, InputError

FateName = Literal["used", "skipped", "failed"]
READERS = 8  # files opened at a time: they wait for a slow store together, and are parsed one after the other


@dataclass(frozen=True, slots=True)
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


def scan(
    source: Path,
    include_processing: bool = False,
    exclude: Path | None = None,
    on_file: Callable[[Path], None] | None = None,
    on_header: Callable[[Header], None] | None = None,
) -> Scan:
    """Read the headers of `source`, a folder (searched in depth) or one file, and pair them.

    Deterministic: sorted by path. Links to files and folders are followed, each folder is entered once. Hidden files
    and what is not a regular file are listed and not opened.

    Args:
        exclude: a folder in `source` that is neither entered nor listed, such as one that results are written to.
        on_file: called with each file before its header is read.
        on_header: called with the header of each usable mammogram.

    Raises:
        InputError: `source` does not exist.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist: name a folder of DICOM files, or one file")
    return scan_files(_files(source, exclude), include_processing, on_file, on_header)


def scan_files(
    files: Iterable[Path | Fate],
    include_processing: bool = False,
    on_file: Callable[[Path], None] | None = None,
    on_header: Callable[[Header], None] | None = None,
) -> Scan:
    """`scan` of files that are known; what is no path has its fate already."""
    fates: list[Fate] = []
    headers: list[Header] = []
    for found in _looked_at(files, include_processing, on_file):
        if isinstance(found, Fate):
            fates.append(found)
            continue
        headers.append(found)
        if on_header is not None:
            on_header(found)
    pairing = pair(headers, _picture)
    fates += [Fate(path, "skipped", reason) for path, reason in pairing.skipped]
    for made in pairing.pairs:
        reason = f"paired by {made.paired_by}"
        fates += [Fate(header.path, "used", reason) for header in (made.right, made.left)]
    return Scan(pairing.pairs, tuple(sorted(fates, key=lambda fate: fate.path)))


def _looked_at(
    files: Iterable[Path | Fate], include_processing: bool, on_file: Callable[[Path], None] | None
) -> Iterator[Header | Fate]:
    """The header or the fate of each of `files`, in their order; some are opened ahead, for a store may be slow."""
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="disasym-header")

    def begun() -> Iterator[Future[Header | Fate]]:
        for found in files:
            if on_file is not None and isinstance(found, Path):
                on_file(found)
            yield pool.submit(_look_at, found, include_processing)

    try:
        for read in in_order(begun(), 2 * READERS):
            yield read.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at(found: Path | Fate, include_processing: bool) -> Header | Fate:
    if isinstance(found, Fate):
        return found
    try:
        return read_header(found, include_processing)
    except Skip as skip:
        return Fate(found, "skipped", skip.reason)
    except ImageError as error:
        return Fate(found, "failed", str(error).removeprefix(f"{found}: "))


def _picture(header: Header) -> str:
    """Digest of the decoded picture; of the path where it cannot be decoded, so that it equals no other."""
    try:
        pixels = read_pixels(header.path)
    except ImageError:
        return str(header.path)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _files(source: Path, exclude: Path | None = None) -> Iterator[Path | Fate]:
    """Every file under `source`, or the fate of what is not one that can be opened.

    Linked folders wait until all real ones were entered, so that a file is listed under its own path and not under
    that of a link to it; a folder is known by device and inode, so a loop of links ends.
    """
    if not source.is_dir():
        yield source if source.is_file() else Fate(source, "skipped", "not a regular file")
        return
    entered: set[tuple[int, int]] = set()
    left_out = _identity(exclude) if exclude is not None and exclude.is_dir() else None
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
                with os.scandir(folder) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
            except OSError as error:
                yield Fate(folder, "failed", f"the folder cannot be listed: {error.strerror}")
                continue
            for entry in entries:
                path = folder / entry.name
                found = _look(entry, path)
                if found == "folder" and _identity(path) == left_out:
                    continue
                if found == "folder":
                    (links if entry.is_symlink() else folders).append(path)
                else:
                    yield path if found == "file" else found


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _look(entry: os.DirEntry[str], path: Path) -> Literal["file", "folder"] | Fate:
    """What an entry is, without opening it and mostly without asking its store; the fate of what must not be opened."""
    if entry.name.startswith(".") or entry.name == "__MACOSX":
        return Fate(path, "skipped", "hidden: of the operating system or of another program")
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        entry.stat()  # a link to nothing says so here
    except OSError as error:
        return Fate(path, "failed", f"cannot be opened: {error.strerror or type(error).__name__}")
    return Fate(path, "skipped", "not a regular file")
