"""Values and gradients of the kernel against float64, for one dtype and head dimension: odd sizes, odd strides.

The rule is FlashAttention's: the error may be twice that of plain torch (`disasym.kernels.reference`, through a fused
backend where there is one) in the same precision.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.attention_check import FACTOR, FLOOR
from benchmarks.gpu_part import Part, finish, require
from benchmarks.timing import dtype_of
from disasym.kernels import reference

TOKENS = (1, 17, 127, 512, 513, 1500)
BATCHES = (1, 3)
# cuDNN's gradients have been NaN for some sizes: github.com/pytorch/pytorch/issues/196678
PLAIN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
HEADS = 3  # odd, so that a mix-up with the two sides shows
Triple = tuple[Tensor, Tensor, Tensor]


def values(part: Part) -> None:
    """Arguments: dtype, d."""
    dtype, dim = dtype_of(part.arguments[0]), int(part.arguments[1])
    torch.manual_seed(dim)
    sizes = itertools.product((1, 17) if part.dry else TOKENS, (1,) if part.dry else BATCHES)
    for tokens, batch in sizes:
        shape = (batch, 2, tokens, 1 if part.dry else HEADS, dim)
        part.check(f"N={tokens} B={batch}", lambda shape=shape: _compare(part, packed(shape, dtype, part.device)))  # type: ignore[misc]


def layouts(part: Part) -> None:
    """Arguments: dtype, d."""
    dtype, dim = dtype_of(part.arguments[0]), int(part.arguments[1])
    torch.manual_seed(dim)
    odd = (2, 2, 17, 1, dim) if part.dry else (3, 2, 127, HEADS, dim)
    for name, layout in LAYOUTS.items():
        part.check(name, lambda layout=layout: _compare(part, layout(odd, dtype, part.device)))  # type: ignore[misc]


Shape = tuple[int, ...]  # B, 2, N, h, d


def packed(shape: Shape, dtype: torch.dtype, device: str) -> Triple:
    """Views of one projection, as in the model."""
    q, k, v = torch.randn(*shape[:3], 3, *shape[3:], device=device).to(dtype).unbind(3)
    return q, k, v


def _contiguous(shape: Shape, dtype: torch.dtype, device: str) -> Triple:
    q, k, v = (torch.randn(shape, device=device).to(dtype) for _ in range(3))
    return q, k, v


def _heads_first(shape: Shape, dtype: torch.dtype, device: str) -> Triple:
    """[B, 2, h, N, d] in memory."""
    q, k, v = (t.transpose(2, 3).contiguous().transpose(2, 3) for t in _contiguous(shape, dtype, device))
    return q, k, v


def _dim_outermost(shape: Shape, dtype: torch.dtype, device: str) -> Triple:
    """Neighbours along d lie far apart."""
    q, k, v = (t.movedim(-1, 0).contiguous().movedim(0, -1) for t in _contiguous(shape, dtype, device))
    return q, k, v


def _every_other(shape: Shape, dtype: torch.dtype, device: str) -> Triple:
    """Every other token of a longer tensor, each of the three with strides of its own."""
    wide = (*shape[:2], 2 * shape[2], *shape[3:])
    q, _, v = _contiguous(wide, dtype, device)
    k = _heads_first(wide, dtype, device)[1]
    return q[:, :, ::2], k[:, :, 1::2], v[:, :, : shape[2]]


def _expanded(shape: Shape, dtype: torch.dtype, device: str) -> Triple:
    """One pair seen B times, stride 0."""
    q, k, v = (t.expand(shape) for t in packed((1, *shape[1:]), dtype, device))
    return q, k, v


def _low_scores(shape: Shape, dtype: torch.dtype, device: str) -> Triple:
    """All scores near -120: 2 to the power of minus their log-sum-exp overflows, so a stray masked key gives NaN."""
    q, k, v = packed(shape, dtype, device)
    shift = (120 / shape[-1] ** 0.5) ** 0.5
    return q + shift, k - shift, v


LAYOUTS: dict[str, Callable[[Shape, torch.dtype, str], Triple]] = {
    "contiguous": _contiguous,
    "heads first": _heads_first,
    "d outermost": _dim_outermost,
    "every other token": _every_other,
    "expanded batch": _expanded,
    "very low scores": _low_scores,
}


@dataclass(frozen=True)
class Errors:
    """‖found − exact‖ of the result and of each gradient."""

    out: float
    dq: float
    dk: float
    dv: float


def _compare(part: Part, inputs: Triple) -> str:
    batch, sides, tokens, heads, dim = inputs[0].shape
    grad = torch.randn(batch, sides, tokens, 2 * heads * dim, device=part.device).to(inputs[0].dtype)
    double = (inputs[0].double(), inputs[1].double(), inputs[2].double())
    exact = _run(_written_out, double, grad.double())
    found = errors(_run(part.attention, inputs, grad), exact)
    with sdpa_kernel(PLAIN):
        plain = errors(_run(reference.bilateral_attention, inputs, grad), exact)
    finish(part.device)
    # At N=1, dQ and dK are 0 and their relative error means nothing: the gradients share one scale.
    scales = [float(exact[0].norm()), *[float(torch.cat([t.flatten() for t in exact[1:]]).norm())] * 3]
    worst = 0.0
    for name, scale in zip(vars(found), scales, strict=True):
        error, allowed = getattr(found, name), FACTOR * getattr(plain, name) + FLOOR * scale
        require(error <= allowed, f"{name}: error {error / scale:.2e}, allowed {allowed / scale:.2e} (relative)")
        worst = max(worst, error / allowed)
    return f"at most {worst:.2f} of the allowed error"


def errors(found: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> Errors:
    return Errors(*(float((a.double() - b).norm()) for a, b in zip(found, exact, strict=True)))


def _run(attention: Callable[[Tensor, Tensor, Tensor], Tensor], inputs: Triple, grad: Tensor) -> tuple[Tensor, ...]:
    """Result, dQ, dK, dV."""
    leaves = [t.detach().requires_grad_() for t in inputs]  # detach keeps the strides
    out = attention(*leaves)
    return out.detach(), *torch.autograd.grad(out, leaves, grad)


def _written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    from benchmarks.attention_peers import written_out

    return written_out(torch.stack([q, k, v], 3))
