"""The Triton kernels against plain torch: values, gradients, laws. Without a GPU they run in Triton's interpreter."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from disasym.kernels import BACKENDS, TRITON_DIMS, bilateral_attention, reference
from interpreter import faithful_bfloat16
from tolerances import tolerance

op = pytest.importorskip("disasym.kernels.op", reason="Triton has no build for this platform")

DEVICE = "cpu" if op.INTERPRETED else "cuda"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
Shapes = st.tuples(st.integers(1, 2), st.integers(1, 40), st.integers(1, 2), st.sampled_from([32, 64]))
few = settings(max_examples=8)  # an interpreted launch takes a tenth of a second


@pytest.fixture(autouse=True, scope="module")
def _interpreter_that_knows_bfloat16() -> Iterator[None]:
    with faithful_bfloat16():
        yield


def packed(batch: int, tokens: int, heads: int, dim: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """One packed projection [B, 2, N, 3, h, d]; `.unbind(3)` gives q, k and v as the model passes them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2, tokens, 3, heads, dim, generator=generator).to(DEVICE, dtype)


def fused(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    return bilateral_attention(q, k, v, scale, backend="triton")


def plain(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    return reference.bilateral_attention(q, k, v, scale)


def value_and_gradient(
    attention: Callable[[Tensor, Tensor, Tensor], Tensor], qkv: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    qkv = qkv.detach().requires_grad_()
    q, k, v = qkv.unbind(3)
    out = attention(q, k, v)
    (gradient,) = torch.autograd.grad(out, qkv, grad)
    return out.detach().double(), gradient.double()


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


CASES = [
    *itertools.product(DTYPES, [1, 3], [1, 17, 127], [64]),
    *itertools.product(DTYPES, [1], [512, 513], [64]),
    *itertools.product(DTYPES, [1], [17, 127], [32, 128]),
    (torch.float32, 3, 512, 32),
    (torch.float16, 3, 513, 32),
]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "batch", "tokens", "dim"), CASES, ids=lambda value: str(value).split(".")[-1])
def test_values_and_gradients_err_at_most_twice_as_much_as_plain_torch(
    dtype: torch.dtype, batch: int, tokens: int, dim: int
) -> None:
    qkv = packed(batch, tokens, 1 if tokens > 500 else 2, dim, dtype)
    grad = packed(batch, tokens, qkv.shape[4], dim, dtype, seed=1)[:, :, :, :2].flatten(3)
    exact = value_and_gradient(plain, qkv.double(), grad.double())
    ours, torchs = value_and_gradient(fused, qkv, grad), value_and_gradient(plain, qkv, grad)
    for name, found, theirs, wanted in zip(("value", "gradient"), ours, torchs, exact, strict=True):
        allowed = tolerance("attention, ratio of errors against float64") * error(theirs, wanted)
        assert error(found, wanted) <= max(allowed, tolerance("attention, nothing to add up")), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_result_has_the_dtype_of_q_and_is_the_same_bits_each_time(dtype: torch.dtype) -> None:
    qkv = packed(2, 33, 2, 32, dtype)
    grad = packed(2, 33, 2, 32, dtype, seed=1)[:, :, :, :2].flatten(3)
    q, k, v = qkv.unbind(3)
    assert fused(q, k, v).dtype == dtype
    first, second = value_and_gradient(fused, qkv, grad), value_and_gradient(fused, qkv, grad)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dim", TRITON_DIMS)
def test_the_gradient_is_that_of_the_value(dim: int) -> None:
    q, k, v = (t.requires_grad_() for t in packed(1, 5, 2, dim, torch.float64).unbind(3))
    assert torch.autograd.gradcheck(fused, (q, k, v), fast_mode=True)


@pytest.mark.filterwarnings("ignore:Input #:UserWarning")  # that float32 is coarse, which eps and atol allow for
def test_the_gradient_is_that_of_the_value_in_float32() -> None:
    q, k, v = (t.requires_grad_() for t in packed(1, 5, 1, 32).unbind(3))
    assert torch.autograd.gradcheck(fused, (q, k, v), eps=1e-2, atol=1e-2, rtol=1e-2, fast_mode=True)


@few
@given(shape=Shapes, scale=st.sampled_from([None, 0.03, 1.0]))
def test_it_is_the_reference(shape: tuple[int, int, int, int], scale: float | None) -> None:
    q, k, v = packed(*shape).unbind(3)
    assert (fused(q, k, v, scale) - plain(q, k, v, scale)).abs().max() <= tolerance("attention backends, float32")


@few
@given(shape=Shapes)
def test_swapping_the_sides_swaps_the_result(shape: tuple[int, int, int, int]) -> None:
    q, k, v = packed(*shape).unbind(3)
    straight, swapped = fused(q, k, v), fused(q.flip(1), k.flip(1), v.flip(1))
    assert (straight - swapped.flip(1)).abs().max() <= tolerance("swap law")


@few
@given(shape=Shapes)
def test_equal_sides_give_sa_equal_to_ca(shape: tuple[int, int, int, int]) -> None:
    q, k, v = (t[:, :1].expand(-1, 2, -1, -1, -1) for t in packed(*shape).unbind(3))  # a stride of 0
    self_attention, cross_attention = fused(q, k, v).chunk(2, dim=-1)
    assert (self_attention - cross_attention).abs().max() <= tolerance("identical sides")


@few
@given(shape=Shapes, seed=st.integers(0, 9))
def test_a_shift_of_all_scores_of_a_query_changes_nothing(shape: tuple[int, int, int, int], seed: int) -> None:
    q, k, v = packed(*shape).unbind(3)
    step = packed(shape[0], 1, shape[2], shape[3], seed=seed)[:, :1, :, 0]  # one vector added to every key of a pair
    assert (fused(q, k + step, v) - fused(q, k, v)).abs().max() <= tolerance("attention backends, float32")


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_scores_far_from_zero_neither_overflow_nor_vanish(size: float) -> None:
    """With scores near -1000 an absent key, whose score is 0, would outweigh all others if it were not masked."""
    qkv = packed(1, 17, 1, 32, torch.float64)
    q, k, v = qkv.unbind(3)
    q, k = q.abs() + 0.5, (k.abs() + 0.5) * size / 16  # scores of about ±1000 and far apart
    inputs = torch.stack([q, k, v], 3)
    grad = packed(1, 17, 1, 32, torch.float64, seed=1)[:, :, :, :2].flatten(3)
    exact = value_and_gradient(plain, inputs, grad)
    with np.errstate(over="ignore", invalid="ignore"):  # rows of absent keys may overflow: they are never stored
        ours = value_and_gradient(fused, inputs.float(), grad.float())
    for found, wanted in zip(ours, exact, strict=True):
        assert torch.isfinite(found).all()
        assert error(found, wanted) < tolerance("attention, scores of a thousand")


def test_any_strides_will_do_and_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = packed(2, 9, 2, 32).unbind(3)
    q_turned, k_turned, v_turned = (t.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0) for t in (q, k, v))
    wanted = plain(q, k, v)
    monkeypatch.setattr(Tensor, "contiguous", lambda self, **_: pytest.fail("copied"))
    for out in (fused(q, k, v), fused(q_turned, k_turned, v_turned), fused(q_turned, k, v)):
        assert (out - wanted).abs().max() <= tolerance("attention backends, float32")


