"""Which pairs of a manifest are evaluated: one part of its split, or all."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from disasym.data.manifest import ImageRow, PairRow
from disasym.data.tables import read_table
from disasym.errors import InputError
from disasym.infer.jobs import Job, find_work

ALL = "all"
TEST = "test"
UNKNOWN = ""  # the split of a pair of which nobody says one
Key = tuple[str, str]  # data set and pair_id


@dataclass(frozen=True)
class Pair:
    """One pair of the manifest with the part it belongs to."""

    job: Job
    rows: PairRow
    split: str  # UNKNOWN if nobody says

    @property
    def key(self) -> Key:
        return self.rows.dataset, self.rows.pair_id

    @property
    def woman(self) -> str:
        """A digest of data set and patient_id: two data sets may number their patients alike."""
        return hashlib.sha256(f"{self.rows.dataset}\0{self.rows.patient_id}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Part:
    """The pairs that are evaluated, and those that are not."""

    name: str  # of the split, or ALL
    pairs: tuple[Pair, ...]
    others: tuple[Pair, ...]
    unused: tuple[tuple[str, str], ...]  # (path as reported, reason) of rows that make no pair


def read_part(manifest: Path, split: str | None, splits: Path | None = None) -> Part:
    """Read a manifest and take one part of it.

    Args:
        split: a value of the column `split`, or "all"; None: "test" where the manifest has splits, else "all".
        splits: a table `dataset, pair_id, split` to take in place of that column, as `disasym train` writes it.

    Raises:
        InputError: there is no such part, or a pair's two rows or a table contradict each other.
        ManifestError: a table cannot be read.
    """
    if manifest.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{manifest} is no manifest: evaluation needs labels, so name a .csv or .parquet table")
    work = find_work(manifest)
    given = None if splits is None else read_splits(splits)
    pairs = tuple(_pair(job, given) for job in work.jobs)
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.split] = counts.get(pair.split, 0) + 1
    name = _chosen(split, counts, splits or manifest)
    return Part(
        name=name,
        pairs=tuple(pair for pair in pairs if name in (ALL, pair.split)),
        others=tuple(pair for pair in pairs if name not in (ALL, pair.split)),
        unused=tuple((str(fate.path), fate.reason) for fate in work.fates),
    )


def read_splits(path: Path) -> dict[Key, str]:
    """(data set, pair_id) → split, of a table that `disasym train` wrote beside its weights.

    Raises:
        InputError: a column is missing, or a pair stands in two parts.
        ManifestError: the table cannot be read.
    """
    table = read_table(path)
    if missing := [name for name in ("dataset", "pair_id", "split") if name not in table.columns]:
        raise InputError(f"{path}: no column {', '.join(missing)}: name the split.csv of a training run")
    found: dict[Key, str] = {}
    for row in table.rows:
        key = (row["dataset"], row["pair_id"])
        if found.setdefault(key, row["split"]) != row["split"]:
            raise InputError(f"{path}: pair {key[1]!r} is in {found[key]!r} and in {row['split']!r}: correct the table")
    return found


def _pair(job: Job, splits: Mapping[Key, str] | None) -> Pair:
    if not isinstance(job.right, ImageRow) or not isinstance(job.left, ImageRow):
        raise InputError(f"pair {job.pair_id!r} comes from no manifest, so it has no label")
    rows = PairRow(job.right, job.left)
    if splits is not None:
        return Pair(job, rows, splits.get((rows.dataset, rows.pair_id), UNKNOWN))
    right, left = (row.split or UNKNOWN for row in (rows.right, rows.left))
    if right != left:
        raise InputError(
            f"pair {rows.pair_id!r}: its right side is in split {right!r}, its left in {left!r}: correct the manifest"
        )
    return Pair(job, rows, right)


def _chosen(split: str | None, counts: Mapping[str, int], source: Path) -> str:
    named = sorted(name for name in counts if name)
    if split is None:
        if not named:
            return ALL
        split = TEST
    if split == ALL or split in named:
        return split
    there = ", ".join(f"{name} ({counts[name]} pairs)" for name in named) or "none"
    raise InputError(f"{source}: no split {split!r}, it has {there}: name one of them with --split, or all")
