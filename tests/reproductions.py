"""A reproduction of seconds: made pairs, tiny networks, one epoch."""

from pathlib import Path
from typing import Any

from disasym.data.manifest import read_manifest
from disasym.data.tumours import build_bank
from disasym.reproduce import ReproduceOptions
from disasym.train import TrainOptions
from pairs import write_pairs


def data(folder: Path, pairs: int = 24) -> tuple[Path, Path]:
    """A manifest, and a bank of tumours from another data set."""
    bank = folder / "bank.npz"
    build_bank(read_manifest(write_pairs(folder / "other", 4, seed=7, dataset="other")).pairs).bank.save(bank)
    return write_pairs(folder / "made", pairs), bank


def options(manifest: Path, bank: Path, out: Path, **changes: Any) -> ReproduceOptions:
    """Two methods, two folds, half and all of the training women; `command` says the same on the command line."""
    training = TrainOptions(
        (manifest,),
        out,
        tumours=(bank,),
        preset="small",
        size=(64, 32),
        epochs=1,
        batch=5,
        cache=manifest.parent / "cache",
    )
    told: dict[str, Any] = {
        "methods": ("resnet18", "disasymnet"),
        "fractions": (0.5, 1.0),
        "folds": 2,
        "bootstraps": 50,
    }
    return ReproduceOptions(training, **{**told, **changes})


def command(manifest: Path, bank: Path, out: Path, *more: object) -> list[str]:
    """The arguments of `disasym` for `options`."""
    told = [
        "reproduce",
        "--manifest",
        manifest,
        "--tumours",
        bank,
        "--out",
        out,
        "--preset",
        "small",
        "--size",
        "64x32",
    ]
    told += ["--epochs", 1, "--batch", 5, "--cache", manifest.parent / "cache", "--bootstraps", 50]
    told += ["--methods", "resnet18,disasymnet", "--fractions", "0.5,1", "--folds", 2]
    return [str(each) for each in (*told, *more)]