def test_a_gradient_without_strides_of_its_own_is_taken() -> None:
    qkv, grad = packed(1, 5, 1, 32), torch.ones((), device=DEVICE).expand(1, 2, 5, 64)  # as the gradient of a sum is
    (_, found), (_, wanted) = value_and_gradient(fused, qkv, grad), value_and_gradient(plain, qkv, grad)
    assert error(found, wanted) <= tolerance("attention backends, float32")


@pytest.mark.parametrize("differentiable", [True, False])
def test_pytorch_finds_nothing_wrong_with_the_operator(differentiable: bool) -> None:
    q, k, v = (t.detach().requires_grad_(differentiable) for t in packed(1, 5, 2, 32).unbind(3))
    torch.library.opcheck(op.attend, (q, k, v, 0.3))
    out, lse = (t.detach() for t in op.attend(q, k, v, 0.3))
    torch.library.opcheck(op.attend_backward, (torch.ones_like(out), *(t.detach() for t in (q, k, v)), out, lse, 0.3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_compile_takes_it_in_one_graph(backend: str) -> None:
    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return bilateral_attention(q, k, v, backend=backend)

    q, k, v = (t.detach().requires_grad_() for t in packed(2, 17, 2, 32).unbind(3))
    wanted = plain(q, k, v)
    grad = packed(2, 17, 2, 32, seed=1)[:, :, :, :2].flatten(3)
    out = compiled(q, k, v)
    assert (out - wanted).abs().max() <= tolerance("attention backends, float32")
    for found, theirs in zip(
        torch.autograd.grad(out, (q, k, v), grad), torch.autograd.grad(wanted, (q, k, v), grad), strict=True
    ):
        assert error(found, theirs) <= tolerance("attention backends, float32")
