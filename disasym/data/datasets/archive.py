"""An archive of one's own: `images.csv` in ROOT (or the only .csv there), one row an image.

Columns: patient_id, view, laterality and path must be there (`--column OURS=THEIRS` where they are called otherwise);
study_id, abnormal, birads, finding, pathology and density may. Laterality is L, LEFT, R or RIGHT in any case; the
separator is `,` or `;`. Abnormal: the column `abnormal` (0 or 1); where it is empty, BI-RADS 2 to 6, as in the paper.
Without study_id all images of a woman are one exam.

Quirk: patient_id and study_id are written as hashes, so that a manifest names nobody. A hash of a number that can be
guessed can be undone by trying all: do not publish the manifest of an archive as if it were anonymous.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from disasym.data.datasets.reading import (
    Reading,
    RefusedError,
    inside,
    laterality,
    make_row,
    normal_is_one,
    only_row,
    view,
)
from disasym.data.tables import Table, read_table
from disasym.errors import InputError

REQUIRED = ("patient_id", "view", "laterality", "path")
OPTIONAL = ("study_id", "abnormal", "birads", "finding", "pathology", "density")
LABELS: Mapping[str, bool | None] = {"": None, "0": False, "1": True}


def read(root: Path, columns: Mapping[str, str] | None = None) -> Reading:
    """Rows of the table → rows.

    Args:
        root: the folder that holds the table; paths in it are below the folder too.
        columns: our name of a column → the table's, where they differ.

    Raises:
        InputError: there is no table, or not one, or a column is missing or unknown.
        ManifestError: the table cannot be read.
    """
    path, reading = _find(root), Reading()
    table = _read(path)
    names = _names(path, table, columns or {})
    images = defaultdict[str, list[tuple[str, dict[str, str]]]](list)
    for line, cells in enumerate(table.rows, 2):
        row = {ours: cells.get(theirs, "") for ours, theirs in names.items()}
        images[row["path"]].append((f"{path.name}:{line}", row))
    for listed in images.values():
        try:
            _image(reading, root, listed[0][0], only_row(reading, listed))
        except RefusedError as refused:
            reading.note(refused.kind, listed[0][0], str(refused))
    return reading


def _image(reading: Reading, root: Path, where: str, cells: Mapping[str, str]) -> None:
    if not cells["patient_id"]:
        raise RefusedError("unusable row", "no patient_id: which images are of one woman is unknown")
    if cells["abnormal"] not in LABELS:
        raise RefusedError("unusable row", f"abnormal is {cells['abnormal'][:10]!r}, expected 0, 1 or nothing")
    label, rule = LABELS[cells["abnormal"]], normal_is_one(cells["birads"])
    if label is not None and rule is not None and label != rule:
        reading.note("conflicting label", where, f"abnormal {label:d}, BI-RADS {cells['birads'][:10]}: abnormal counts")
    reading.rows.append(
        make_row(
            "archive",
            _hash(cells["patient_id"]),
            _hash(cells["patient_id"], cells["study_id"]),
            laterality(cells["laterality"]),
            view(cells["view"]),
            inside(root, cells["path"]),
            rule if label is None else label,
            birads=cells["birads"],
            finding=cells["finding"],
            pathology=cells["pathology"],
            density=cells["density"],
        )
    )


def _find(root: Path) -> Path:
    tables = [root / "images.csv"] if (root / "images.csv").is_file() else sorted(root.glob("*.csv"))
    if len(tables) != 1:
        raise InputError(f"{root} holds {len(tables)} CSV tables and no images.csv: name the table images.csv")
    return tables[0]


def _read(path: Path) -> Table:
    """The table; what separates its columns is what its first line has more of."""
    with path.open("rb") as file:
        header = file.readline(100_000)
    return read_table(path, ";" if header.count(b";") > header.count(b",") else ",")


def _names(path: Path, table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """Our name of every column → the table's."""
    if unknown := sorted(columns.keys() - {*REQUIRED, *OPTIONAL}):
        raise InputError(f"--column {unknown[0]}=…: the columns are {', '.join((*REQUIRED, *OPTIONAL))}")
    names = {name: columns.get(name, name) for name in (*REQUIRED, *OPTIONAL)}
    needed = [name for name in names if name in REQUIRED or name in columns]
    if missing := [name for name in needed if names[name] not in table.columns]:
        there = ", ".join(table.columns)
        raise InputError(f"{path}: no column {names[missing[0]]}, it has {there}: give --column {missing[0]}=ITS_NAME")
    return names


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
