"""The kernel of the TensorRT plugin: its values in Triton's interpreter, its machine code for A100 and H100."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from disasym import kernels
from disasym.errors import InputError
from disasym.kernels import reference
from disasym.kernels.tiles import Tile
from interpreter import faithful_bfloat16
from tolerances import tolerance

if not kernels.HAS_TRITON:
    pytest.skip("Triton has no build for this platform", allow_module_level=True)

from disasym.kernels import op
from disasym.kernels.packed import attention_packed, programs_a_pair
from disasym.kernels.packed_ptx import MOST_SHARED, packed_ptx, smaller, without_scratch

DEVICE = "cpu" if op.INTERPRETED else "cuda"
TILE = Tile(32, 32, 4, 1)
SHAPES = [(1, 17, 2, 32), (2, 32, 6, 32), (1, 127, 1, 64), (1, 33, 1, 128)]  # batch, tokens, heads, dim


@pytest.fixture(autouse=True, scope="module")
def _interpreter_that_knows_bfloat16() -> Iterator[None]:
    with faithful_bfloat16():
        yield


def projections(batch: int, tokens: int, heads: int, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Packed, as `nn.Linear` leaves them: [B, 2, N, 3·h·d]."""
    generator = torch.Generator().manual_seed(batch * tokens)
    return torch.randn(batch, 2, tokens, 3 * heads * dim, generator=generator).to(DEVICE, dtype)


def parts(packed: Tensor, heads: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = packed.view(*packed.shape[:3], 3, heads, dim).unbind(3)
    return q, k, v


def launched(packed: Tensor, heads: int, dim: int, tile: Tile = TILE) -> Tensor:
    """As a plugin launches it: two pointers and a number of programs."""
    batch, _, tokens, _ = packed.shape
    out = packed.new_full((batch, 2, tokens, 2 * heads * dim), math.nan)
    attention_packed[(batch * programs_a_pair(tokens, heads, tile),)](
        packed, out, TOKENS=tokens, HEADS=heads, DIM=dim, LOG2_SCALE=dim**-0.5 * math.log2(math.e),
        ROWS=tile.rows, COLUMNS=tile.columns, EVEN=tokens % tile.columns == 0,
    )  # fmt: skip
    return out


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_errs_at_most_twice_as_much_as_plain_torch(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    heads, dim = shape[2:]
    packed = projections(*shape, dtype)
    exact = reference.bilateral_attention(*parts(packed.double(), heads, dim))
    torchs = reference.bilateral_attention(*parts(packed, heads, dim))
    allowed = tolerance("attention, ratio of errors against float64") * error(torchs, exact)
    assert error(launched(packed, heads, dim), exact) <= allowed


@settings(max_examples=6)
@given(shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 3), st.sampled_from([32, 64])))
def test_it_gives_what_the_kernel_gives_that_it_is_made_of(shape: tuple[int, int, int, int]) -> None:
    heads, dim = shape[2:]
    packed = projections(*shape)
    theirs, _ = op.forward(*parts(packed, heads, dim), dim**-0.5, TILE)
    assert (launched(packed, heads, dim) - theirs).abs().max() <= tolerance("attention backends, float32")


def test_smaller_tiles_are_each_smaller_and_none_is_too_small() -> None:
    tiles = list(smaller(Tile(32, 32, 8, 2)))
    assert tiles[0] == Tile(32, 32, 8, 2)
    assert tiles[-1] == Tile(16, 16, 4, 1)
    assert len(set(tiles)) == len(tiles) == 8
    assert all(tile.rows >= 16 and tile.columns >= 16 for tile in smaller(Tile(16, 16, 4, 1)))


def test_the_pointers_to_scratch_memory_are_taken_out_unless_they_are_read() -> None:
    tensors = ".entry k(\n\t.param .u64 k_param_0,\n\t.param .u64 k_param_1"
    ptx = f"{tensors},\n\t.param .u64 .ptr k_param_2,\n\t.param .u64 k_param_3\n)"
    assert without_scratch(ptx, "k") == f"{tensors}\n)"
    with pytest.raises(InputError, match="the compiled k reads scratch memory"):
        without_scratch(f"{ptx} ld.param.b64 %rd1, [k_param_2];", "k")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((32, 6, 48, "fp16"), "heads of dimension 32, 64, 128 in fp16, bf16, fp32, these are 48 in fp16"),
        ((32, 6, 32, "fp64"), "these are 32 in fp64"),
        ((2**20, 8, 64, "fp16"), "these have 3221225472"),
    ],
)
def test_what_the_kernel_does_not_take_is_refused(arguments: tuple[int, int, int, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        packed_ptx(*arguments, (9, 0))


# tokens, heads, dim, dtype, compute capability → what the machine code shows
SCRIPT = """
import json, re
from disasym.kernels.packed_ptx import packed_ptx
for shape, dtype, capability in json.loads({cases!r}):
    made = packed_ptx(*shape, dtype, tuple(capability))
    entry = re.search(r"[.]entry " + made.name + r"[(](.*?)[)]", made.text, re.DOTALL)[1]
    print(json.dumps([made.code.spills, made.code.matrix, made.shared, entry.count(".param"), made.threads,
                      made.programs_a_pair, "/" in made.text.replace("//", "")]))
"""
PAPER, SMALL = (512, 8, 64), (32, 6, 32)
CASES = [(PAPER, dtype, capability) for capability in ((8, 0), (9, 0)) for dtype in ("fp16", "bf16", "fp32")]
CASES += [(SMALL, "fp16", (8, 0)), (SMALL, "fp16", (9, 0))]


@pytest.mark.slow
def test_compiled_it_uses_tensor_cores_spills_nothing_and_needs_no_more_shared_memory_than_all_launchers_give(
    root: Path, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", SCRIPT.format(cases=json.dumps(CASES))]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == len(CASES), result.stderr
    for (shape, dtype, capability), line in zip(CASES, lines, strict=True):
        spills, matrix, shared, parameters, threads, programs, has_path = line
        assert spills == 0
        assert sum(matrix.values()) > 0
        if capability == (9, 0) and dtype != "fp32" and shape == PAPER:
            assert set(matrix) == {"HGMMA"}
        assert shared <= MOST_SHARED
        assert parameters == 2  # the projections and the result
        assert threads % 128 == 0
        assert programs % (2 * shape[1]) == 0  # key sides and heads
        assert not has_path
