"""A table of images, CSV or Parquet → pairs of mammograms. Each row is used, or skipped with its reason.

Columns: `pair_id, patient_id, view, laterality, path` must be there; `dataset, study_id, abnormal, birads, finding,
pathology, density, lesions, split, pixel_aspect, mask` may. `path` and `mask` are relative to the manifest's folder and
stay within it. `abnormal` is 0 or 1, empty when unknown. `lesions` is a JSON list of circles {x, y, r}, boxes
{x0, y0, x1, y1} and polygons {points: [[x, y], …]} in the file's pixels, top-left origin, and of masks {mask: path}.
`pixel_aspect` is the height of a pixel over its width. Further columns are ignored.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disasym.data.images import load_mammogram, load_pair
from disasym.data.rows import ImageRow, Lesion, PairRow
from disasym.data.tables import read_table
from disasym.errors import ManifestError
from disasym.spec import Laterality, View

__all__ = ["ImageRow", "Lesion", "Manifest", "PairRow", "load_mammogram", "load_pair", "read_manifest"]

REQUIRED = ("pair_id", "patient_id", "view", "laterality", "path")
VIEWS: Mapping[str, View] = {"CC": "CC", "MLO": "MLO"}
LATERALITIES: Mapping[str, Laterality] = {"R": "R", "L": "L"}
LABELS: Mapping[str, bool | None] = {"": None, "0": False, "1": True}

# CDD-CESM as distributed in 512 × 512 crops was squeezed to a square from crops of about 2:1.
KNOWN_PIXEL_ASPECT: Mapping[str, float] = {"cesm": 2.0}
WIDEST_ASPECT = 4.0
MOST_POINTS = 100_000  # of one polygon


@dataclass(frozen=True)
class Manifest:
    """`pairs` in the order of the table; `skipped` has one (path as written, reason) for each row not used."""

    path: Path
    pairs: list[PairRow]
    skipped: list[tuple[str, str]]


class _RowError(Exception):
    """This row is not used; the message is the reason."""


def read_manifest(path: Path, root: Path | None = None) -> Manifest:
    """Read a table of images and pair them by `pair_id`.

    Args:
        path: the table, CSV in UTF-8 or .parquet.
        root: the folder that paths in it are relative to and must not leave; the manifest's own by default.

    Raises:
        ManifestError: not a readable table, a column is missing, or it has no row. What is wrong with one row
            skips this row, and its partner, with a reason.
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    groups: dict[str, list[tuple[str, ImageRow | str]]] = defaultdict(list)  # pair_id → path as written, row or reason
    for cells in _read_table(path):
        try:
            row: ImageRow | str = _parse(cells, root)
        except _RowError as error:
            row = str(error)
        groups[cells["pair_id"]].append((cells["path"], row))

    pairs: list[PairRow] = []
    skipped: list[tuple[str, str]] = []
    for pair_id, members in groups.items():
        rows = [row for _, row in members if isinstance(row, ImageRow)]
        problem = _pair_problem(pair_id, rows, len(members))
        if problem is None:
            right, left = sorted(rows, key=lambda row: row.laterality, reverse=True)
            pairs.append(PairRow(right, left))
        else:
            skipped += [(written, row if isinstance(row, str) else problem) for written, row in members]
    return Manifest(path, pairs, skipped)


def _read_table(path: Path) -> list[dict[str, str]]:
    table = read_table(path)
    missing = [column for column in REQUIRED if column not in table.columns]
    if missing:
        raise ManifestError(f"{path}: no column {', '.join(missing)}; a manifest has at least {', '.join(REQUIRED)}")
    if not table.rows:
        raise ManifestError(f"{path}: a header and no row: list the images, two rows a pair")
    return table.rows


def _parse(cells: Mapping[str, str], root: Path) -> ImageRow:
    for column in ("pair_id", "patient_id"):
        if not cells[column]:
            raise _RowError(f"no {column}: it says which images belong together")
    dataset = cells.get("dataset", "")
    mask = cells.get("mask", "")
    lesions = _lesions(cells.get("lesions", ""), root)
    if mask:
        lesions = (*lesions, Lesion("mask", path=_file(mask, root)))
    return ImageRow(
        dataset=dataset,
        pair_id=cells["pair_id"],
        patient_id=cells["patient_id"],
        view=_one_of(VIEWS, cells["view"].upper(), "view"),
        laterality=_one_of(LATERALITIES, cells["laterality"].upper(), "laterality"),
        path=_file(cells["path"], root),
        abnormal=_one_of(LABELS, cells.get("abnormal", ""), "abnormal"),
        finding=cells.get("finding", ""),
        pathology=cells.get("pathology", ""),
        lesions=lesions,
        split=cells.get("split") or None,
        pixel_aspect=_aspect(cells.get("pixel_aspect", ""), dataset),
        study_id=cells.get("study_id", ""),
        birads=cells.get("birads", ""),
        density=cells.get("density", ""),
    )


