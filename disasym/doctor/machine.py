"""The computer: Python, platform, cores and what they can multiply, memory, room on the disk. Imports nothing heavy."""

import errno
import os
import platform
import secrets
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from disasym.doctor.findings import Finding
from disasym.processor import CPUINFO, facts_of, instructions

LEAST_FREE = 2**30  # bytes: an export of the paper preset holds its 36 million float32 weights twice, some 290 MB
OLDEST_PYTHON = (3, 11)
CGROUP = Path("/sys/fs/cgroup")  # where a container sees its own limits (cgroup v2)


@dataclass(frozen=True)
class Machine:
    """The computer that this process sees."""

    python: str
    implementation: str
    executable: str
    platform: str
    processor: str | None
    cores: int  # that this process may use
    core_quota: float | None  # cores' worth of time that a container allows; None: no limit known
    instructions: dict[str, bool] | None  # None: not known on this platform
    memory_bytes: int | None
    memory_available_bytes: int | None
    memory_limit_bytes: int | None  # of a container


@dataclass(frozen=True)
class Folder:
    """A folder that is written to."""

    path: str
    writable: bool
    free_bytes: int | None
    problem: str = ""


def look(cpuinfo: Path = CPUINFO, meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> Machine:
    """What the operating system says; what it does not say is None."""
    info, memory = facts_of(cpuinfo), facts_of(meminfo)
    return Machine(
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        executable=sys.executable,
        platform=platform.platform(),
        processor=info.get("model name") or platform.processor() or None,
        cores=_usable_cores(),
        core_quota=_quota(_read(cgroup / "cpu.max")),
        instructions=instructions(info),
        memory_bytes=_kibibytes(memory.get("MemTotal")) or _pages(),
        memory_available_bytes=_kibibytes(memory.get("MemAvailable")),
        memory_limit_bytes=_whole(_read(cgroup / "memory.max")),
    )


def temporary_folder() -> Folder:
    """The folder for temporary files, tried by writing; Python itself would pass over one that cannot be written."""
    named = next((value for name in ("TMPDIR", "TEMP", "TMP") if (value := os.environ.get(name))), None)
    try:
        return folder(Path(named or tempfile.gettempdir()))
    except FileNotFoundError:
        return Folder("", False, None, "there is no folder for temporary files that can be written")


def folder(path: Path) -> Folder:
    """Whether a file can be written, read back and removed in `path`, and the room on its disk."""
    try:
        free = shutil.disk_usage(path).free
    except OSError:
        free = None
    probe, content = path / f".disasym-doctor-{secrets.token_hex(6)}", secrets.token_bytes(4096)
    try:
        probe.write_bytes(content)
        same = probe.read_bytes() == content
        probe.unlink()
    except OSError as error:
        why = error.strerror or errno.errorcode.get(error.errno or 0, type(error).__name__)
        return Folder(str(path), False, free, f"it cannot be written: {why}")
    return Folder(str(path), same, free, "" if same else "it gives back other bytes than were written")


def findings(machine: Machine, temporary: Folder) -> list[Finding]:
    """What is wrong with the computer."""
    found = []
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        found.append(
            Finding("failed", "python", f"Python {machine.python} is older than {wanted}: install a newer one")
        )
    if not temporary.writable:
        place = f"the temporary folder {temporary.path}: {temporary.problem}" if temporary.path else temporary.problem
        found.append(Finding("failed", "folders", f"{place}; make it writable, or set TMPDIR to one that is"))
    elif temporary.free_bytes is not None and temporary.free_bytes < LEAST_FREE:
        left = f"{temporary.free_bytes / 2**20:.0f} MiB"
        found.append(
            Finding("warning", "folders", f"only {left} are free in {temporary.path}: make room, or set TMPDIR")
        )
    return found


def _usable_cores() -> int:
    """As `disasym.engines.base.usable_cores`, which cannot be asked where numpy is missing."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _kibibytes(text: str | None) -> int | None:
    number = _whole((text or "").removesuffix("kB"))
    return None if number is None else number * 1024


def _pages() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _quota(text: str) -> float | None:
    """`cpu.max`: time allowed in each period, in microseconds, or "max"."""
    parts = text.split()
    if len(parts) != 2 or not all(part.isdecimal() for part in parts) or not int(parts[1]):
        return None
    return int(parts[0]) / int(parts[1])


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() else None
