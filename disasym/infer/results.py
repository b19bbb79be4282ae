"""What a run writes beside its pictures: results.csv and results.jsonl, one row a pair; files.csv, one row a file.

From the rows: boxes.csv, one row a lesion box; exams.csv, one row an examination (`exams.py`).

benchmark.json is only there if the run was compared with eager PyTorch (`disasym.bench.beside`).

All are made from the ledger when the run is over, each whole or not at all. While it lasts, results.jsonl alone is
there and grows by whole lines. Text is UTF-8; a file name that is not is written with backslash escapes.
"""

import contextlib
import csv
import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from disasym.dicom import Fate
from disasym.engines import Engine
from disasym.errors import InputError
from disasym.files import write_whole
from disasym.infer.boxes import Region
from disasym.infer.stages import Scored
from disasym.spec import Laterality

CSV, JSONL, FILES = "results.csv", "results.jsonl", "files.csv"
BOXES, EXAMS = "boxes.csv", "exams.csv"
IMAGES, OBJECTS = "images", "dicom"  # folders
BENCHMARK = "benchmark.json"
DIGITS = 6  # of a probability: float32 carries no more
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


@dataclass(frozen=True)
class LesionBox:
    """One lesion, in the pixels of its file: pixel (row i, column j) covers x in [j, j + 1) and y in [i, i + 1)."""

    laterality: Laterality
    x0: float
    y0: float
    x1: float
    y1: float
    score: float  # the largest heat in it; see `boxes.py`
    outline: str  # "abnormality" or "cam": what its borders come from


@dataclass(frozen=True)
class Row:
    """One pair; the fields are the columns, in this order."""

    pair_id: str  # of the manifest; for DICOM a digest of both SOPInstanceUIDs
    exam_id: str  # a digest; the pairs of one examination of one woman share it
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
    boxes: tuple[LesionBox, ...] | None  # right breast first, then hottest first; None: the model makes no heat map
    panel: str  # the picture, relative to the results; "" when none was asked for
    dicom: str  # the DICOM objects, relative to the results, separated by blanks; "" when none were asked for
    calibrated: bool = False  # the model carries temperatures, so its scores are probabilities as far as these hold

    def line(self) -> str:
        """The row as JSON: a line of results.jsonl without its end."""
        return _bytes(json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)).decode()

    @classmethod
    def read(cls, line: bytes | str) -> Self:
        """The row that a line of results.jsonl holds."""
        values = json.loads(line)
        boxes = values.pop("boxes")
        return cls(**values, boxes=None if boxes is None else tuple(LesionBox(**box) for box in boxes))


COLUMNS = tuple(field.name for field in fields(Row))


def row_of(
    scored: Scored, engine: Engine, regions: Sequence[Region] | None, panel: str, dicom: Sequence[str] = ()
) -> Row:
    """The row of one pair; `regions` are those of both breasts, None where nobody looked for any."""
    job = scored.job
    return Row(
        pair_id=job.pair_id,
        exam_id=job.exam_id,
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
        boxes=None if regions is None else tuple(_box(region) for region in regions),
        panel=panel,
        dicom=" ".join(dicom),
        calibrated=engine.info.calibrated,
    )


def _box(region: Region) -> LesionBox:
    return LesionBox(region.laterality, *region.box, round(region.score, DIGITS), region.outline)


def panel_name(pair_id: str) -> str:
    """Where a pair's picture goes, relative to the results: a safe and unique file name for any `pair_id`."""
    if _PLAIN.fullmatch(pair_id) and ".." not in f"{pair_id}.":
        return f"{IMAGES}/{pair_id}.png"
    kept = re.sub(r"[^a-z0-9]+", "-", pair_id.lower()).strip("-")[:40]
    digest = hashlib.sha256(pair_id.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{IMAGES}/{kept}{'-' if kept else ''}{digest}.png"


class LiveRows:
    """results.jsonl while the run lasts: its rows as they come, for who looks on. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Begin in `folder`. The tables of an earlier run go: they would speak of another state than this one.

        Raises:
            InputError: the folder cannot be made or written to.
        """
        self._folder = folder
        with _named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in (CSV, FILES, BOXES, EXAMS, BENCHMARK):
                (folder / name).unlink(missing_ok=True)
            self._lines = _Lines(folder / JSONL)

    def append(self, row: str) -> None:
        """Write one row (`Row.line`). InputError when the disk refuses; no half row stays."""
        with _named(self._folder):
            self._lines.append(f"{row}\n".encode())

    def close(self) -> None:
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_rows(folder: Path, rows: Iterable[str]) -> None:
    """Write results.jsonl of `rows` (`Row.line`), and results.csv of it; each whole or not at all."""
    _write(folder / JSONL, (f"{row}\n".encode() for row in rows))
    _write(folder / CSV, itertools.chain([_csv_line(COLUMNS)], map(_cells, read_rows(folder))))


def _cells(row: Row) -> bytes:
    return _csv_line(map(_shown, asdict(row).values()))


def write_fates(folder: Path, fates: Iterable[Fate]) -> None:
    """Write files.csv: path, fate, reason; whole or not at all."""
    rows = (_csv_line((fate.path.as_posix(), fate.fate, fate.reason)) for fate in fates)
    _write(folder / FILES, itertools.chain([_csv_line(("path", "fate", "reason"))], rows))


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of results.jsonl, one at a time."""
    with (folder / JSONL).open("rb") as file:
        for line in file:
            yield Row.read(line)


def write_boxes(folder: Path, rows: Iterable[Row]) -> None:
    """Write boxes.csv: each lesion box with its pair, view and SOPInstanceUID; whole or not at all."""
    named = ("pair_id", "view", "sop_uid", *(field.name for field in fields(LesionBox)))
    boxes = (_box_line(row, box) for row in rows for box in row.boxes or ())
    _write(folder / BOXES, itertools.chain([_csv_line(named)], boxes))


def _box_line(row: Row, box: LesionBox) -> bytes:
    sop_uid = row.right_sop_uid if box.laterality == "R" else row.left_sop_uid
    edges = (f"{edge:.2f}" for edge in (box.x0, box.y0, box.x1, box.y1))
    return _csv_line((row.pair_id, row.view, sop_uid, box.laterality, *edges, _shown(box.score), box.outline))


def write_table(path: Path, kind: type[Any], entries: Iterable[Any]) -> None:
    """Write dataclasses of one `kind` as CSV, a column a field; whole or not at all."""
    columns = [field.name for field in fields(kind)]
    rows = (_csv_line(_shown(getattr(entry, name)) for name in columns) for entry in entries)
    _write(path, itertools.chain([_csv_line(columns)], rows))


def _write(path: Path, lines: Iterable[bytes]) -> None:
    with _named(path.parent):
        write_whole(path, lines)


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


def _shown(value: object) -> object:
    """A value as a cell: probabilities with all their digits, 0 and 1, lists as JSON, nothing for None."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return f"{value:.{DIGITS}f}"
    if isinstance(value, list | tuple):
        return json.dumps(value, allow_nan=False)
    return value


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
            f"{folder}: the results cannot be written ({error.strerror}); the pairs that are done stay done: free space"
            " and give the same command again"
        ) from error
