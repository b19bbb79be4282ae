"""What the fused kernel is compared with: the same attention through everything else that PyTorch offers.

Each contender takes the packed projection qkv [B, 2, N, 3, h, d] as the model's linear layer leaves it and returns
[SA; CA] [B, 2, N, 2·h·d]. Copies that a formulation needs are part of its time. Three formulations:

- 2×SDPA: one call for SA, one for CA with the sides of K and V flipped, concatenated: `disasym.kernels.reference`.
- stacked: one call. Its batch is (pair, source side), its 2N queries are those of both sides. Q is copied once for each
  source; keys and values are views.
- by source: two calls, one for the keys of each side, all 2N queries in each: nothing is copied but the results.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from disasym.kernels import bilateral_attention, reference

Attention = Callable[[Tensor], Tensor]
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
FUSED = "fused"


@dataclass(frozen=True)
class Contender:
    """One way to compute the attention."""

    name: str
    run: Attention
    backend: str | None = None  # of scaled_dot_product_attention, by name
    named: bool = False  # one of the peers that the target names; the others are stronger ones than it asks for
    compiled: bool = False  # its first run compiles, for each shape anew

    @property
    def searches(self) -> bool:
        """Its compiler times many variants."""
        return "tuned" in self.name

    @property
    def seconds(self) -> float:
        """What checking and timing it at one shape may take."""
        return 75.0 if self.searches else 30.0 if self.compiled else 4.0

    @property
    def quadratic(self) -> bool:
        """It stores every score: N² memory."""
        return self.backend == "math"

    def conditions(self) -> AbstractContextManager[None]:
        """Where it is to run; entered outside what is timed."""
        return nullcontext() if self.backend is None else sdpa_kernel(BACKENDS[self.backend])


def contenders(device: str, *, tuned: bool) -> Iterator[Contender]:
    """The fused kernel first. `tuned`: FlexAttention also with its own search over tiles, which takes a minute."""
    yield Contender(FUSED, fused)
    for backend in BACKENDS:
        yield Contender(f"2×SDPA, {backend}", two_calls, backend, named=True)
        yield Contender(f"stacked, {backend}", stacked, backend)
        yield Contender(f"by source, {backend}", by_source, backend)
    # a dry run checks the formulations, not the compiler
    options: dict[str, Any] = {"backend": "aot_eager"} if device == "cpu" else {}
    yield Contender("torch.compile, 2×SDPA", compiled(two_calls, **options), named=True, compiled=True)
    yield Contender("torch.compile, by source", compiled(by_source_functional, **options), compiled=True)
    yield Contender("FlexAttention, by source", compiled(flex_by_source, **options), named=True, compiled=True)
    if tuned:
        options = options or {"mode": "max-autotune-no-cudagraphs"}
        yield Contender("FlexAttention, tuned", compiled(flex_by_source, **options), named=True, compiled=True)


def fused(qkv: Tensor) -> Tensor:
    q, k, v = qkv.unbind(3)
    return bilateral_attention(q, k, v, backend="triton")


def two_calls(qkv: Tensor) -> Tensor:
    q, k, v = qkv.unbind(3)
    return reference.bilateral_attention(q, k, v)


def stacked(qkv: Tensor) -> Tensor:
    batch, sides, tokens, _, heads, dim = qkv.shape
    q, k, v = qkv.unbind(3)  # [B, 2, N, h, d]
    both = q.flatten(1, 2)[:, None].expand(-1, sides, -1, -1, -1)  # [B, source, 2N, h, d]
    both, k, v = (t.flatten(0, 1).transpose(1, 2) for t in (both, k, v))  # [B·2, h, 2N or N, d]
    out = F.scaled_dot_product_attention(both, k, v)  # [B·2, h, 2N, d]
    out = out.transpose(1, 2).reshape(batch, 2, sides, tokens, heads * dim)
    return _arranged(out[:, 0], out[:, 1])


def by_source(qkv: Tensor) -> Tensor:
    return _arranged(*_one_call_a_source(qkv, F.scaled_dot_product_attention))


def by_source_functional(qkv: Tensor) -> Tensor:
    return _joined(*_one_call_a_source(qkv, F.scaled_dot_product_attention))


def flex_by_source(qkv: Tensor) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    return _joined(*_one_call_a_source(qkv, flex_attention))


def written_out(qkv: Tensor) -> Tensor:
    """Plain softmax attention with every score in memory, in qkv's precision: what an error is measured against."""
    q, k, v = (t.transpose(2, 3) for t in qkv.unbind(3))  # [B, 2, h, N, d]
    kinds = []
    for keys, values in ((k, v), (k.flip(1), v.flip(1))):
        weights = (q @ keys.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)  # [B, 2, h, N, N]
        kinds.append((weights @ values).transpose(2, 3).flatten(3))  # [B, 2, N, h·d]
    return torch.cat(kinds, dim=-1)


def _one_call_a_source(qkv: Tensor, attention: Callable[..., Any]) -> list[Tensor]:
    """For the keys of each side, the attention of the queries of both: [B, 2, N, h·d] each."""
    batch, sides, tokens, _, heads, dim = qkv.shape
    q, k, v = qkv.unbind(3)
    both = q.flatten(1, 2).transpose(1, 2)  # [B, h, 2N, d]
    outs = []
    for keys, values in zip(k.unbind(1), v.unbind(1), strict=True):  # [B, N, h, d]
        out: Tensor = attention(both, keys.transpose(1, 2), values.transpose(1, 2))  # [B, h, 2N, d]
        outs.append(out.transpose(1, 2).reshape(batch, sides, tokens, heads * dim))
    return outs


def _joined(from_right: Tensor, from_left: Tensor) -> Tensor:
    """Both sources' results as [SA; CA]; a compiler makes one pass of it."""
    right = torch.cat([from_right[:, 0], from_left[:, 0]], -1)
    left = torch.cat([from_left[:, 1], from_right[:, 1]], -1)
    return torch.stack([right, left], 1)


def _arranged(from_right: Tensor, from_left: Tensor) -> Tensor:
    """As `_joined`, in one pass without a compiler."""
    out: Tensor = _Arrange.apply(from_right, from_left)  # type: ignore[no-untyped-call]
    return out


class _Arrange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, from_right: Tensor, from_left: Tensor) -> Tensor:
        width = from_right.shape[-1]
        out = from_right.new_empty(*from_right.shape[:-1], 2 * width)
        for source, result in enumerate((from_right, from_left)):
            out[:, source, :, :width] = result[:, source]
            out[:, 1 - source, :, width:] = result[:, 1 - source]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        width = grad.shape[-1] // 2
        grads = tuple(grad.new_empty(*grad.shape[:-1], width) for _ in range(2))
        for source, result in enumerate(grads):
            result[:, source] = grad[:, source, :, :width]
            result[:, 1 - source] = grad[:, 1 - source, :, width:]
        return grads


def compiled(attention: Attention, **options: Any) -> Attention:
    """Compiled at its first run, for one shape: no dynamic shapes, which would cost it speed."""
    import torch._functorch.config

    torch._functorch.config.donated_buffer = False  # a backward pass is timed again and again on one graph
    run: Attention = torch.compile(attention, fullgraph=True, dynamic=False, **options)
    return run
