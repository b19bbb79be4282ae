"""Patient-level cross-validation on mini-MIAS and CDD-CESM: how well does a preset tell an abnormal side?

    disasym tumours --manifest DATA/mias/manifest.csv --out runs/cv/tumours-mias.npz
    disasym tumours --manifest DATA/cesm/manifest.csv --enhancing --out runs/cv/tumours-cesm.npz
    python benchmarks/cross_validation.py --data DATA --work runs/cv

    python benchmarks/cross_validation.py --data DATA --work runs/lite --joint --preset lite --method asyc \\
        --init lite0.safetensors --freeze shallow --lr 1e-4 --head-lr-factor 10 --epochs 5 --lr-step 4 \\
        --precision fp32 --seed 11 --name cross_validation_lite

Each fold trains afresh with `disasym.train.fit` and a fixed schedule: the last epoch is scored, nothing is chosen on
the held-out women. With --joint one training sees both sets, else there is one for each. Tumours, where the method
pastes any, come from the other set's bank. Out-of-fold scores of all folds are pooled; the 95 % intervals come from
1,000 bootstraps over women. A killed run goes on where it was when started again.

What `disasym reproduce` cannot do and this does: --joint, one model for several sets (there every set is a study of its
own), and the scores of each pair in one table that can be committed.
"""

import argparse
import csv
import json
import multiprocessing
import os
import platform
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from disasym.checkpoint import load_model
from disasym.comparisons import METHODS
from disasym.data.manifest import read_manifest
from disasym.data.split import folds
from disasym.losses import LossWeights
from disasym.metrics import auc_interval
from disasym.train import TrainOptions
from disasym.train.dataset import PairStore
from disasym.train.run import fit
from disasym.train.validation import score

RESULTS = Path(__file__).parent / "results"
OTHER = {"mias": "cesm", "cesm": "mias"}  # whose tumours are pasted into whose symmetric pairs


@dataclass(frozen=True)
class Fold:
    """One training run and the pairs it is scored on."""

    index: int
    count: int
    options: TrainOptions


def run_fold(fold: Fold, threads: int) -> list[dict[str, object]]:
    """Train on all folds but `index`, score that one; one row a pair."""
    torch.set_num_threads(threads)
    options = fold.options
    pairs = [pair for path in options.manifests for pair in read_manifest(path).pairs]
    training, held_out = folds(pairs, fold.count, options.seed)[fold.index]
    result = fit(options, training, [])
    model = load_model(result.weights)
    store = PairStore(options.cache or options.out / "cache", model.config.height, model.config.width)
    scores = score(model, held_out, store, options.batch)
    return [
        {
            "dataset": pair.dataset,
            "fold": fold.index,
            "pair_id": pair.pair_id,
            "patient_id": pair.patient_id,
            "asymmetric": int(labels[0]),
            "abnormal_right": int(labels[1]),
            "abnormal_left": int(labels[2]),
            "p_asymmetry": round(float(asymmetry), 6),
            "p_abnormal_right": round(float(abnormal[0]), 6),
            "p_abnormal_left": round(float(abnormal[1]), 6),
        }
        for pair, labels, asymmetry, abnormal in zip(
            held_out, scores.labels, scores.asymmetry, scores.abnormal, strict=True
        )
    ]


def intervals(rows: list[dict[str, object]]) -> dict[str, object]:
    """Pooled AUCs of one dataset with their intervals."""
    women = [str(row["patient_id"]) for row in rows]

    def column(name: str) -> list[float]:
        return [float(str(row[name])) for row in rows]

    sides = auc_interval(
        column("abnormal_right") + column("abnormal_left"),
        column("p_abnormal_right") + column("p_abnormal_left"),
        women * 2,
    )
    pairs = auc_interval(column("asymmetric"), column("p_asymmetry"), women)
    return {
        "pairs": len(rows),
        "women": len(set(women)),
        "abnormal_sides": int(np.sum(column("abnormal_right")) + np.sum(column("abnormal_left"))),
        "asymmetric_pairs": int(np.sum(column("asymmetric"))),
        "auc_side_abnormality": asdict(sides),
        "auc_pair_asymmetry": asdict(pairs),
    }


def conditions(arguments: argparse.Namespace, seconds: float) -> dict[str, object]:
    """What must be known to repeat the run."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("data", "work", "init")}
    return {
        "settings": {name: value if isinstance(value, int | float) else str(value) for name, value in settings.items()},
        "commit": commit.stdout.strip(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "minutes": round(seconds / 60, 1),
    }


def main() -> None:
    arguments = parse()
    started = time.perf_counter()
    datasets = arguments.datasets.split(",")
    work = [
        Fold(index, arguments.folds, options_of(arguments, group, index))
        for group in ([datasets] if arguments.joint else [[dataset] for dataset in datasets])
        for index in range(arguments.folds)
    ]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=spawn) as pool:
        threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
        rows = [row for part in pool.map(run_fold, work, [threads] * len(work)) for row in part]

    report = {dataset: intervals([row for row in rows if row["dataset"] == dataset]) for dataset in datasets}
    report["conditions"] = conditions(arguments, time.perf_counter() - started)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    with (RESULTS / f"{arguments.name}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(json.dumps(report, indent=2))


def options_of(arguments: argparse.Namespace, datasets: list[str], index: int) -> TrainOptions:
    """The training of one fold on `datasets` together."""
    pasted = METHODS[arguments.method].losses(LossWeights()).synthesis > 0
    return TrainOptions(
        manifests=tuple(arguments.data / dataset / "manifest.csv" for dataset in datasets),
        tumours=tuple(arguments.work / f"tumours-{OTHER[dataset]}.npz" for dataset in datasets) if pasted else (),
        out=arguments.work / f"{'-'.join(datasets)}-{index}",
        preset=arguments.preset,
        method=arguments.method,
        init=arguments.init,
        freeze=arguments.freeze,
        epochs=arguments.epochs,
        lr=arguments.lr,
        lr_step=arguments.lr_step,
        asyd_lr_factor=arguments.asyd_lr_factor,
        head_lr_factor=arguments.head_lr_factor,
        batch=arguments.batch,
        seed=arguments.seed,
        precision=arguments.precision,
        cache=arguments.work / "cache",
        resume=True,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mias/ and cesm/, each with manifest.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs; holds tumours-*.npz")
    parser.add_argument("--datasets", default="cesm,mias")
    parser.add_argument("--joint", action="store_true", help="one training on all sets together")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--method", default="disasymnet")
    parser.add_argument("--init", type=Path, help="ImageNet weights of the encoder")
    parser.add_argument("--freeze", default="none")
    parser.add_argument("--head-lr-factor", type=float, default=1.0)
    parser.add_argument("--name", default="cross_validation", help="of the two files in benchmarks/results")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--lr-step", type=int, default=8)
    parser.add_argument("--asyd-lr-factor", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--jobs", type=int, default=2, help="folds trained at once")
    return parser.parse_args()


if __name__ == "__main__":
    main()
