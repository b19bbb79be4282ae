"""A data set's folder → manifest and list of problems: read, check, pair, split, write."""

import csv
import dataclasses
import importlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from disasym.data.datasets.catalogue import DATASETS
from disasym.data.datasets.reading import Problem, Reading
from disasym.data.rows import ImageRow, Lesion, PairRow
from disasym.data.split import split_patients
from disasym.data.tables import PARQUET
from disasym.errors import ImageError, InputError, MissingExtraError
from disasym.files import write_whole

Split = Literal["ratios", "none"]
COLUMNS = (
    "dataset",
    "patient_id",
    "study_id",
    "pair_id",
    "view",
    "laterality",
    "path",
    "abnormal",
    "birads",
    "pathology",
    "finding",
    "density",
    "lesions",
    "pixel_aspect",
    "split",
)


@dataclass(frozen=True)
class PrepareOptions:
    """What `disasym prepare` is asked for."""

    dataset: str
    root: Path
    out: Path
    split: Split = "ratios"
    ratios: tuple[int, int, int] | None = None  # those of the data set
    seed: int = 0
    keep_unlabelled: bool = False
    check_images: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)  # of a table of one's own: our name → its name


@dataclass(frozen=True)
class Prepared:
    """What was written."""

    pairs: tuple[PairRow, ...]
    problems: tuple[Problem, ...]
    manifest: Path
    problem_list: Path

    def counts(self) -> Mapping[str, int]:
        return Counter(problem.kind for problem in self.problems)


def prepare(options: PrepareOptions) -> Prepared:
    """Read `options.root`, write the manifest and `.problems.csv` beside it.

    Raises:
        InputError: no such data set or folder, no pair in it, or `out` from where its images cannot be named.
        MissingExtraError: Parquet without pyarrow.
    """
    source, folder = DATASETS.get(options.dataset), options.out.absolute().parent
    if source is None:
        raise InputError(f"no reader for the data set {options.dataset!r}: there are {', '.join(DATASETS)}")
    root = options.root.absolute()
    if not root.is_dir():
        raise InputError(f"{options.root} is no folder: name the folder of the data set")
    if options.out.suffix.lower() not in (".csv", PARQUET):
        raise InputError(f"{options.out}: a manifest ends in .csv or {PARQUET}")
    if not root.is_relative_to(folder):
        raise InputError(
            f"a manifest names files below its own folder: write it to {options.root} or above, not {folder}"
        )
    reader = importlib.import_module(f"disasym.data.datasets.{source.module}")
    read: Callable[[Path], Reading] = reader.read
    if options.columns:
        read = partial(reader.read, columns=options.columns)
    reading = read(root)
    if options.check_images:
        reading = _checked(reading, root)
    pairs = _paired(reading, root, options.keep_unlabelled)
    if not pairs:
        counts = ", ".join(f"{kind} {count}" for kind, count in Counter(p.kind for p in reading.problems).items())
        _write_problems(options.out, reading.problems)
        raise InputError(f"no pair in {options.root} ({counts or 'no image'}): see {problem_list(options.out)}")
    pairs = _split(pairs, options)
    content = _table([row for pair in pairs for row in (pair.right, pair.left)], folder)
    write_whole(options.out, _parquet(content) if options.out.suffix.lower() == PARQUET else _csv(COLUMNS, content))
    _write_problems(options.out, reading.problems)
    return Prepared(tuple(pairs), tuple(reading.problems), options.out, problem_list(options.out))


def problem_list(out: Path) -> Path:
    """`manifest.parquet` → `manifest.problems.csv`."""
    return out.with_suffix(".problems.csv")


def _paired(reading: Reading, root: Path, keep_unlabelled: bool) -> list[PairRow]:
    """One right and one left image of a woman, exam and view; what is left over is listed."""
    groups = defaultdict[tuple[str, str, str], list[ImageRow]](list)
    for row in reading.rows:
        groups[row.patient_id, row.study_id, row.view].append(row)
    pairs = []
    for (_, study, view), rows in sorted(groups.items()):
        sides = Counter(row.laterality for row in rows)
        for row in rows if max(sides.values()) > 1 else ():
            reason = "more than one image of a side in this exam and view: which to compare is unknown"
            reading.note("several images", row.path.relative_to(root).as_posix(), reason)
        if max(sides.values()) > 1:
            continue
        if len(rows) == 1:
            missing = "L" if "R" in sides else "R"
            where = rows[0].path.relative_to(root).as_posix()
            reading.note("one-sided exam", where, f"no usable {missing} {view} to compare it with")
            continue
        unlabelled = [row for row in rows if row.abnormal is None]
        for row in unlabelled:
            fate = "its pair is kept" if keep_unlabelled else "its pair is left out"
            reading.note("no label", row.path.relative_to(root).as_posix(), fate)
        if unlabelled and not keep_unlabelled:
            continue
        name = study if study.startswith(f"{rows[0].dataset}-") else f"{rows[0].dataset}-{study}"
        pair_id = name if rows[0].dataset == "mias" else f"{name}-{view}"
        right, left = sorted(rows, key=lambda row: row.laterality, reverse=True)
        pairs.append(PairRow(dataclasses.replace(right, pair_id=pair_id), dataclasses.replace(left, pair_id=pair_id)))
    return pairs


