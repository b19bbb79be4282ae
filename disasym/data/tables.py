"""A file that holds a table, CSV or Parquet → rows of text."""

import csv
from dataclasses import dataclass
from pathlib import Path

from disasym.errors import ManifestError, MissingExtraError

LONGEST_FIELD = 1_000_000  # characters of one cell
PARQUET = ".parquet"


@dataclass(frozen=True)
class Table:
    """Rows with stripped text in every cell, "" where there is none."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def read_table(path: Path, delimiter: str = ",") -> Table:
    """Read a CSV table in UTF-8 with a header, or Parquet.

    Raises:
        ManifestError: absent, unreadable, or of another format.
        MissingExtraError: Parquet without pyarrow.
    """
    return _parquet(path) if path.suffix.lower() == PARQUET else _csv(path, delimiter)


def _csv(path: Path, delimiter: str) -> Table:
    csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", delimiter=delimiter)
            columns = tuple(name.strip() for name in reader.fieldnames or ())
            rows = [{k.strip(): v.strip() for k, v in cells.items() if isinstance(v, str)} for cells in reader]
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a CSV table in UTF-8: {error}") from error
    return Table(columns, rows)


def _parquet(path: Path) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingExtraError(f"reading {path.name}", "pyarrow", "train") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise ManifestError(f"{path}: not a readable Parquet table: {error}") from error
    rows = [{name: _text(value) for name, value in row.items()} for row in table.to_pylist()]
    return Table(tuple(table.column_names), rows)


def _text(value: object) -> str:
    """As the same cell would stand in a CSV table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
