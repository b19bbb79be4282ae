"""`disasym train`."""

import math
from pathlib import Path
from typing import Any

import click

from disasym.cli.training import FILE, training_options

EPILOG = """\b
Examples:
  disasym train --manifest mias/manifest.csv --tumours cesm.npz --preset small --out runs/mias
  disasym train --manifest inbreast.csv --tumours ddsm.npz --epochs 50 --lr-step 20 --device cuda --out runs/inbreast
  disasym train --manifest mias/manifest.csv --tumours cesm.npz --preset small --out runs/mias --resume
  disasym train --manifest mias/manifest.csv --tumours cesm.npz --encoder efficientnet-lite0 --init lite0.safetensors \
      --size 512x256 --out runs/lite0
"""


@click.command("train", epilog=EPILOG)
@click.option("--manifest", "manifests", type=FILE, multiple=True, required=True, help="Table of images. Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--tumours",
    type=FILE,
    multiple=True,
    help="Bank made by `disasym tumours` from another data set than the one trained on. Repeatable.",
)
@click.option(
    "--method",
    default="disasymnet",
    show_default=True,
    help="disasymnet; resnet18, ham, late-fusion, cvt, wang2022; asyc, asyd, asyd-syn, asyc-asyd.",
)
@training_options
@click.option(
    "--start", type=FILE, help="Weights of an earlier run to begin with: its AsyC, and its AsyD if it has the same."
)
@click.option(
    "--paste",
    default="symmetric",
    show_default=True,
    help="symmetric: tumours go into pairs without an abnormal side; sides: into normal sides of any pair.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in OUT after its last whole epoch.")
def train_command(no_synthesis: bool, **options: Any) -> None:
    """Train DisAsymNet, or a method it is compared with, on pairs of mammograms.

    A manifest is a CSV table, one row an image: dataset, pair_id, patient_id, view, laterality, path, abnormal, and
    optionally split, finding, pathology, lesions, mask, pixel_aspect. Patients are split 8:1:1 by the seed unless
    every pair has a split. Both objectives and all five losses of the paper are used; its settings are the defaults.

    OUT gets model.safetensors (the epoch with the best validation AUC), the state to resume from, split.csv, a log
    as CSV and for TensorBoard. Needs PyTorch: pip install 'disasym[train]'.
    """
    from disasym.cli.extras import requires_train

    with requires_train("disasym train"):
        from disasym.losses import LossWeights
        from disasym.train import TrainOptions, train
        from disasym.train.processes import is_first

    losses = LossWeights(synthesis=0.0) if no_synthesis else LossWeights()
    result = train(TrainOptions(losses=losses, **options))
    if not is_first():
        return
    auc = "no validation AUC: a class is missing there" if math.isnan(result.best_auc) else f"AUC {result.best_auc:.3f}"
    click.echo(f"best epoch {result.best_epoch}, {auc} (side abnormality, validation patients)")
    click.echo(f"weights in {result.weights}; next: disasym export {result.weights} --out EXPORT")
