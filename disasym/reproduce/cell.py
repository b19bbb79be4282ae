"""One training run to its end: trained, its test women scored, its maps compared with the annotated lesions."""

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from disasym.checkpoint import load_model
from disasym.data.manifest import ImageRow, PairRow, load_mammogram
from disasym.errors import ImageError
from disasym.evaluate.lesions import hottest
from disasym.evaluate.localisation import Overlap, overlap
from disasym.evaluate.truth import Truth
from disasym.files import sha256_of, write_whole
from disasym.infer.boxes import heat_of
from disasym.model import DisAsymNet
from disasym.reproduce.frozen import score_frozen
from disasym.reproduce.options import FROZEN, ReproduceOptions
from disasym.reproduce.plan import PROBLEM, RESULT, Cell
from disasym.reproduce.study import some_of
from disasym.train.dataset import PairStore
from disasym.train.processes import Processes
from disasym.train.run import fit
from disasym.train.validation import Scores, score

PREDICTIONS, OVERLAPS = "predictions.csv", "overlaps.csv"
Located = tuple[str, str, Overlap]  # pair_id, laterality


@dataclass(frozen=True)
class Outcome:
    """What a method made of the test pairs."""

    scores: Scores
    located: list[Located]
    facts: dict[str, object]  # further ones, for RESULT


def finish(cell: Cell, options: ReproduceOptions, processes: Processes) -> None:
    """Train (or go on where a killed run was), score and locate; RESULT is written last and means that all is there."""
    started = time.perf_counter()
    training = some_of(cell.parts.train, cell.fraction, options.training.seed)
    if cell.method == FROZEN:
        found = Outcome(score_frozen(training, cell.parts.test, options, processes), [], {})
    else:
        found = trained(cell, training, options, processes)
    if processes.first:
        write_predictions(cell.folder / PREDICTIONS, cell.parts.test, found.scores)
        write_overlaps(cell.folder / OVERLAPS, found.located)
        result = {
            "training_pairs": len(training),
            "validation_pairs": len(cell.parts.validation),
            "test_pairs": len(cell.parts.test),
            "seconds": round(time.perf_counter() - started, 1),
            **found.facts,
        }
        (cell.folder / PROBLEM).unlink(missing_ok=True)
        write_whole(cell.folder / RESULT, (json.dumps(result, indent=2) + "\n").encode())
        (cell.folder / "state.safetensors").unlink(missing_ok=True)  # thrice the weights, and of no more use
    processes.wait()


def trained(cell: Cell, training: Sequence[PairRow], options: ReproduceOptions, processes: Processes) -> Outcome:
    """A method of the paper's tables: the trainer's weights, their scores and their maps."""
    told = options.run_options(cell.method, cell.folder)
    result = fit(told, training, cell.parts.validation, processes)
    model = load_model(result.weights, processes.device)
    store = PairStore(told.cache_folder, model.config.height, model.config.width)
    scores = score(model, cell.parts.test, store, told.batch, processes)
    located, unlocated = locate(model, cell.parts.test, processes)
    facts = {
        "scored_epoch": result.best_epoch,
        "lesions_that_cannot_be_read": unlocated,
        "weights_sha256": sha256_of(result.weights),
    }
    return Outcome(scores, located, facts)


@torch.inference_mode()
def locate(model: DisAsymNet, pairs: Sequence[PairRow], processes: Processes) -> tuple[list[Located], list[str]]:
    """How well the map of each abnormal image with annotated lesions covers them (docs/adr/0019), and what failed."""
    wanted = [pair for pair in pairs if any(_has_lesions(row) for row in (pair.right, pair.left))]
    height, width = model.config.height, model.config.width
    found: list[Located | str] = []
    for pair in processes.part(wanted):
        breasts = [load_mammogram(row, height, width) for row in (pair.right, pair.left)]
        views = np.stack([breast.pixels for breast in breasts])
        maps = model.classify(torch.from_numpy(views)[None].to(processes.device)).cam[0].float().cpu().numpy()
        for row, breast, cam in zip((pair.right, pair.left), breasts, maps, strict=True):
            if not _has_lesions(row):
                continue
            try:
                truth = Truth.of(row, breast.geometry, height, width)
                found.append((pair.pair_id, row.laterality, overlap(hottest(heat_of(breast.pixels, cam)), truth.mask)))
            except ImageError as error:  # of a mask
                found.append(str(error))
    every = [each for part in processes.gather(found) for each in part]
    return [each for each in every if not isinstance(each, str)], [each for each in every if isinstance(each, str)]


def _has_lesions(row: ImageRow) -> bool:
    return bool(row.abnormal and row.lesions)


def write_predictions(path: Path, pairs: Sequence[PairRow], scores: Scores) -> None:
    """A row a test pair."""
    rows = [
        {
            "pair_id": pair.pair_id,
            "p_asymmetry": round(float(asymmetry), 6),
            "p_abnormal_right": round(float(right), 6),
            "p_abnormal_left": round(float(left), 6),
        }
        for pair, asymmetry, (right, left) in zip(pairs, scores.asymmetry, scores.abnormal, strict=True)
    ]
    write_table(path, ("pair_id", "p_asymmetry", "p_abnormal_right", "p_abnormal_left"), rows)


def write_overlaps(path: Path, located: Sequence[Located]) -> None:
    """A row an abnormal test image with annotated lesions."""
    rows = [
        {"pair_id": pair_id, "laterality": laterality, **{k: round(v, 6) for k, v in vars(found).items()}}
        for pair_id, laterality, found in located
    ]
    write_table(path, ("pair_id", "laterality", "iou", "ior", "dice"), rows)


def write_table(path: Path, columns: Sequence[str], rows: Sequence[dict[str, object]]) -> None:
    """A CSV table that appears whole."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(path, text.getvalue().encode())
