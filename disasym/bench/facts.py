"""What every row says of where and with what it was measured. No name of a user or computer."""

import os
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from disasym import __version__
from disasym.doctor import gpu, machine

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "triton",
    "tensorrt",
    "tensorrt_rtx_cu13_bindings",
    "pycuda",
)


def facts(device: str) -> dict[str, Any]:
    """Machine, versions and the time, for all rows of a race."""
    computer = machine.look()
    found = gpu.look().gpus if device == "cuda" else ()
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": computer.processor,
            "cores": computer.cores,
            "core_quota": computer.core_quota,
            "instructions": sorted(name for name, there in (computer.instructions or {}).items() if there),
            "memory_bytes": computer.memory_bytes,
            "platform": computer.platform,
            "gpus": [{"name": each.name, "driver": each.driver} for each in found],
            "load": load(),
        },
        "versions": {"python": computer.python, "disasym": __version__, **_installed()},
    }


def load() -> float | None:
    """Processes that wanted a core in the last minute; what was there before the race is noise in it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def gpu_bytes() -> int | None:
    """Memory in use on all GPUs together; None without one, or where the driver does not say."""
    held = 0
    for each in (found := gpu.look().gpus):
        if each.memory_bytes is None or each.memory_free_bytes is None:
            return None
        held += each.memory_bytes - each.memory_free_bytes
    return held if found else None


def available_bytes() -> int | None:
    """Memory that a process of this machine or container can still get."""
    computer = machine.look()
    known = [computer.memory_available_bytes, _left_to_container(computer.memory_limit_bytes)]
    return min((each for each in known if each is not None), default=None)


def _left_to_container(limit: int | None) -> int | None:
    try:
        held = int((machine.CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (machine.CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit is None else limit - held + int(stat.get("inactive_file", 0))  # files are given up first


def _installed() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
