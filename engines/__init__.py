"""Engines: one model, several ways to run it, one interface.

    with disasym.engines.load(Path("export-folder")) as engine:
        outputs = engine.run(views)

An engine that is asked for runs, or one sentence says why it cannot; nothing falls back to something else. Importing
this package imports no framework: each engine brings its own when it is opened. README.md: how to add one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from disasym.engines.base import Engine, EngineInfo
from disasym.errors import EngineError, InputError
from disasym.export.manifest import WEIGHTS, Manifest, Parity, Target, checked_file, read_manifest

__all__ = ["DEVICES", "ENGINES", "Engine", "EngineInfo", "load", "obstacle", "open_export", "open_target"]

DEVICES = ("cpu", "cuda")


def load(
    model: Path, engine: str = "auto", device: str = "cpu", threads: int | None = None, *, shared: bool = False
) -> Engine:
    """Open a model.

    Args:
        model: an export folder, or a .safetensors weights file (which only the eager engine runs).
        engine: a name in ENGINES, or "auto": the first of them that the manifest has for this device. Auto decides
            by the manifest alone; if that engine cannot run here, this fails rather than taking the next.
        device: "cpu" or "cuda".
        threads: processor threads of one run; None means every core that this process may use for onnxruntime, and
            PyTorch's own choice for eager. TensorRT needs none.
        shared: other threads of this process need the cores too, so that an engine's threads must not spin on them
            while they wait. An engine that has the cores for itself is faster without (docs/log.md).

    Raises:
        EngineError: no such model or engine, a file whose SHA-256 is not the manifest's, an unsuitable device, or an
            engine that the parity gate found to differ from the model.
        MissingExtraError: the engine, or its support for the device, is not installed.
        InputError: unknown device, or fewer than one thread.
    """
    if device not in DEVICES:
        raise InputError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    if model.is_dir():
        return open_export(model, read_manifest(model), engine, device, threads, shared)
    if model.is_file() and model.suffix == ".safetensors":
        return _from_weights(model, engine, device, threads)
    raise EngineError(f"no model at {model}: give an export folder or a .safetensors file")


@dataclass(frozen=True)
class Backend:
    """How one engine is opened."""

    open: Callable[[Path, EngineInfo, Target, int | None, bool], Engine]
    devices: Callable[[Target], tuple[str, ...]]  # where this target can run, the best first
    problem: Callable[[Target, str], str]  # why this target cannot run on this device here, "" if it can


def open_export(
    folder: Path, manifest: Manifest, engine: str, device: str, threads: int | None = None, shared: bool = False
) -> Engine:
    """`load` for an export whose manifest was read."""
    targets = {"eager": EAGER}
    for target in manifest.targets.values():
        if target.engine in ENGINES:
            targets.setdefault(target.engine, target)  # two targets may run on one engine: the first
    named = [name for name in ENGINES if name in targets]
    available = [name for name in named if device in ENGINES[name].devices(targets[name])]
    target = targets[_chosen(engine, available, named, folder, device)]
    return open_target(folder, manifest, target, device, threads, shared=shared)


def open_target(
    folder: Path,
    manifest: Manifest,
    target: Target,
    device: str,
    threads: int | None = None,
    unverified: bool = False,
    shared: bool = False,
) -> Engine:
    """Open one target; with `unverified` even if the parity gate found that it differs, to measure it again."""
    if not unverified and isinstance(target.parity, Parity) and target.parity.beyond():
        _refuse_different(folder, target.engine, target.parity)
    for file in target.files:
        checked_file(folder, manifest, file)
    backend = ENGINES[target.engine]
    return backend.open(folder / target.files[0], _info(manifest, target, device), target, threads, shared)


def obstacle(target: Target) -> tuple[str, str]:
    """The device on which a target would run on this machine, and what keeps it from that; "" if nothing does."""
    if target.engine not in ENGINES:
        return "cpu", f"this version of disasym has no engine {target.engine!r}"
    backend = ENGINES[target.engine]
    problems = {device: backend.problem(target, device) for device in backend.devices(target)}
    return next(((device, "") for device, problem in problems.items() if not problem), next(iter(problems.items())))


def _open_onnxruntime(file: Path, info: EngineInfo, _: Target, threads: int | None, shared: bool) -> Engine:
    from disasym.engines.ort import OrtEngine

    return OrtEngine(file, info, threads, shared)


def _open_eager(file: Path, info: EngineInfo, _: Target, threads: int | None, __: bool) -> Engine:
    from disasym.engines.eager import EagerEngine

    return EagerEngine(file, info, threads)


def _open_aotinductor(file: Path, info: EngineInfo, target: Target, threads: int | None, _: bool) -> Engine:
    from disasym.engines.aoti import AotiEngine

    return AotiEngine(file, info, target, threads)


def _open_tensorrt(file: Path, info: EngineInfo, target: Target, _: int | None, __: bool) -> Engine:
    from disasym.engines.trt import TrtEngine

    return TrtEngine(file, info, target)


def _problem_of_tensorrt(target: Target, device: str) -> str:
    from disasym.engines.trt import problem

    return problem(target, device)


def _problem_of_aotinductor(target: Target, device: str) -> str:
    from disasym.engines.aoti import problem

    return problem(target, device)


def _problem_of_onnxruntime(target: Target, device: str) -> str:
    if target.precision == "bf16" and device == "cpu":
        return "onnxruntime has no bf16 kernels for CPUs"
    if device == "cuda":
        from disasym.engines.ort import cuda_problem

        return cuda_problem()
    return ""


def _no_problem(_: Target, __: str) -> str:
    return ""


ENGINES = {  # fastest first: the order in which "auto" looks
    "tensorrt": Backend(_open_tensorrt, lambda _: ("cuda",), _problem_of_tensorrt),
    "tensorrt-rtx": Backend(_open_tensorrt, lambda _: ("cuda",), _problem_of_tensorrt),
    "onnxruntime": Backend(_open_onnxruntime, lambda _: ("cpu", "cuda"), _problem_of_onnxruntime),
    "aotinductor": Backend(
        _open_aotinductor, lambda target: (str(target.facts.get("device", "cpu")),), _problem_of_aotinductor
    ),
    "eager": Backend(_open_eager, lambda _: ("cpu", "cuda"), _no_problem),
}
EAGER = Target(  # every export has the weights, so every export runs eagerly, as the reference
    engine="eager",
    precision="fp32",
    files=(WEIGHTS,),
    max_batch=None,
    versions={},
    facts={},
    parity="it is the reference",
)


def _from_weights(weights: Path, engine: str, device: str, threads: int | None) -> Engine:
    _chosen(engine, ["eager"], ["eager"], weights, device)
    from disasym.engines.eager import describe

    return _open_eager(weights, describe(weights, device), EAGER, threads, False)


def _chosen(engine: str, available: list[str], elsewhere: list[str], model: Path, device: str) -> str:
    """The engine's name; `available` are those of the model on this device, `elsewhere` on any."""
    if engine == "auto" and available:
        return available[0]
    if engine in available:
        return engine
    if engine in elsewhere:
        raise EngineError(f"the {engine} engine of {model} does not run on device {device!r}: ask for another device")
    known = "unknown engine" if engine not in (*ENGINES, "auto") else "no engine"
    raise EngineError(f"{known} {engine!r} for {model}: it has {_listed(elsewhere)}; disasym export makes more")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _refuse_different(folder: Path, name: str, parity: Parity) -> NoReturn:
    output = parity.beyond()[0]
    raise EngineError(
        f"disasym verify found that {name} of {folder} is not the model it was made from: |Δ {output}| was"
        f" {parity.measured[output]:.3g} on {parity.pairs} {parity.source} pairs, at most {parity.tolerance[output]:g}"
        " is accepted; export the model again, or mend what differs and run disasym verify"
    )


def _info(manifest: Manifest, target: Target, device: str) -> EngineInfo:
    return EngineInfo(
        preset=manifest.preset,
        height=manifest.height,
        width=manifest.width,
        precision=target.precision,
        model_sha256=manifest.model_sha256,
        device=device,
        max_batch=target.max_batch,
        outputs=tuple(manifest.outputs),
        calibrated=manifest.temperatures is not None,
    )
