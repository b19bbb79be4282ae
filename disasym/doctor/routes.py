"""Which engines can run here, on which device, and for each that cannot, why and what to do.

The engines are those of `disasym.engines.ENGINES`, judged by what is installed; only the engine of the model's trial,
or all of them with --thorough, is started.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from disasym.doctor.gpu import Gpus, Toolkit
from disasym.doctor.packages import version_of
from disasym.doctor.trial import Run

State = Literal["runs", "ready", "absent"]
DEVICES = ("cpu", "cuda")
NOT_TRIED = "what it needs is there; disasym doctor --thorough tries it"
UNKNOWN = "not tried; disasym doctor --thorough tries it"


@dataclass(frozen=True)
class Needs:
    """What an engine takes to run; `disasym.engines` itself imports it only when it is opened."""

    packages: tuple[str, ...]
    extra: str
    devices: tuple[str, ...] = DEVICES


NEEDS = {
    "onnxruntime": Needs((), "base"),  # itself or onnxruntime-gpu: asked for its providers instead
    "eager": Needs(("torch", "safetensors"), "train"),
    "aotinductor": Needs(("torch",), "train"),
    "tensorrt": Needs(("tensorrt", "pycuda"), "gpu", ("cuda",)),
    "tensorrt-rtx": Needs(("tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu13_libs", "pycuda"), "rtx", ("cuda",)),
}


@dataclass(frozen=True)
class Route:
    """One engine on one device."""

    engine: str
    device: str
    state: State  # "runs": tried just now. "ready": not tried. "absent": cannot
    reason: str  # empty if it runs; else why, and the next step


@dataclass(frozen=True)
class Ground:
    """What the engines stand on."""

    gpus: Gpus
    toolkit: Toolkit
    providers: tuple[str, ...] | None  # of onnxruntime


def judge(engines: Iterable[str], ground: Ground, tried: Iterable[Run]) -> tuple[Route, ...]:
    """Every engine on every device that it knows. `tried` are those that were started just now."""
    runs = {(run.engine, run.device): run for run in tried}
    found = []
    for engine in engines:
        needs = NEEDS.get(engine)
        for device in needs.devices if needs else DEVICES:
            run = runs.get((engine, device))
            if run is not None and run.runs:
                found.append(Route(engine, device, "runs", ""))
                continue
            missing = obstacle(engine, device, ground) or (run.problem if run else "")
            left = NOT_TRIED if needs else UNKNOWN
            found.append(Route(engine, device, "absent" if missing else "ready", missing or left))
    return tuple(found)


def obstacle(engine: str, device: str, ground: Ground) -> str:
    """Why an engine cannot run on a device, and the next step; "" if nothing is known to be in the way."""
    needs = NEEDS.get(engine)
    if needs is not None:
        missing = [name for name in needs.packages if version_of(name) is None]
        if missing:
            are = "are" if len(missing) > 1 else "is"
            return f"{_listed(missing)} {are} not installed: {_remedy(missing, needs, ground)}"
    if engine == "onnxruntime" and ground.providers is None:
        return "onnxruntime cannot be imported: pip install --force-reinstall onnxruntime"
    if device != "cuda":
        return ""
    if not ground.gpus.gpus:
        return "no NVIDIA GPU"
    if engine == "onnxruntime" and "CUDAExecutionProvider" not in (ground.providers or ()):
        return "this onnxruntime is built without CUDA: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
    torch = version_of("torch") or ""
    if engine in ("eager", "aotinductor") and torch.endswith("+cpu"):
        return f"torch {torch} is built without CUDA: install a CUDA build of it (https://pytorch.org/get-started)"
    return ""


def _remedy(missing: list[str], needs: Needs, ground: Ground) -> str:
    install = f"pip install 'disasym[{needs.extra}]'"
    if "pycuda" not in missing:
        return install
    install = install if needs.extra == "gpu" else f"pip install 'disasym[{needs.extra},cuda]'"
    if ground.toolkit.off_path:
        return f"add {ground.toolkit.off_path} to the PATH, pycuda is built from source and looks there; then {install}"
    if ground.toolkit.nvcc:
        return f"{install} (pycuda is built from source, with the CUDA toolkit that is here)"
    return f"install the CUDA toolkit first, pycuda is built from source with its headers; then {install}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
