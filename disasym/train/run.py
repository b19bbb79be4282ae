"""`disasym train`: manifests and tumour banks in, the best weights out."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from disasym.checkpoint import save_model
from disasym.comparisons import build
from disasym.data.manifest import PairRow, read_manifest
from disasym.data.split import split_patients
from disasym.data.tumours import TumourBank
from disasym.errors import InputError
from disasym.files import write_whole
from disasym.model import DisAsymNet
from disasym.train.dataset import EpochBatches, PairStore, TrainingPairs, loader
from disasym.train.imagenet import load_imagenet
from disasym.train.log import RunLog
from disasym.train.options import TrainOptions
from disasym.train.processes import Processes, check_device, joined
from disasym.train.start import begin_with
from disasym.train.state import load_state, read_header, save_state
from disasym.train.step import LOSSES, Step
from disasym.train.validation import score


@dataclass(frozen=True)
class TrainResult:
    """Where the best weights are, and how good they were on the validation patients."""

    weights: Path
    best_epoch: int
    best_auc: float  # side abnormality; NaN where the validation part lacks a class


def train(options: TrainOptions) -> TrainResult:
    """Train on the manifests' training patients, keep the epoch with the best validation AUC.

    A manifest's `split` column is followed where every pair has one; else patients are split 8:1:1 by the seed.
    """
    with joined(options.device) as processes:
        pairs = [pair for path in options.manifests for pair in labelled(read_manifest(path).pairs, path)]
        parts = split_by_column(pairs) or split_patients(pairs, seed=options.seed)
        if not parts["train"] or not parts["validation"]:
            sizes = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
            raise InputError(
                f"{len(pairs)} pairs leave a part of the split empty ({sizes}): give more patients or a split"
            )
        if processes.first:
            rows = [f"{p.dataset},{p.pair_id},{name}" for name, part in parts.items() for p in part]
            write_whole(options.out / "split.csv", "\n".join(["dataset,pair_id,split", *rows, ""]).encode())
        return fit(options, parts["train"], parts["validation"], processes)


def fit(
    options: TrainOptions,
    training: Sequence[PairRow],
    validation: Sequence[PairRow],
    processes: Processes | None = None,
) -> TrainResult:
    """The training loop on given pairs. Without validation pairs the last epoch counts as the best.

    `processes`: those that train together, from `joined`; None: this one alone, on the device of the options.
    """
    if processes is None:
        check_device(options.device)
        processes = Processes(device=options.device)
    state, weights = options.out / "state.safetensors", options.out / "model.safetensors"
    model = initial_model(options, processes.device)
    step = Step(model, options.weights, options.precision, processes, options.freeze, options.paste)
    history = same_everywhere(resumed(options, state, step), options.out, processes)

    config = step.model.config
    store = PairStore(options.cache_folder, config.height, config.width)
    pairs = TrainingPairs(training, store, banks_of(options), options.seed, options.paste)
    batches = EpochBatches(len(pairs), options.batch, options.seed, processes)
    data = loader(pairs, batches, options.workers, pin=processes.device.startswith("cuda"))
    log = RunLog(options.out, len(history)) if processes.first else None

    with progress(shown=processes.first) as bar:
        task = bar.add_task("", total=options.epochs * len(batches), completed=len(history) * len(batches))
        for epoch in range(len(history), options.epochs):
            if options.patience and len(history) - best_epoch(history) >= options.patience:
                break
            batches.epoch, started = epoch, time.perf_counter()
            lr = options.learning_rate(epoch)
            step.set_learning_rate(lr, lr * options.asyd_lr_factor, lr * options.head_lr_factor)
            total = torch.zeros(len(LOSSES), device=processes.device)
            for batch in data:
                total += step(batch.to(processes.device))
                bar.update(task, advance=1, description=f"epoch {epoch + 1}/{options.epochs}")
            steps = len(batches) * processes.count
            means = dict(zip(LOSSES, (processes.sum(total) / steps).tolist(), strict=True))
            if not all(math.isfinite(value) for value in means.values()):
                raise InputError(f"epoch {epoch + 1}: a loss is not finite ({means}); lower --lr below {options.lr}")

            entry = {"epoch": float(epoch + 1), "lr": lr, **means}
            if validation:
                scores = score(step.model, validation, store, options.batch, processes)
                entry |= {"auc_abnormal": scores.auc_abnormal(), "auc_asymmetry": scores.auc_asymmetry()}
            history.append({**entry, "seconds": time.perf_counter() - started})
            if log:
                if best_epoch(history) == epoch + 1:
                    save_model(weights, step.model, preset=options.preset, method=options.method, epoch=str(epoch + 1))
                save_state(state, step, history, options.as_json())
                log.epoch(history)
                if validation:
                    log.picture(step.model, store.views(validation[0]), epoch + 1, processes.device)
                bar.console.print(summary(history[-1]))
    if log:
        log.close()
    processes.wait()  # until the weights are written
    best = best_epoch(history)
    return TrainResult(weights, best, history[best - 1].get("auc_abnormal", math.nan))


def initial_model(options: TrainOptions, device: str) -> DisAsymNet:
    """A fresh network: seeded, with the weights that were asked for, channels last for speed."""
    torch.manual_seed(options.seed)
    model = build(options.config)
    if options.init:
        load_imagenet(model.asyc.encoder, options.init)
    if options.start:
        begin_with(model, options.start)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def banks_of(options: TrainOptions) -> list[TumourBank]:
    """The tumours that a run may paste; none where its losses do without."""
    return [TumourBank.load(path) for path in options.tumours] if options.weights.synthesis else []


def resumed(options: TrainOptions, state: Path, step: Step) -> list[dict[str, float]]:
    """The history so far: empty for a fresh run, restored from `state` where the user asked to resume."""
    if not state.exists():
        return []
    if not options.resume:
        raise InputError(f"{options.out} already holds a training run: give --resume to go on, or another --out")
    options.check_resumes(read_header(state)["options"], options.out)
    return load_state(state, step)


def same_everywhere(history: list[dict[str, float]], out: Path, processes: Processes) -> list[dict[str, float]]:
    """`history`, provided that every process has read the same: they must see one folder.

    Raises:
        InputError: another process has done another number of epochs.
    """
    done = processes.gather(len(history))
    if len(set(done)) > 1:
        raise InputError(f"{out} is not the same folder in all processes: epochs done are {done}; use a shared disk")
    return history


def best_epoch(history: Sequence[dict[str, float]]) -> int:
    """The epoch (from 1) of the highest validation AUC, the first of equals; the last where there is none."""
    values = [entry.get("auc_abnormal", math.nan) for entry in history]
    known = [(value, -index) for index, value in enumerate(values) if not math.isnan(value)]
    return 1 - max(known)[1] if known else len(history)


def labelled(pairs: Sequence[PairRow], path: Path) -> Sequence[PairRow]:
    """`pairs`, provided that each side has a label."""
    for pair in pairs:
        if pair.right.abnormal is None or pair.left.abnormal is None:
            raise InputError(f"{path}: pair {pair.pair_id} has no label; training needs the column `abnormal` filled")
    return pairs


def split_by_column(pairs: Sequence[PairRow]) -> dict[str, list[PairRow]] | None:
    """The parts that the manifests' `split` column names, or None where a pair has no split."""
    if any(pair.right.split is None for pair in pairs):
        return None
    return {name: [p for p in pairs if p.right.split == name] for name in ("train", "validation", "test")}


def summary(entry: dict[str, float]) -> str:
    """One line an epoch."""
    losses = "  ".join(f"{name} {entry[name]:.3f}" for name in LOSSES)
    found = f"  AUC abnormal {entry['auc_abnormal']:.3f}" if "auc_abnormal" in entry else ""
    return f"epoch {entry['epoch']:.0f}  {losses}{found}  {entry['seconds']:.0f} s"


def progress(shown: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, disable=not shown)
