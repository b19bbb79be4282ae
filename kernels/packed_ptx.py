"""The packed forward kernel as PTX, for a launcher without Triton: compiled, assembled and read without a GPU.

Two things differ from what Triton itself would launch:

- **Two parameters, not four.** Triton appends two pointers to scratch memory, which this kernel never reads. Launchers
  that pass tensors alone would leave them undefined, so they are taken out of the text, which is then assembled again.
- **At most 48 KiB of shared memory.** More has to be asked for at run time (CUDA C++ Programming Guide, "Shared
  Memory" of compute capability 8.x and 9.0), and whether a launcher does so is not ours to know.
"""

import math
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from disasym.errors import InputError
from disasym.kernels import LARGEST_OFFSET, TRITON_DIMS
from disasym.kernels.ahead_of_time import MachineCode, Variant, disassembled, faults, run_tool
from disasym.kernels.packed import attention_packed, programs_a_pair
from disasym.kernels.tiles import Key, Tile, key_for, stored

MOST_SHARED = 48 * 1024
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}  # Triton's names


@dataclass(frozen=True)
class Ptx:
    """A kernel `name(qkv, out)`, launched with batch · programs_a_pair programs in one dimension."""

    name: str
    text: str
    threads: int  # of a program
    shared: int  # bytes of a program
    programs_a_pair: int
    tile: Tile
    code: MachineCode


def packed_ptx(tokens: int, heads: int, dim: int, dtype: str, capability: tuple[int, int]) -> Ptx:
    """Compile for packed projections [B, 2, tokens, 3·heads·dim] of Triton's `dtype`, scaled by 1/√dim.

    The stored tile of this GPU, or the next smaller one that is sound and fits into MOST_SHARED.

    Raises:
        InputError: a shape or dtype that the kernel does not take, no tile is sound on this GPU, or the kernels are
            interpreted.
    """
    if dim not in TRITON_DIMS or dtype not in DTYPES:
        takes = f"dimension {', '.join(map(str, TRITON_DIMS))} in {', '.join(DTYPES)}"
        raise InputError(f"the packed kernel takes heads of {takes}, these are {dim} in {dtype}")
    if (reach := 2 * tokens * 3 * heads * dim) > LARGEST_OFFSET:
        raise InputError(f"the packed kernel takes pairs of at most {LARGEST_OFFSET} numbers, these have {reach}")
    key = key_for("forward", capability, DTYPES[dtype], dim, tokens)
    refused = []
    for tile in smaller(stored()[key].tile):
        found = _compiled(key, tile, tokens, heads, dtype, capability)
        wrong = faults(Variant(key, dtype, tile, tokens % tile.columns == 0), found.code)
        if found.shared > MOST_SHARED:
            wrong.append(f"{found.shared} bytes of shared memory, at most {MOST_SHARED}")
        if not wrong:
            return found
        refused.append(f"{tile.rows}×{tile.columns}: {', '.join(wrong)}")
    what = f"compute capability {capability[0]}.{capability[1]}, {dtype}, {tokens} tokens, {heads} heads of {dim}"
    raise InputError(
        f"no tile of the packed kernel is sound for {what} ({'; '.join(refused)}): leave the plugin out, or add a tile"
        " to kernels/tiles.csv"
    )


def smaller(tile: Tile) -> Iterator[Tile]:
    """A tile and those below it: fewer stages first, then fewer keys, then fewer rows with fewer warps."""
    for rows, warps in ((tile.rows, tile.warps), (tile.rows // 2, max(4, tile.warps // 2))):
        for columns in (tile.columns, tile.columns // 2):
            for stages in range(tile.stages, 0, -1):
                if rows >= 16 and columns >= 16:  # the least that tl.dot takes
                    yield replace(tile, rows=rows, columns=columns, warps=warps, stages=stages)


def _compiled(key: Key, tile: Tile, tokens: int, heads: int, dtype: str, capability: tuple[int, int]) -> Ptx:
    if not isinstance(attention_packed, JITFunction):
        raise InputError("the kernels are interpreted, not compiled: unset TRITON_INTERPRET")
    fixed = {"TOKENS": tokens, "HEADS": heads, "DIM": key.dim, "LOG2_SCALE": key.dim**-0.5 * math.log2(math.e)}
    fixed |= {"ROWS": tile.rows, "COLUMNS": tile.columns, "EVEN": tokens % tile.columns == 0}
    names = attention_packed.arg_names
    signature = {name: "constexpr" if name in fixed else f"*{dtype}" for name in names}
    aligned = {(place,): [["tt.divisibility", 16]] for place in range(2)}
    source = ASTSource(attention_packed, signature, fixed, aligned)
    target = GPUTarget("cuda", capability[0] * 10 + capability[1], 32)
    with knobs.compilation.scope():
        knobs.compilation.disable_line_info = True  # paths of this machine, which the engine would carry along
        kernel = triton.compile(source, target=target, options={"num_warps": tile.warps, "num_stages": tile.stages})
    text, shared = without_scratch(kernel.asm["ptx"], kernel.metadata.name), int(kernel.metadata.shared)
    return Ptx(
        name=kernel.metadata.name,
        text=text,
        threads=32 * tile.warps,
        shared=shared,
        programs_a_pair=programs_a_pair(tokens, heads, tile),
        tile=tile,
        code=disassembled(_assembled(text, capability), shared),
    )


def without_scratch(ptx: str, name: str) -> str:
    """PTX whose entry takes the tensors alone.

    Raises:
        InputError: the kernel reads its scratch memory, so that it cannot do without.
    """
    if re.search(rf"\[{name}_param_[2-9]\b", ptx):
        raise InputError(f"the compiled {name} reads scratch memory, which only Triton's own launcher gives it")
    return re.sub(rf",\s*\.param [^,()]*\b{name}_param_[2-9]\b(?=[\s,)])", "", ptx)


def _assembled(ptx: str, capability: tuple[int, int]) -> bytes:
    target = re.search(r"^\.target (sm_\w+)", ptx, re.MULTILINE)
    assert target is not None, ptx[:200]  # noqa: S101 - every PTX module has one
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        assembler = "ptxas-blackwell" if capability[0] >= 10 else "ptxas"
        run_tool(assembler, f"--gpu-name={target[1]}", str(source), "--output-file", str(cubin))
        return cubin.read_bytes()