def _one_of(values: Mapping[str, Any], text: str, column: str) -> Any:
    if text not in values:
        raise _RowError(f"{column} is {text!r}, expected one of {', '.join(repr(value) for value in values)}")
    return values[text]


def _file(written: str, root: Path) -> Path:
    """The path without following links: an archive may be a folder of links, but a table names only what is in it."""
    relative = Path(written)
    if not written or "\0" in written:
        raise _RowError("no usable path")
    if ".." in relative.parts or not (root / relative).is_relative_to(root):
        raise _RowError(f"the path leaves the manifest's folder {root}: put the manifest beside its images")
    try:
        found = (root / relative).is_file()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise _RowError(f"cannot be looked up in {root}: {error.strerror}") from None
    if not found:
        raise _RowError(f"no such file in {root}")
    return root / relative


def _aspect(text: str, dataset: str) -> float:
    if not text:
        return KNOWN_PIXEL_ASPECT.get(dataset, 1.0)
    try:
        aspect = float(text)
    except ValueError:
        aspect = math.nan
    if not 1 / WIDEST_ASPECT <= aspect <= WIDEST_ASPECT:
        raise _RowError(f"pixel_aspect is {text!r}, expected a number from {1 / WIDEST_ASPECT} to {WIDEST_ASPECT}")
    return aspect


def _lesions(text: str, root: Path) -> tuple[Lesion, ...]:
    if not text:
        return ()
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        raise _RowError(f"lesions is not JSON: {text[:60]!r}") from None
    if not isinstance(listed, list):
        raise _RowError(f"lesions is not a list: {text[:60]!r}")
    return tuple(_lesion(entry, root) for entry in listed)


def _lesion(entry: object, root: Path) -> Lesion:
    shape = entry if isinstance(entry, dict) else {}
    if set(shape) == {"mask"} and isinstance(shape["mask"], str):
        return Lesion("mask", path=_file(shape["mask"], root))
    if set(shape) == {"points"} and isinstance(shape["points"], list):
        return _polygon(shape["points"])
    numbers = all(_is_number(v) for v in shape.values())
    if numbers and set(shape) == {"x", "y", "r"} and shape["r"] > 0:
        return Lesion.circle(shape["x"], shape["y"], shape["r"])
    if numbers and set(shape) == {"x0", "y0", "x1", "y1"} and shape["x0"] < shape["x1"] and shape["y0"] < shape["y1"]:
        return Lesion("box", shape["x0"], shape["y0"], shape["x1"], shape["y1"])
    raise _RowError(
        f"a lesion is {entry!r:.80}, expected {{x, y, r}} with r > 0, {{x0, y0, x1, y1}} with x0 < x1,"
        " {points: [[x, y], …]} or {mask: path}"
    )


def _polygon(points: list[object]) -> Lesion:
    pairs = [tuple(p) for p in points if isinstance(p, list) and len(p) == 2 and all(_is_number(v) for v in p)]
    if not 3 <= len(pairs) == len(points) <= MOST_POINTS:
        raise _RowError(
            f"a polygon has {len(pairs)} points [x, y] among {len(points)} entries, expected 3 to {MOST_POINTS}"
        )
    return Lesion.polygon(pairs)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _pair_problem(pair_id: str, rows: list[ImageRow], listed: int) -> str | None:
    """Why the rows of one pair_id are not one woman's two breasts in one view; None when they are."""
    if listed == 1 or (listed == 2 and len(rows) == 1):
        return f"its partner in pair {pair_id!r} is {'missing' if listed == 1 else 'not usable'}"
    if listed > 2:
        return f"pair {pair_id!r} has {listed} rows, expected one right and one left"
    if len(rows) < 2:
        return "its row is not usable"
    a, b = rows
    if a.patient_id != b.patient_id or a.dataset != b.dataset:
        return f"pair {pair_id!r} names two patients or datasets; two women are never paired"
    if a.laterality == b.laterality:
        return f"pair {pair_id!r} has two rows of laterality {a.laterality}, expected R and L"
    if a.view != b.view:
        return f"pair {pair_id!r} mixes the views {a.view} and {b.view}"
    return None
