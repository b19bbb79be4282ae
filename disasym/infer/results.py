"""What a run writes beside its pictures: results.csv and results.jsonl, one row a pair; files.csv, one row a file.

benchmark.json is only there if the run was compared with eager PyTorch (`disasym.bench.beside`).

A row is written whole or not at all, as soon as its batch is scored; files.csv appears at the end. Text is UTF-8; a
file name that is not is written with backslash escapes.
"""

import contextlib
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from disasym.dicom import Fate
from disasym.engines import Engine
from disasym.errors import InputError
from disasym.files import write_whole
from disasym.infer.stages import Scored

CSV, JSONL, FILES, IMAGES = "results.csv", "results.jsonl", "files.csv", "images"
BENCHMARK = "benchmark.json"
DIGITS = 6  # of a probability: float32 carries no more
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Row:
    """One pair; the fields are the columns, in this order."""

    pair_id: str  # of the manifest; for DICOM a digest of both SOPInstanceUIDs
    study_uid: str
    patient_id_hash: str
    view: str
    right_sop_uid: str
    left_sop_uid: str
    p_asymmetry: float
    p_abnormal_right: float
    p_abnormal_left: float
    paired_by: str
    model_sha256: str
    engine: str
    panel: str  # the picture, relative to the results; "" when none was asked for


COLUMNS = tuple(field.name for field in fields(Row))


def row_of(scored: Scored, engine: Engine, panel: str) -> Row:
    """The row of one pair."""
    job = scored.job
    return Row(
        pair_id=job.pair_id,
        study_uid=job.study_uid,
        patient_id_hash=job.patient_hash,
        view=job.view,
        right_sop_uid=job.right_sop_uid,
        left_sop_uid=job.left_sop_uid,
        p_asymmetry=round(scored.asymmetry, DIGITS),
        p_abnormal_right=round(scored.abnormal[0], DIGITS),
        p_abnormal_left=round(scored.abnormal[1], DIGITS),
        paired_by=job.paired_by,
        model_sha256=engine.info.model_sha256,
        engine=engine.name,
        panel=panel,
    )


def panel_name(pair_id: str) -> str:
    """Where a pair's picture goes, relative to the results: a safe and unique file name for any `pair_id`."""
    if _PLAIN.fullmatch(pair_id) and ".." not in pair_id:
        return f"{IMAGES}/{pair_id}.png"
    kept = re.sub(r"[^a-z0-9]+", "-", pair_id.lower()).strip("-")[:40]
    digest = hashlib.sha256(pair_id.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{IMAGES}/{kept}{'-' if kept else ''}{digest}.png"


class ResultFiles:
    """results.csv and results.jsonl of one run, started empty; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Begin in `folder`, replacing the tables of an earlier run.

        Raises:
            InputError: the folder cannot be made or written to.
        """
        with _named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in (FILES, BENCHMARK):  # they speak of another run
                (folder / name).unlink(missing_ok=True)
            self._csv = _Lines(folder / CSV)
            self._jsonl = _Lines(folder / JSONL)
        self._folder = folder
        with _named(folder):
            self._csv.append(_csv_line(COLUMNS))

    def append(self, row: Row) -> None:
        """Write one row to both tables. InputError when the disk refuses; no half row stays."""
        values = asdict(row)
        shown = [f"{value:.{DIGITS}f}" if isinstance(value, float) else value for value in values.values()]
        with _named(self._folder):
            self._csv.append(_csv_line(shown))
            self._jsonl.append(_bytes(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"))

    def close(self) -> None:
        self._csv.close()
        self._jsonl.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_fates(folder: Path, fates: Iterable[Fate]) -> None:
    """Write files.csv: path, fate, reason; whole or not at all."""
    lines = [_csv_line(("path", "fate", "reason"))]
    lines += [_csv_line((fate.path.as_posix(), fate.fate, fate.reason)) for fate in fates]
    with _named(folder):
        write_whole(folder / FILES, b"".join(lines))


class _Lines:
    """A file that only grows by whole lines: unbuffered, and cut back to its last line when a write fails."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._size = 0

    def append(self, line: bytes) -> None:
        try:
            rest = memoryview(line)
            while rest:  # a full disk takes a part of a line
                rest = rest[self._file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        self._file.close()


def _csv_line(values: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # before Python 3.13 it quotes only what ends its lines
    return _bytes(text.getvalue().removesuffix("\r\n") + "\n")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: the results cannot be written ({error.strerror}); what stands there is complete"
            " up to its last row: free space or name another folder"
        ) from error
