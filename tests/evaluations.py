"""Pairs with labels and scores, made by hand, for tests of `disasym.evaluate`."""

from pathlib import Path

import numpy as np

from disasym.data.manifest import ImageRow, PairRow
from disasym.evaluate.part import Pair
from disasym.evaluate.predictions import Model, Predictions
from disasym.infer.jobs import Job
from disasym.spec import Laterality, View

MODEL = Model("model", "0" * 64, "small", "eager", "fp32", 256, 128)


def side(
    laterality: Laterality,
    abnormal: bool | None,
    patient: str,
    view: View = "CC",
    dataset: str = "made",
    density: str = "",
    split: str | None = "test",
) -> ImageRow:
    """A row of a manifest whose file nobody opens."""
    return ImageRow(
        dataset=dataset,
        pair_id=f"{patient}-{view}",
        patient_id=patient,
        view=view,
        laterality=laterality,
        path=Path(f"{patient}-{laterality}-{view}.png"),
        abnormal=abnormal,
        finding="",
        pathology="",
        lesions=(),
        split=split,
        pixel_aspect=1.0,
        density=density,
    )


def pair(right: ImageRow, left: ImageRow) -> Pair:
    job = Job(right.pair_id, "exam", "", "woman", right.view, right, left, "", "", "manifest")
    return Pair(job, PairRow(right, left), right.split or "")


def predictions(rows: list[tuple[Pair, float, float, float]]) -> Predictions:
    """From (pair, p_asymmetry, p_abnormal of right and left)."""
    return Predictions(
        model=MODEL,
        scored=tuple(each for each, *_ in rows),
        asymmetry=np.array([row[1] for row in rows], np.float32),
        abnormal=np.array([row[2:] for row in rows], np.float32).reshape(-1, 2),
        failed=(),
    )
