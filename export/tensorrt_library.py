"""The two libraries that build TensorRT engines, what each needs of the machine, and the refusal where it is absent.

Imports neither: whether an engine can be built is known before anything is made for it.
"""

import importlib.util
from dataclasses import dataclass
from typing import Literal

from disasym.engines.trt_cuda import find_gpu
from disasym.errors import ExportError, InputError, MissingExtraError

Flavour = Literal["tensorrt-rtx", "tensorrt"]


@dataclass(frozen=True)
class Library:
    """The package that builds one flavour."""

    module: str
    extra: str
    needs_gpu: bool  # it times kernels while it builds
    names_capabilities: bool  # has `ComputeCapability`: builds for GPUs other than the one that is here
    plugins: bool  # takes kernels that were compiled ahead of time
    times: bool  # keeps what it timed; TensorRT-RTX says of itself that its timing cache does nothing since version 1.2
    # Where none are named: https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html
    runs_on: str = ""


LIBRARIES: dict[str, Library] = {
    "tensorrt-rtx": Library(
        "tensorrt_rtx_bindings",
        "rtx",
        needs_gpu=False,
        names_capabilities=True,
        plugins=False,
        times=False,
        runs_on="8.0, 8.6, 8.9, 12.0 and later, as NVIDIA documents it",
    ),
    "tensorrt": Library("tensorrt", "gpu", needs_gpu=True, names_capabilities=False, plugins=True, times=True),
}


def require(flavour: str, compute_capabilities: tuple[str, ...] = (), target: str = "", plugin: bool = False) -> None:
    """Refuse what this machine cannot build, the GPU first: without one the package would be of no use.

    Args:
        flavour: the library.
        compute_capabilities: those that were asked for.
        target: what is built with it, as messages call it; "" means the library's own name.
        plugin: whether the engine is to hold our own kernel.

    Raises:
        ExportError: no GPU where one is needed.
        MissingExtraError: the package is not installed.
        InputError: compute capabilities for a library that builds for the GPU of its machine alone, or a plugin for one
            that takes none.
    """
    library = LIBRARIES[flavour]
    if compute_capabilities and not library.names_capabilities:
        raise InputError(
            f"{flavour} builds for the GPU of this machine and cannot be told {', '.join(compute_capabilities)}: leave"
            " compute_capabilities empty, or build tensorrt-rtx"
        )
    if plugin and not library.plugins:
        raise InputError(f"{flavour} has no plugin API for a kernel of ours: leave the plugin out, or build tensorrt")
    if library.needs_gpu and isinstance(gpu := find_gpu(), str):
        raise ExportError(
            f"target {(target or flavour)!r} cannot be built here, {gpu}: export on the machine whose GPU will run"
            " it, or name tensorrt-rtx, which builds without one"
        )
    if importlib.util.find_spec(library.module) is None:
        raise MissingExtraError(f"--to {target or flavour}", library.module, library.extra)
    if plugin and importlib.util.find_spec("triton") is None:
        raise MissingExtraError("--plugin", "triton", "gpu")
