"""Which tile each kernel runs with: a stored choice, so that nobody waits for tuning.

tiles.csv has one row for each kernel, architecture, width of the dtype, head dimension and range of token counts, and
says how the row was chosen: by `plan`, from registers, shared memory and occupancy (README.md), or measured on a GPU
by `python -m disasym.kernels.tune`, which rewrites the file.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import torch

KERNELS = ("forward", "backward_queries", "backward_keys")
DIMS = (32, 64, 128)  # of one head
ARCHITECTURES = (80, 90)
SHORT = 64  # tokens: up to here a small tile wastes less than a large one gains

TABLE = Path(__file__).with_name("tiles.csv")
COLUMNS = ("kernel", "architecture", "bits", "dim", "tokens", "rows", "columns", "warps", "stages", "chosen")


@dataclass(frozen=True)
class Tile:
    """How one launch is cut up."""

    rows: int  # queries of one tile, half of them of each side
    columns: int  # keys of one tile
    warps: int  # of 32 threads, in one program
    stages: int  # depth of the software pipeline that loads ahead


@dataclass(frozen=True)
class Key:
    """What a choice depends on."""

    kernel: str  # a name in KERNELS
    architecture: int  # 80: A100 and what has no row of its own; 90: H100, H200 and data-centre Blackwell
    bits: int  # of one number: 16 for float16 and bfloat16, which run at one rate
    dim: int  # of one head
    tokens: str  # "short" (N ≤ SHORT) or "long"


def tile_for(kernel: str, capability: tuple[int, int], dtype: torch.dtype, dim: int, tokens: int) -> Tile:
    """The stored tile of a kernel for this device, dtype, head dimension and N."""
    return stored()[key_for(kernel, capability, dtype, dim, tokens)].tile


def key_for(kernel: str, capability: tuple[int, int], dtype: torch.dtype, dim: int, tokens: int) -> Key:
    """The row of the table that answers for this device and shape.

    Consumer GPUs (8.6, 8.9, 12.0) have 99 KiB of shared memory a program, which every row for 80 keeps to; 9.0, 10.0
    and 10.3 have 227 KiB.
    """
    architecture = 90 if capability[0] in (9, 10) else 80
    return Key(
        kernel,
        architecture,
        dtype.itemsize * 8,
        int(dim),  # traced with any size, a number that has no hash: the kernel is compiled for one d
        "short" if tokens <= SHORT else "long",
    )


@dataclass(frozen=True)
class Choice:
    """A row of the table."""

    tile: Tile
    chosen: str  # "plan", or "measured: GPU, Triton version, date"


@functools.cache
def stored() -> dict[Key, Choice]:
    """The whole table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return dict(_parsed(row) for row in csv.DictReader(file))


def _parsed(row: dict[str, str]) -> tuple[Key, Choice]:
    key = Key(row["kernel"], int(row["architecture"]), int(row["bits"]), int(row["dim"]), row["tokens"])
    tile = Tile(int(row["rows"]), int(row["columns"]), int(row["warps"]), int(row["stages"]))
    return key, Choice(tile, row["chosen"])


def store(choices: dict[Key, Choice], path: Path = TABLE) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, (tile, chosen) in ((key, (choice.tile, choice.chosen)) for key, choice in choices.items()):
            writer.writerow(
                [key.kernel, key.architecture, key.bits, key.dim, key.tokens,
                 tile.rows, tile.columns, tile.warps, tile.stages, chosen]
            )  # fmt: skip
    stored.cache_clear()
