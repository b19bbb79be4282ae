"""Compile the kernels without a GPU, and read from the machine code whether they are what README.md plans.

    python -m disasym.kernels.ahead_of_time

compiles every stored tile for its architecture, prints a table and ends with 1 if a row breaks a rule of `faults`.
Needs Triton, whose wheel brings ptxas, cuobjdump and nvdisasm.
"""

import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from disasym.errors import InputError
from disasym.kernels.backward import attention_backward_keys, attention_backward_queries
from disasym.kernels.forward import attention_forward
from disasym.kernels.tiles import Key, Tile, stored

FUNCTIONS = {
    "forward": attention_forward,
    "backward_queries": attention_backward_queries,
    "backward_keys": attention_backward_keys,
}
TYPES = {16: ("fp16", "bf16"), 32: ("fp32",), 64: ("fp64",)}  # Triton's names of the dtypes of a width
PROGRAMS = ("cuobjdump", "nvdisasm")

# Limits of one multiprocessor, CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability".
REGISTERS, MOST_WARPS = 65536, 64
SHARED = {80: 164 * 1024, 90: 228 * 1024}  # bytes; each program takes 1 KiB more than it asks for
MOST_SHARED = {80: 99 * 1024, 90: 227 * 1024}  # of one program; for 80, that of consumer GPUs (8.6, 8.9, 12.0)
PLANNED_WARPS = {16: 8, 32: 4, 64: 4}  # at least so many at once on a multiprocessor (README.md, "Occupancy")


@dataclass(frozen=True)
class Variant:
    """One compilation: a stored tile, for one dtype of its width, with or without masks."""

    key: Key
    type: str  # Triton's name
    tile: Tile
    even: bool


@dataclass(frozen=True)
class MachineCode:
    """What the assembler made of a variant."""

    registers: int  # of one thread
    spills: int  # instructions that move registers to or from local memory
    shared: int  # bytes of one program
    matrix: dict[str, int]  # tensor-core instructions: HGMMA is wgmma, HMMA and DMMA are mma

    def warps(self, architecture: int, tile: Tile) -> int:
        """How many warps run at once on a multiprocessor."""
        by_registers = REGISTERS // (-(-self.registers // 8) * 8 * 32 * tile.warps)  # given out in eights
        by_shared = SHARED[architecture] // (self.shared + 1024)
        return min(by_registers, by_shared, MOST_WARPS // tile.warps) * tile.warps


def compiled(variant: Variant) -> Any:
    """Triton's CompiledKernel for packed projections of d contiguous numbers, 16-byte aligned, as the model passes.

    Raises:
        InputError: the kernels are interpreted (TRITON_INTERPRET=1), which leaves nothing to compile.
    """
    function = FUNCTIONS[variant.key.kernel]
    if not isinstance(function, JITFunction):
        raise InputError("the kernels are interpreted, not compiled: unset TRITON_INTERPRET")
    tile = variant.tile
    fixed = {"DIM": variant.key.dim, "ROWS": tile.rows, "COLUMNS": tile.columns, "EVEN": variant.even}
    fixed |= {name: 1 for name in function.arg_names if name.endswith("_dim")}
    signature = {name: "constexpr" if name in fixed else _type(name, variant) for name in function.arg_names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(function.arg_names)
        if signature[name].startswith("*") or name[1:] in ("_batch", "_side", "_token", "_head")
    }
    source = ASTSource(function, signature, fixed, aligned)
    options = {"num_warps": tile.warps, "num_stages": tile.stages}
    return triton.compile(source, target=GPUTarget("cuda", variant.key.architecture, 32), options=options)


def _type(argument: str, variant: Variant) -> str:
    if argument in ("lse", "delta"):
        return "*fp64" if variant.type == "fp64" else "*fp32"
    if argument in ("q", "k", "v", "out", "grad", "dq", "dk", "dv"):
        return f"*{variant.type}"
    return "fp32" if argument in ("scale", "log2_scale") else "i32"


def read(variant: Variant) -> MachineCode:
    """Compile a variant and disassemble it."""
    kernel = compiled(variant)
    return disassembled(kernel.asm["cubin"], int(kernel.metadata.shared))


def disassembled(cubin: bytes, shared: int) -> MachineCode:
    """What stands in an assembled kernel; `shared`: bytes of a program, which its launcher gives."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        usage = run_tool("cuobjdump", "-res-usage", str(file))
        code = run_tool("nvdisasm", "-c", str(file))
    registers = re.search(r"REG:(\d+)", usage)
    assert registers is not None, usage  # noqa: S101 - a change of cuobjdump's output must not pass as zero
    instructions = re.findall(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)", code, re.MULTILINE)
    return MachineCode(
        registers=int(registers[1]),
        spills=sum(name in ("STL", "LDL") for name in instructions),
        shared=shared,
        matrix={name: count for name in ("HGMMA", "HMMA", "DMMA") if (count := instructions.count(name))},
    )


def run_tool(program: str, *arguments: str) -> str:
    """One of the NVIDIA programs in Triton's wheel; returns what it printed."""
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / program
    return subprocess.run([path, *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S603


def faults(variant: Variant, code: MachineCode) -> list[str]:
    """What is not as planned; empty for a variant that may ship."""
    key, found = variant.key, []
    if not code.matrix:
        found.append("no tensor-core instruction")
    elif key.architecture == 90 and key.bits == 16 and key.tokens == "long" and set(code.matrix) != {"HGMMA"}:
        found.append(f"{', '.join(code.matrix)} instead of HGMMA")
    if code.spills:
        found.append(f"{code.spills} spills")
    if code.shared > MOST_SHARED[key.architecture]:
        found.append(f"{code.shared} bytes of shared memory, at most {MOST_SHARED[key.architecture]}")
    if (warps := code.warps(key.architecture, variant.tile)) < PLANNED_WARPS[key.bits]:
        found.append(f"{warps} warps at once, planned {PLANNED_WARPS[key.bits]}")
    return found


def variants() -> Iterator[Variant]:
    """Everything that the stored tiles can launch."""
    for key, choice in stored().items():
        for type_, even in itertools.product(TYPES[key.bits], (True, False)):
            yield Variant(key, type_, choice.tile, even)


def _row(variant: Variant) -> tuple[str, list[str]]:
    code, key, tile = read(variant), variant.key, variant.tile
    matrix = " ".join(f"{count} {name}" for name, count in code.matrix.items()) or "none"
    text = (
        f"{key.kernel:17}{key.architecture:>5}{variant.type:>6}{key.dim:>5}{key.tokens:>7}"
        f"{'' if variant.even else 'masked':>8}{tile.rows:>6}x{tile.columns:<4}{tile.warps:>5}{tile.stages:>7}"
        f"{code.registers:>10}{code.spills:>7}{code.shared:>8}{code.warps(key.architecture, tile):>9}  {matrix}"
    )
    return text, faults(variant, code)


def main() -> int:
    print(
        f"{'kernel':17}{'arch':>5}{'type':>6}{'dim':>5}{'N':>7}{'':8}{'tile':>8}{'warps':>8}{'stages':>7}"
        f"{'registers':>10}{'spills':>7}{'shared':>8}{'at once':>9}  tensor cores"
    )
    broken = 0
    with ProcessPoolExecutor() as pool:
        for text, wrong in pool.map(_row, variants(), chunksize=4):
            print(text + (f"  FAULT: {'; '.join(wrong)}" if wrong else ""), flush=True)
            broken += bool(wrong)
    print(f"{broken} of {len(list(variants()))} variants break the plan of kernels/README.md")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
