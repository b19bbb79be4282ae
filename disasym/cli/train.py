"""`disasym train`."""

import math
from pathlib import Path
from typing import Any

import click

from disasym.cli.sizes import size

EPILOG = """\b
Examples:
  disasym train --manifest mias/manifest.csv --tumours cesm.npz --preset small --out runs/mias
  disasym train --manifest inbreast.csv --tumours ddsm.npz --epochs 50 --lr-step 20 --device cuda --out runs/inbreast
  disasym train --manifest mias/manifest.csv --tumours cesm.npz --preset small --out runs/mias --resume
  disasym train --manifest mias/manifest.csv --tumours cesm.npz --encoder efficientnet-lite0 --init lite0.safetensors \
      --size 512x256 --out runs/lite0
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("train", epilog=EPILOG)
@click.option("--manifest", "manifests", type=_FILE, multiple=True, required=True, help="Table of images. Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--tumours",
    type=_FILE,
    multiple=True,
    help="Bank made by `disasym tumours` from another data set than the one trained on. Repeatable.",
)
@click.option("--preset", default="paper", show_default=True, help="paper (1024×512) or small (256×128).")
@click.option(
    "--method",
    default="disasymnet",
    show_default=True,
    help="disasymnet; resnet18, ham, late-fusion, cvt, wang2022; asyc, asyd, asyd-syn, asyc-asyd.",
)
@click.option("--encoder", help="resnet18 or efficientnet-lite0.  [default: the preset's]")
@click.option(
    "--size", callback=size, metavar="HxW", help="Pixels of a view, multiples of 32.  [default: the preset's]"
)
@click.option("--upsampling", help="nearest or bilinear, between AsyD's stages.  [default: the preset's, nearest]")
@click.option("--x-ab", help="sigmoid: x_ab = σ(g); masked: x_ab = x·σ(g).  [default: the preset's, sigmoid]")
@click.option("--epochs", type=int, default=20, show_default=True)
@click.option("--batch", type=int, default=8, show_default=True, help="Pairs in a step.")
@click.option("--lr", type=float, default=1e-4, show_default=True, help="Learning rate.")
@click.option("--lr-step", type=int, default=10, show_default=True, help="Epochs until the rate falls to a tenth.")
@click.option(
    "--asyd-lr-factor", type=float, default=1.0, show_default=True, help="AsyD learns this many times faster than AsyC."
)
@click.option("--no-synthesis", is_flag=True, help="Train without synthetic tumours; needs no bank.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, or bf16 and fp16 for mixed precision.")
@click.option(
    "--init",
    type=_FILE,
    help="ImageNet weights of the encoder as .safetensors: keys of torchvision's resnet18 (for the preset paper at any"
    " size), or of efficientnet-lite-pytorch. docs/train.md says how to get one.",
)
@click.option(
    "--patience", type=int, default=0, help="Stop after so many epochs without a better AUC.  [default: never]"
)
@click.option("--resume", is_flag=True, help="Go on with the run in OUT after its last whole epoch.")
@click.option("--workers", type=int, default=0, show_default=True, help="Processes that load data.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder for preprocessed pairs.  [default: in OUT]")
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
