"""The forward kernel behind two pointers: packed projections in, attention out, everything else fixed when compiled.

For launchers that pass tensors and nothing else, such as a TensorRT plugin. A packed projection is what `nn.Linear`
leaves: q, k and v of a token side by side. It is read in place, so nothing has to be sliced out of it.
"""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from disasym.kernels.forward import attention_forward
from disasym.kernels.tiles import Tile


@triton.jit
def attention_packed(
    qkv,  # [B, 2, N, 3·h·DIM], contiguous
    out,  # [B, 2, N, 2·h·DIM], contiguous
    TOKENS: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr,
    LOG2_SCALE: tl.constexpr,  # scale · log2(e)
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    WIDTH: tl.constexpr = HEADS * DIM
    TOKEN: tl.constexpr = 3 * WIDTH
    SIDE: tl.constexpr = TOKENS * TOKEN
    attention_forward(
        qkv, qkv + WIDTH, qkv + 2 * WIDTH, out, None, TOKENS, HEADS, LOG2_SCALE,
        2 * SIDE, SIDE, TOKEN, DIM, 1,
        2 * SIDE, SIDE, TOKEN, DIM, 1,
        2 * SIDE, SIDE, TOKEN, DIM, 1,
        DIM, ROWS, COLUMNS, EVEN,
    )  # fmt: skip


def programs_a_pair(tokens: int, heads: int, tile: Tile) -> int:
    """How many programs one pair takes; the grid has that many times the batch, in one dimension."""
    half = tile.rows // 2
    return (tokens + half - 1) // half * 2 * heads
