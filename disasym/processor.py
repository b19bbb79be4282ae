"""What the processor can multiply, and whether its int8 sums are exact. Imports nothing heavy, for `disasym doctor`."""

import platform
from collections.abc import Mapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
X86 = ("x86_64", "amd64", "i386", "i686", "x86")  # as `platform.machine()` says on Linux, macOS and Windows
VNNI = ("AVX512-VNNI", "AVX-VNNI")

# What matters to this program → the flags of /proc/cpuinfo that it takes, all of them.
INSTRUCTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86": {
        "AVX2": ("avx2",),
        "AVX-512": ("avx512f", "avx512bw", "avx512vl"),
        "AVX512-VNNI": ("avx512_vnni",),
        "AVX-VNNI": ("avx_vnni",),
        "AVX512-BF16": ("avx512_bf16",),
        "AMX-INT8": ("amx_tile", "amx_int8"),
        "AMX-BF16": ("amx_tile", "amx_bf16"),
    },
    "arm": {"NEON": ("asimd",), "DOTPROD": ("asimddp",), "I8MM": ("i8mm",), "BF16": ("bf16",), "SVE": ("sve",)},
}


def facts_of(path: Path) -> dict[str, str]:
    """The `name : value` lines of a file in /proc; of several processors the first. Empty without such a file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.partition(":")
        if separator:
            values.setdefault(name.strip(), value.strip())
    return values


def instructions(cpuinfo: Mapping[str, str]) -> dict[str, bool] | None:
    """Which instruction sets of INSTRUCTIONS a processor has, by the `flags` or `Features` of /proc/cpuinfo."""
    for key, family in (("flags", "x86"), ("Features", "arm")):
        if key in cpuinfo:
            flags = set(cpuinfo[key].split())
            return {name: flags.issuperset(needed) for name, needed in INSTRUCTIONS[family].items()}
    return None


def here() -> dict[str, bool] | None:
    """The instruction sets of this processor; None where they are not known (macOS, Windows)."""
    return instructions(facts_of(CPUINFO))


def lacks_vnni(have: Mapping[str, bool] | None, machine: str | None = None) -> bool:
    """Whether this is an x86 processor that is not known to have VNNI.

    Such a processor adds two products of uint8 and int8 in 16 bits, and cuts off what is beyond ±2¹⁵: integer layers
    are wrong without a word, unless onnxruntime is told to avoid that (docs/adr/0015). Unknown counts as lacking: the
    products are slower then, not wrong.

    Args:
        have: instruction sets, as `instructions` gives them.
        machine: as `platform.machine()`, which it is by default.
    """
    return (machine or platform.machine()).lower() in X86 and not any((have or {}).get(name) for name in VNNI)
