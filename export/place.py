"""Where an export comes to lie: built under a hidden name beside its place, then renamed, so whole or absent."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from disasym.errors import EngineError, ExportError
from disasym.export.manifest import MANIFEST, read_manifest


def refuse_foreign(out: Path) -> None:
    """Only an empty folder, or one that holds an export and nothing else, may be replaced.

    Raises:
        ExportError: `out` is something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportError(f"{out} is a file: name a folder to export to")
    present = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir()}
    if not present and not any(out.iterdir()):
        return
    try:
        own = {MANIFEST, *read_manifest(out).files}
    except EngineError:
        raise ExportError(f"{out} is not empty and not a disasym export: name another folder") from None
    if foreign := sorted(present - own):
        raise ExportError(
            f"{out} also holds {foreign[0]!r}, which is not of its export: move it, or name another folder"
        )


@contextmanager
def built_beside(out: Path) -> Iterator[Path]:
    """A hidden new folder that takes the place of `out` on success and vanishes on failure."""
    mark = secrets.token_hex(4)
    new, old = out.parent / f".{out.name}.{mark}.new", out.parent / f".{out.name}.{mark}.old"
    new.mkdir(parents=True)
    try:
        yield new
        if out.exists():
            out.rename(old)
        new.rename(out)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
