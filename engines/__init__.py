"""Engines: one model, several ways to run it, one interface.

    with disasym.engines.load(Path("export-folder")) as engine:
        outputs = engine.run(views)

An engine that is asked for runs, or one sentence says why it cannot; nothing falls back to something else. Importing
this package imports no framework: each engine brings its own when it is opened. README.md: how to add one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from disasym.engines.base import Engine, EngineInfo
from disasym.errors import EngineError, InputError
from disasym.export.manifest import ONNX, WEIGHTS, Manifest, read_manifest
from disasym.files import sha256_of

__all__ = ["DEVICES", "ENGINES", "Engine", "EngineInfo", "load"]

DEVICES = ("cpu", "cuda")


def load(model: Path, engine: str = "auto", device: str = "cpu", threads: int | None = None) -> Engine:
    """Open a model.

    Args:
        model: an export folder, or a .safetensors weights file (which only the eager engine runs).
        engine: a name in ENGINES, or "auto": the first of them that the model has a file for. Auto decides by the
            files alone; if that engine cannot run here, this fails rather than taking the next.
        device: "cpu" or "cuda".
        threads: processor threads of one run; None means every core that this process may use for onnxruntime, and
            PyTorch's own choice for eager.

    Raises:
        EngineError: no such model or engine, a file whose SHA-256 is not the manifest's, or an unsuitable device.
        MissingExtraError: the engine, or its support for the device, is not installed.
        InputError: unknown device, or fewer than one thread.
    """
    if device not in DEVICES:
        raise InputError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    if model.is_dir():
        return _from_export(model, engine, device, threads)
    if model.is_file() and model.suffix == ".safetensors":
        return _from_weights(model, engine, device, threads)
    raise EngineError(f"no model at {model}: give an export folder or a .safetensors file")


@dataclass(frozen=True)
class Backend:
    """How one engine is opened."""

    file: str  # what it needs in the export folder
    open: Callable[[Path, EngineInfo, int | None], Engine]


def _open_onnxruntime(file: Path, info: EngineInfo, threads: int | None) -> Engine:
    from disasym.engines.ort import OrtEngine

    return OrtEngine(file, info, threads)


def _open_eager(file: Path, info: EngineInfo, threads: int | None) -> Engine:
    from disasym.engines.eager import EagerEngine

    return EagerEngine(file, info, threads)


ENGINES = {  # fastest first: the order in which "auto" looks
    "onnxruntime": Backend(ONNX, _open_onnxruntime),
    "eager": Backend(WEIGHTS, _open_eager),
}


def _from_export(folder: Path, engine: str, device: str, threads: int | None) -> Engine:
    manifest = read_manifest(folder)
    name = _chosen(engine, [name for name, backend in ENGINES.items() if backend.file in manifest.files], folder)
    backend = ENGINES[name]
    _verify(folder / backend.file, manifest.files[backend.file])
    return backend.open(folder / backend.file, _info(manifest, device), threads)


def _from_weights(weights: Path, engine: str, device: str, threads: int | None) -> Engine:
    _chosen(engine, ["eager"], weights)
    from disasym.engines.eager import describe

    return _open_eager(weights, describe(weights, device), threads)


def _chosen(engine: str, available: list[str], model: Path) -> str:
    if engine == "auto" and available:
        return available[0]
    if engine in available:
        return engine
    known = "unknown engine" if engine not in (*ENGINES, "auto") else "no engine"
    raise EngineError(f"{known} {engine!r} for {model}: it has {_listed(available)}; disasym export makes more")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _info(manifest: Manifest, device: str) -> EngineInfo:
    return EngineInfo(
        preset=manifest.preset,
        height=manifest.height,
        width=manifest.width,
        precision=manifest.precision,
        model_sha256=manifest.model_sha256,
        device=device,
        max_batch=None,
    )


def _verify(path: Path, wanted: str) -> None:
    """Refuse a file that is not the one the manifest was written for."""
    if not path.is_file():
        raise EngineError(f"{path} is missing, though the manifest beside it lists it: export the model again")
    found = sha256_of(path)
    if found != wanted:
        raise EngineError(
            f"{path} is damaged or belongs to another export: its SHA-256 is {found}, the manifest says {wanted};"
            " copy it again or export the model again"
        )
