"""What is raced: exports as they are, and exports made here of weights or of a preset with random weights."""

from collections.abc import Callable, Sequence
from pathlib import Path

from disasym.errors import EngineError, MissingExtraError
from disasym.export.manifest import MANIFEST, WEIGHTS, read_manifest
from disasym.export.options import ExportOptions, check_choices
from disasym.files import sha256_of
from disasym.infer.stages import load_views

PRESETS = ("paper", "small")  # as in disasym.model, which imports torch
DISTINCT = 8  # real pairs that every contender is compared on
CALIBRATING = 8  # others, for int8: enough for a race, and `disasym export` takes up to 32
LARGEST = 64  # batch of targets that must know
Say = Callable[[str], None]


def exports_of(
    models: Sequence[str], wanted: Sequence[str], out: Path, source: Path | None, say: Say
) -> tuple[Path, ...]:
    """Export folders to race.

    Args:
        models: export folders, weights files, or names of presets.
        wanted: what to export of weights and presets: a precision, or PRECISION:OUTPUTS as in "int8:scores".
        out: folder in which these exports are kept; one that is there is used again.
        source: real pairs, which an export is verified on and int8 is calibrated on; None: synthetic ones.

    Raises:
        EngineError: no such model.
        InputError: an unknown precision or set of outputs.
        ExportError, CheckpointError: as of `disasym.export.export`.
    """
    kinds = [_kind(text) for text in wanted]
    folders: list[Path] = []
    for model in models:
        weights = _random(model, out) if model in PRESETS and not Path(model).exists() else Path(model)
        if (weights / MANIFEST).is_file():
            folders.append(weights)
        elif weights.is_file() and weights.suffix == ".safetensors":
            name = model if model in PRESETS else weights.stem
            folders += [_exported(weights, out / f"{name}-{'-'.join(kind)}", *kind, source, say) for kind in kinds]
        else:
            raise EngineError(
                f"no model at {model}: give an export folder, a .safetensors file, or a preset: {', '.join(PRESETS)}"
            )
    return tuple(dict.fromkeys(folders))


def needs_torch() -> None:
    """The reference is eager PyTorch. MissingExtraError where it is not installed."""
    import importlib.util

    for package in ("torch", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("disasym bench, whose reference is eager PyTorch,", package, "train")


def _kind(text: str) -> tuple[str, str]:
    precision, _, outputs = text.partition(":")
    check_choices(precision, (), outputs or "all")
    return precision, outputs or "all"


def _random(preset: str, out: Path) -> Path:
    """A weights file of random weights, always the same ones; made once."""
    from disasym.bench.lively import lively
    from disasym.checkpoint import save_model

    file = out / f"{preset}-random.safetensors"
    if not file.exists():
        save_model(file, lively(preset), preset=preset)
    return file


def _exported(weights: Path, folder: Path, precision: str, outputs: str, source: Path | None, say: Say) -> Path:
    """Export, unless the folder holds an export of these weights."""
    from disasym.checkpoint import read_config
    from disasym.export import export

    if (folder / MANIFEST).is_file() and read_manifest(folder).files[WEIGHTS] == sha256_of(weights):
        return folder
    say(f"exporting {folder}")
    config = read_config(weights)
    views = None if source is None else load_views(source, config.height, config.width, DISTINCT + CALIBRATING)
    enough = views is not None and len(views) >= 2 * DISTINCT  # else calibration shares the gate's pairs
    gate, others = (None, None) if views is None else (views[:DISTINCT], views[DISTINCT:] if enough else None)
    export(weights, folder, ExportOptions(precision, (), outputs, LARGEST, False, gate, others))
    return folder
