"""What a CPU can time honestly: the reference attention against the formula written out, at the shapes of the presets.

    python -m pytest benchmarks --benchmark-columns=median,iqr,rounds

The fused kernel does not run on a CPU; its interpreter says nothing about speed.
"""

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.attention_check import relative_error
from benchmarks.attention_peers import two_calls, written_out
from disasym.model import PRESETS
from disasym.spec import STRIDE

CONTENDERS = {"reference": two_calls, "written out": written_out}
# float32 sums in another order, over N terms
CLOSE = 1e-5


def projection(preset: str) -> Tensor:
    """qkv of one pair, [1, 2, N, 3, h, d], which asks for its gradient."""
    config = PRESETS[preset]
    tokens = (config.height // STRIDE) * (config.width // STRIDE)
    generator = torch.Generator().manual_seed(0)
    dim = config.widths[-1] // config.heads
    return torch.randn(1, 2, tokens, 3, config.heads, dim, generator=generator).requires_grad_()


@pytest.mark.parametrize("name", CONTENDERS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_attention_on_a_cpu(benchmark: BenchmarkFixture, direction: str, preset: str, name: str) -> None:
    qkv, attention = projection(preset), CONTENDERS[name]
    benchmark.group = f"{preset}, {direction}"
    benchmark.extra_info |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "shape": str(qkv.shape)}
    error = relative_error(attention(qkv), written_out(qkv.detach().double()))
    assert error <= CLOSE
    benchmark(forward if direction == "forward" else both, attention, qkv)


def forward(attention: Callable[[Tensor], Tensor], qkv: Tensor) -> None:
    with torch.no_grad():
        attention(qkv)


def both(attention: Callable[[Tensor], Tensor], qkv: Tensor) -> None:
    torch.autograd.grad(attention(qkv).sum(), qkv)
