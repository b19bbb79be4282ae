"""How the demonstration model was made: AsyC on all pairs of both sets, then AsyD on top of it (docs/adr/0024, 0029).

    disasym tumours --manifest DATA/mias/manifest.csv --out WORK/tumours-mias.npz
    disasym tumours --manifest DATA/cesm/manifest.csv --enhancing --out WORK/tumours-cesm.npz
    python benchmarks/demonstration.py --data DATA --work WORK --init lite0.safetensors
    disasym export WORK/asyd/model.safetensors --half-weights --pairs DATA/cesm/manifest.csv --out disasym/demonstration

No pair is held out, and the last epoch counts: how good the recipe is says benchmarks/cross_validation.py. A killed run
goes on where it was when started again.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path

import torch

from disasym.data.manifest import read_manifest
from disasym.losses import LossWeights
from disasym.train import TrainOptions
from disasym.train.run import fit

RESULTS = Path(__file__).parent / "results"
DATASETS = ("cesm", "mias")


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    manifests = tuple(arguments.data / dataset / "manifest.csv" for dataset in DATASETS)
    pairs = [pair for path in manifests for pair in read_manifest(path).pairs]
    asyc = TrainOptions(
        manifests=manifests,
        out=arguments.work / "asyc",
        preset="lite",
        method="asyc",
        init=arguments.init,
        freeze="shallow",
        epochs=5,
        lr=1e-4,
        lr_step=4,
        head_lr_factor=10.0,
        cache=arguments.work / "cache",
        resume=True,
    )
    asyd = dataclasses.replace(
        asyc,
        out=arguments.work / "asyd",
        tumours=tuple(arguments.work / f"tumours-{dataset}.npz" for dataset in DATASETS),
        method="disasymnet",
        init=None,
        start=arguments.work / "asyc" / "model.safetensors",
        freeze="asyc",
        paste="sides",
        epochs=12,
        batch=4,
        lr=6e-3,
        lr_step=9,
        head_lr_factor=1.0,
        # L_disc against a frozen AsyC drew ripples (docs/log.md); the others are what AsyD learns from: docs/adr/0029
        losses=LossWeights(reconstruction=1.0, discrimination=0.0, synthesis=1.0),
    )
    for options in (asyc, asyd):
        weights = fit(options, pairs, []).weights
        shutil.copy(options.out / "metrics.csv", RESULTS / f"demonstration_{options.out.name}.csv")
        print(weights)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mias/ and cesm/, each with manifest.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs; holds tumours-*.npz")
    parser.add_argument("--init", type=Path, required=True, help="ImageNet weights of EfficientNet-Lite0")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
