"""The AOTInductor engine: a .pt2 package of compiled C++ or CUDA code. Needs torch, but none of the Python model."""

import ctypes
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from disasym.engines.base import Engine, EngineInfo
from disasym.engines.eager import settings
from disasym.engines.torch_copies import is_out_of_memory, to_device, to_host
from disasym.errors import EngineError, MissingExtraError
from disasym.export.manifest import Target
from disasym.spec import Array

if TYPE_CHECKING:
    from torch import Tensor

SIZE = "disasym_size"  # the key in a package's metadata
# Names of instruction sets as in /proc/cpuinfo of Linux; the compiler is told to use all that it knows.
PREFIXES = (
    "avx",
    "amx",
    "fma",
    "sse",
    "ssse",
    "bmi",
    "f16c",
    "gfni",
    "vaes",
    "vpclmul",
    "popcnt",
    "abm",
    "adx",
    "movbe",
)


class AotiEngine(Engine):
    """Runs a package of `disasym.export.to_aotinductor`."""

    name = "aotinductor"

    def __init__(self, package: Path, info: EngineInfo, target: Target, threads: int | None = None) -> None:
        """Open a package whose hash was checked.

        Raises:
            MissingExtraError: torch is not installed.
            EngineError: another torch, processor, device or size than it was compiled for.
        """
        super().__init__(info)
        self._threads = threads
        self._model: Callable[[Tensor], list[Tensor]] | None = _loaded(package, info, target)

    def _infer(self, views: Array) -> dict[str, Array]:
        import torch

        assert self._model is not None  # noqa: S101 - run() refuses a closed engine
        try:
            with torch.inference_mode(), settings(self._threads):
                outputs = self._model(to_device(views, self.info.device))
                return to_host(dict(zip(self.info.outputs, outputs, strict=True)))
        except (RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise MemoryError(f"a batch of {len(views)} pairs does not fit into memory: {error}") from None
            raise EngineError(f"AOTInductor failed on a batch of {len(views)} pairs: {error}") from None

    def _release(self) -> None:
        self._model = None


def problem(target: Target, device: str) -> str:
    """Why a package cannot run on this machine, "" if it can. What was compiled for other instructions would crash."""
    try:
        import torch
    except ModuleNotFoundError:
        return "torch is not installed"
    if str(torch.__version__) != target.versions.get("torch"):
        return f"compiled by torch {target.versions.get('torch')}, this is {torch.__version__}"
    wanted = str(target.facts.get("cpu", ""))
    if absent := sorted(set(wanted.split()) - set(instruction_sets().split())):
        return f"compiled for a processor with {' '.join(absent)}, which this one lacks"
    if device == "cuda":
        if not torch.cuda.is_available():
            return "no GPU"
        if torch.cuda.get_device_name() != target.facts.get("gpu"):
            return f"compiled for {target.facts.get('gpu')}, this is {torch.cuda.get_device_name()}"
    return ""


def instruction_sets() -> str:
    """What the compiler may have used of this processor: its architecture, and on Linux its instruction sets."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    chosen = sorted({flag for flag in flags if flag.startswith(PREFIXES) or platform.machine() != "x86_64"})
    return " ".join([platform.machine(), *chosen])


def size_of(height: int, width: int, outputs: tuple[str, ...]) -> str:
    """What a package says of its tensors. Its code was compiled for one size and reads beyond any smaller array."""
    return f"{height}x{width}: {', '.join(outputs)}"


def _loaded(package: Path, info: EngineInfo, target: Target) -> "Callable[[Tensor], list[Tensor]]":
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtraError("the aotinductor engine", "torch", "train") from None
    if why := problem(target, info.device):
        raise EngineError(f"{package} cannot run here: {why}; export the model again on this machine")
    _share_standard_library()
    try:
        # What `aoti_load_package` is but for its checks: they compile and start a test program for each instruction
        # set, half a minute with PyTorch for CUDA, only to warn of what `problem` has checked (docs/log.md, 2026-11-27)
        model = torch._C._aoti.AOTIModelPackageLoader(str(package), "model", False, 1, -1)
        found = model.get_metadata().get(SIZE, "no size")
    except Exception as error:  # whatever the loader of shared libraries says
        raise EngineError(f"torch {torch.__version__} cannot open {package}: {error}; export it again here") from None
    wanted = size_of(info.height, info.width, info.outputs)
    if found != wanted:
        raise EngineError(f"{package} is not the model its manifest describes: it has {found}, wanted {wanted}")
    return lambda views: model.run([views])


def _share_standard_library() -> None:
    """Packages shall use the C++ library that PyTorch uses, even if they hold one of their own.

    A compiler that finds that library as an archive only links it into the package, and two of them do not know each
    other's locales: opening ended with std::bad_cast here, and with a crash on a GPU machine (docs/log.md, 2026-11-27).
    """
    if platform.system() == "Linux":
        with suppress(OSError):  # another standard library: then PyTorch does not use this one either
            ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)
