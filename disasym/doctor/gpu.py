"""GPU, driver, CUDA compiler and Triton, without PyTorch.

By `nvidia-smi`, which every driver brings: it can be stopped when a broken driver lets it hang, which a call into the
driver's library from here cannot.
"""

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from disasym.doctor.findings import Finding
from disasym.doctor.limited import Ended, run_limited
from disasym.doctor.packages import version_of
from disasym.subprocesses import described

SECONDS = 10.0  # nvidia-smi wakes sleeping GPUs first, one after the other
FIELDS = ("index", "name", "driver_version", "compute_cap", "memory.total", "memory.free")
TOOLKITS = ("nvcc", "/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")
LEAST_TRITON = (8, 0)  # compute capability; https://github.com/triton-lang/triton, "Compatibility"


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it; what it does not know is None."""

    index: int
    name: str
    driver: str
    compute_capability: str | None  # as in "9.0"
    memory_bytes: int | None
    memory_free_bytes: int | None


@dataclass(frozen=True)
class Gpus:
    """What nvidia-smi answered; `problem` says in a clause why there is no GPU."""

    gpus: tuple[Gpu, ...]
    problem: str = ""
    broken: bool = False  # there is a driver, and it does not work


@dataclass(frozen=True)
class Toolkit:
    """The CUDA compiler, by which pycuda finds the toolkit that it is built with (its setup.py, 2026.1)."""

    nvcc: str | None  # its version; None: not found
    problem: str = ""
    off_path: str = ""  # where nvcc is if the PATH does not lead there: pycuda's build would not find it


@dataclass(frozen=True)
class Triton:
    """Triton, and whether its kernels can be used here."""

    version: str | None
    usable: bool
    reason: str  # empty if usable


def look(seconds: float = SECONDS) -> Gpus:
    """Ask nvidia-smi."""
    query = ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    ended = run_limited(query, seconds)
    if ended.code is None:
        return Gpus((), ended.problem, broken="not on the PATH" not in ended.problem)
    gpus = [gpu for line in ended.output.splitlines() if (gpu := parse(line))]
    if ended.code == 0 and gpus:
        return Gpus(tuple(gpus))
    return Gpus((), _complaint(ended), broken=True)


def parse(line: str) -> Gpu | None:
    """One line of the answer; None if it is not one."""
    values = [value.strip() for value in line.split(",")]
    if len(values) != len(FIELDS) or not values[0].isdecimal() or not re.fullmatch(r"\d+(\.\d+)+", values[2]):
        return None
    capability = values[3] if re.fullmatch(r"\d+\.\d+", values[3]) else None
    return Gpu(int(values[0]), values[1], values[2], capability, _mebibytes(values[4]), _mebibytes(values[5]))


def toolkit(seconds: float = SECONDS) -> Toolkit:
    """Find nvcc on the PATH, else where the toolkit is usually installed."""
    for place in TOOLKITS:
        ended = run_limited([place, "--version"], seconds)
        if ended.code is None and "not on the PATH" in ended.problem:
            continue
        release = re.search(r"release (\d+(?:\.\d+)+)", ended.output)
        if ended.code == 0 and release:
            return Toolkit(release[1], off_path=str(Path(place).parent) if "/" in place else "")
        return Toolkit(None, ended.problem or "nvcc does not say its version")
    return Toolkit(None, "nvcc is not on the PATH")


def triton(found: Gpus) -> Triton:
    """Whether Triton is there, is the one that torch was built for, and has a GPU that it supports."""
    version, wanted = version_of("triton"), _of_torch()
    if version is None:
        return Triton(None, False, "not installed: pip install 'disasym[gpu]'")
    if wanted and wanted.split("==")[-1] != version:
        return Triton(version, False, f"torch {version_of('torch')} wants {wanted}: pip install '{wanted}'")
    if not found.gpus:
        return Triton(version, False, "no NVIDIA GPU")
    best = max((_pair(gpu.compute_capability) for gpu in found.gpus), default=(0, 0))
    if best < LEAST_TRITON:
        has, least = (".".join(map(str, each)) for each in (best, LEAST_TRITON))
        return Triton(version, False, f"the GPU has compute capability {has}, wanted {least} or more")
    return Triton(version, True, "")


def findings(found: Gpus) -> list[Finding]:
    """A driver that does not work. No GPU at all is no fault."""
    if not found.broken:
        return []
    text = f"the NVIDIA driver does not answer: {found.problem}; restart, or install the driver again"
    return [Finding("warning", "gpu", text)]


def _complaint(ended: Ended) -> str:
    """Why nvidia-smi names no GPU: its own first sentence, if it has one."""
    lines = [line.strip() for line in (*ended.output.splitlines(), *ended.errors.splitlines()) if line.strip()]
    said = f"nvidia-smi said “{lines[0][:160].rstrip('. ')}”" if lines else "nvidia-smi named no GPU"
    return f"{said} and {described(ended.code)}" if ended.code else said


def _of_torch() -> str | None:
    """The exact Triton that the installed torch declares, as `triton==3.6.0`; builds for the CPU declare none."""
    try:
        from packaging.requirements import Requirement

        for line in metadata.requires("torch") or []:
            requirement = Requirement(line)
            if requirement.name == "triton" and (requirement.marker is None or requirement.marker.evaluate()):
                return f"triton{requirement.specifier}" if str(requirement.specifier).startswith("==") else None
    except (ImportError, ValueError):  # no torch, no packaging, or a requirement that is none
        pass
    return None


def _pair(capability: str | None) -> tuple[int, int]:
    major, _, minor = (capability or "0.0").partition(".")
    return int(major), int(minor)


def _mebibytes(text: str) -> int | None:
    return int(text) * 2**20 if text.isdecimal() else None
