"""The Triton kernels as one PyTorch operator, `disasym::bilateral_attention`, with its gradient and its fake.

Registered as a `triton_op`: eager PyTorch runs it, torch.compile and AOTInductor look through it to the kernels and
carry them along, torch.export and ONNX keep it as one node. Importing this module needs Triton.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, triton_op, wrap_triton
from triton.runtime.jit import JITFunction

from disasym.kernels.backward import attention_backward_keys, attention_backward_queries
from disasym.kernels.forward import attention_forward
from disasym.kernels.tiles import Tile, tile_for

# Under TRITON_INTERPRET=1 the kernels are Python functions, which nothing can look through.
INTERPRETED = not isinstance(attention_forward, JITFunction)
_register: Any = custom_op if INTERPRETED else triton_op


def _launchable(kernel: Any) -> Any:
    """PyTorch 2.11 refuses to wrap an interpreted kernel, later ones return it as it is."""
    return kernel if INTERPRETED else wrap_triton(kernel)


@_register("disasym::bilateral_attention", mutates_args=())  # type: ignore[untyped-decorator]
def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """[SA; CA] and the log-sum-exp that the backward pass needs.

    Args:
        q, k, v: [B, 2, N, h, d] on a CUDA device, as `disasym.kernels.bilateral_attention` checked them.
        scale: factor of the scores, above 0.

    Returns:
        out [B, 2, N, 2·h·d] in q's dtype, and lse [B, h, 2 (source), 2 (side), N], base 2, in
        float32 (float64 where q is).
    """
    return forward(q, k, v, scale, _tile("forward", q))


@_register("disasym::bilateral_attention_backward", mutates_args=())  # type: ignore[untyped-decorator]
def attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """dQ, dK and dV [B, 2, N, h, d], contiguous, of what `attend` returned."""
    grad = grad.contiguous()  # a sum's gradient is one expanded number
    dq, delta = backward_queries(grad, q, k, v, out, lse, scale, _tile("backward_queries", q))
    dk, dv = backward_keys(grad, q, k, v, lse, delta, scale, _tile("backward_keys", q))
    return dq, dk, dv


def forward(q: Tensor, k: Tensor, v: Tensor, scale: float, tile: Tile) -> tuple[Tensor, Tensor]:
    """`attend` with a given tile."""
    batch, _, tokens, heads, dim = q.shape
    out, lse = _empty(q)
    with _on(q.device):
        _launchable(attention_forward)[(_programs(tokens, tile.rows // 2) * 2 * batch * heads,)](
            q, k, v, out, lse, tokens, heads, scale * math.log2(math.e), *q.stride(), *k.stride(), *v.stride(),
            DIM=int(dim), ROWS=tile.rows, COLUMNS=tile.columns, EVEN=bool(tokens % tile.columns == 0),
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
    return out, lse


def backward_queries(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float, tile: Tile
) -> tuple[Tensor, Tensor]:
    """dQ [B, 2, N, h, d] and δ, in the shape of `lse`."""
    batch, _, tokens, heads, dim = q.shape
    dq, delta = torch.empty_like(q, memory_format=torch.contiguous_format), torch.empty_like(lse)
    with _on(q.device):
        _launchable(attention_backward_queries)[(_programs(tokens, tile.rows // 2) * batch * heads,)](
            q, k, v, out, grad, lse, delta, dq, tokens, heads, scale, scale * math.log2(math.e),
            *q.stride(), *k.stride(), *v.stride(),
            DIM=int(dim), ROWS=tile.rows, COLUMNS=tile.columns, EVEN=bool(tokens % tile.columns == 0),
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
    return dq, delta


def backward_keys(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, lse: Tensor, delta: Tensor, scale: float, tile: Tile
) -> tuple[Tensor, Tensor]:
    """dK and dV [B, 2, N, h, d]; `delta` as `backward_queries` wrote it."""
    batch, _, tokens, heads, dim = q.shape
    dk, dv = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (k, v))
    with _on(q.device):
        _launchable(attention_backward_keys)[(_programs(tokens, tile.columns) * 2 * batch * heads,)](
            q, k, v, grad, lse, delta, dk, dv, tokens, heads, scale, scale * math.log2(math.e),
            *q.stride(), *k.stride(), *v.stride(),
            DIM=int(dim), ROWS=tile.rows, COLUMNS=tile.columns, EVEN=bool(tokens % (tile.rows // 2) == 0),
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
    return dk, dv


@attend.register_fake  # type: ignore[untyped-decorator]
def _attend_fake(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return _empty(q)


@attend_backward.register_fake  # type: ignore[untyped-decorator]
def _attend_backward_fake(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (q, k, v))
    return dq, dk, dv


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.scale = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output)


@partial(attend.register_autograd, setup_context=_setup_context)
def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    q, k, v, out, lse = ctx.saved_tensors
    dq, dk, dv = attend_backward(grad, q, k, v, out, lse, ctx.scale)
    return dq, dk, dv, None


def _empty(q: Tensor) -> tuple[Tensor, Tensor]:
    batch, sides, tokens, heads, dim = q.shape
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    out = q.new_empty(batch, sides, tokens, 2 * heads * dim)
    return out, q.new_empty(batch, heads, sides, sides, tokens, dtype=wide)


def _tile(kernel: str, q: Tensor) -> Tile:
    capability = (8, 0) if INTERPRETED else torch.cuda.get_device_capability(q.device)
    return tile_for(kernel, capability, q.dtype, q.shape[-1], q.shape[2])


def _programs(size: int, block: int) -> int:
    return (size + block - 1) // block


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device; the tensors may be on another."""
    if not torch.cuda.is_available() or torch.compiler.is_compiling():  # interpreted, or traced
        return nullcontext()
    return torch.cuda.device(device)