def _split(pairs: list[PairRow], options: PrepareOptions) -> list[PairRow]:
    """The same pairs with the name of their part."""
    ratios = options.ratios or DATASETS[options.dataset].ratios
    if options.split == "none":
        parts: Mapping[str, Sequence[PairRow]] = {"": pairs}
    else:
        parts = split_patients(pairs, ratios, options.seed)
    part = {pair.pair_id: name or None for name, members in parts.items() for pair in members}
    return [
        PairRow(*(dataclasses.replace(row, split=part[pair.pair_id]) for row in (pair.right, pair.left)))
        for pair in pairs
    ]


def _checked(reading: Reading, root: Path) -> Reading:
    """Rows whose file opens as an image of its side and view, and whose annotations lie on it."""
    kept = Reading(problems=reading.problems)
    for row in reading.rows:
        where = row.path.relative_to(root).as_posix()
        try:
            height, width = _open(row)
        except ImageError as error:
            kept.note("unreadable image", where, str(error).replace(f"{row.path}: ", ""))
            continue
        outside = [
            lesion
            for lesion in row.lesions
            if lesion.path is None and not (-1 <= lesion.x0 < width and -1 <= lesion.y0 < height)
        ]
        if outside:
            kept.note("unreadable annotation", where, f"{len(outside)} lesions outside its {width} × {height} pixels")
        lesions = tuple(lesion for lesion in row.lesions if lesion not in outside)
        kept.rows.append(dataclasses.replace(row, lesions=lesions))
    return kept


def _open(row: ImageRow) -> tuple[int, int]:
    """Height and width by the header alone. ImageError where it is none, or of another side or view."""
    from disasym.data.read import is_dicom

    if not is_dicom(row.path):
        from PIL import Image

        try:
            with Image.open(row.path) as image:
                return image.height, image.width
        except Exception as error:  # a damaged file raises anything
            raise ImageError(f"cannot be opened ({type(error).__name__})") from error
    from disasym.dicom import Skip, read_header

    try:
        header = read_header(row.path, otherwise=(row.laterality, row.view))
    except Skip as skip:
        raise ImageError(skip.reason) from skip
    if (header.laterality, header.view) != (row.laterality, row.view):
        raise ImageError(f"the table says {row.laterality} {row.view}, the file {header.laterality} {header.view}")
    return header.rows, header.columns


def _table(rows: Sequence[ImageRow], folder: Path) -> list[tuple[str, ...]]:
    return [
        (
            row.dataset,
            row.patient_id,
            row.study_id,
            row.pair_id,
            row.view,
            row.laterality,
            row.path.relative_to(folder).as_posix(),
            "" if row.abnormal is None else str(int(row.abnormal)),
            row.birads,
            row.pathology,
            row.finding,
            row.density,
            json.dumps([_shape(lesion, folder) for lesion in row.lesions]) if row.lesions else "",
            f"{row.pixel_aspect:g}",
            row.split or "",
        )
        for row in rows
    ]


def _shape(lesion: Lesion, folder: Path) -> dict[str, Any]:
    if lesion.path is not None:
        return {"mask": lesion.path.relative_to(folder).as_posix()}
    if lesion.kind == "polygon":
        return {"points": [list(point) for point in lesion.points]}
    if lesion.kind == "circle":
        radius = (lesion.x1 - lesion.x0) / 2
        return {"x": lesion.x0 + radius, "y": lesion.y0 + radius, "r": radius}
    return {"x0": lesion.x0, "y0": lesion.y0, "x1": lesion.x1, "y1": lesion.y1}


def _write_problems(out: Path, problems: Sequence[Problem]) -> None:
    write_whole(problem_list(out), _csv(("kind", "where", "reason"), [dataclasses.astuple(p) for p in problems]))


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return text.getvalue().encode()


def _parquet(rows: Sequence[Sequence[str]]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingExtraError("writing Parquet", "pyarrow", "train") from None
    values = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table({name: pyarrow.array(cells, "string") for name, cells in values.items()}), buffer
    )
    return buffer.getvalue()
