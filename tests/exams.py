"""Exams for tests of `infer`: films on disk, an engine without a model, and the tables read back."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from dicom_files import breast, write_mammogram
from disasym.engines import Engine, EngineInfo
from disasym.errors import EngineError
from disasym.infer.jobs import Job, find_work
from disasym.spec import Array, output_shapes
from pairs import write_pairs

ROWS, COLUMNS = 200, 120  # of the films that are made here: enough for the small preset, fast to decode


def write_exam(folder: Path, name: str, view: str = "CC", seed: int = 0, **tags: Any) -> tuple[Path, Path]:
    """The two breasts of one study, unlike each other."""
    made = []
    for side, peak in (("R", 3000), ("L", 4000)):
        cells = np.roll(breast(ROWS, COLUMNS, peak), 3 * seed + (side == "L"), axis=0)
        cells = cells[:, ::-1] if side == "R" else cells
        path = folder / f"{name}-{side}-{view}.dcm"
        made.append(write_mammogram(path, cells, laterality=side, view=view, patient=name, study=name, **tags))
    return made[0], made[1]


def jobs_of(folder: Path, count: int) -> tuple[Job, ...]:
    return find_work(write_pairs(folder, count)).jobs


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_of(out: Path) -> dict[str, tuple[str, str]]:
    with (out / "files.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(rows), "a file has two fates"
    return {row["path"]: (row["fate"], row["reason"]) for row in rows}


class FakeEngine(Engine):
    """Scores a side by its mean; refuses batches above `most` and pairs whose right breast is brighter than `limit`."""

    name = "fake"

    def __init__(self, height: int = 64, width: int = 32, most: int = 100, limit: float = 2.0) -> None:
        super().__init__(EngineInfo("custom", height, width, "fp32", "0" * 64, "cpu", None))
        self.most, self.limit = most, limit
        self.batches: list[int] = []

    def _infer(self, views: Array) -> dict[str, Array]:
        self.batches.append(len(views))
        if len(views) > self.most:
            raise MemoryError
        means = views.mean(axis=(2, 3))
        if (means[:, 0] > self.limit).any():
            raise EngineError("too bright")
        shapes = output_shapes(len(views), self.info.height, self.info.width)
        outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        return outputs | {"asymmetry": abs(means[:, 0] - means[:, 1]), "abnormal": means}

    def _release(self) -> None:
        pass
