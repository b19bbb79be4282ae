"""Bilateral attention: a value worked out by hand, its laws, its formula in float64, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from disasym.errors import InputError
from disasym.kernels import bilateral_attention
from tolerances import tolerance

Shapes = st.tuples(*[st.integers(1, 3), st.integers(1, 7), st.integers(1, 3), st.sampled_from([1, 4, 8])])


def made(batch: int, tokens: int, heads: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of shape [B, 2, N, h, d] as views of one packed projection, as the model passes them."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(batch, 2, tokens, 3, heads, dim, generator=generator).unbind(3)
    return q, k, v


def formula(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """SA and CA written out side by side and head by head, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    batch, sides, tokens, heads, dim = q.shape
    result = torch.zeros(batch, sides, tokens, 2, heads, dim, dtype=torch.float64)
    for side in range(2):
        for kind, source in enumerate((side, 1 - side)):  # SA attends to its own side, CA to the other
            for head in range(heads):
                scores = scale * q[:, side, :, head] @ k[:, source, :, head].transpose(1, 2)
                result[:, side, :, kind, head] = scores.softmax(-1) @ v[:, source, :, head]
    return result.reshape(batch, sides, tokens, 2 * heads * dim)


def test_a_value_worked_out_by_hand() -> None:
    """One pair, one head, d = 1, two tokens. Scores are 0 and ln 3, so the weights are 1/4 and 3/4.

    Right: q = (1, 0), k = (0, ln 3), v = (4, 8). Left: q = (1, 0), k = (ln 3, 0), v = (20, 40).
    SA of the right, first token: 4/4 + 3·8/4 = 7; its second token has q = 0, hence the mean 6.
    CA of the right, first token: 3·20/4 + 40/4 = 25; second: the mean 30. The left has the same two, exchanged.
    """
    ln3 = math.log(3)
    q = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).reshape(1, 2, 2, 1, 1)
    k = torch.tensor([[0.0, ln3], [ln3, 0.0]]).reshape(1, 2, 2, 1, 1)
    v = torch.tensor([[4.0, 8.0], [20.0, 40.0]]).reshape(1, 2, 2, 1, 1)
    out = bilateral_attention(q, k, v, scale=1.0)
    wanted = torch.tensor([[[[7.0, 25.0], [6.0, 30.0]], [[25.0, 7.0], [30.0, 6.0]]]])  # [B, 2, N, (SA, CA)]
    torch.testing.assert_close(out, wanted, atol=tolerance("attention backends, float32"), rtol=1e-6)


@given(shape=Shapes, scale=st.sampled_from([None, 0.3, 2.0]), backend=st.sampled_from(["auto", "reference"]))
def test_the_reference_computes_the_formula(
    shape: tuple[int, int, int, int], scale: float | None, backend: str
) -> None:
    q, k, v = made(*shape)
    out = bilateral_attention(q, k, v, scale, backend)
    wanted = formula(q, k, v, scale or shape[3] ** -0.5)
    assert out.dtype == torch.float32
    assert (out - wanted).abs().max() <= tolerance("attention backends, float32")


@given(shape=Shapes)
def test_swapping_the_sides_swaps_the_result(shape: tuple[int, int, int, int]) -> None:
    q, k, v = made(*shape)
    straight, swapped = bilateral_attention(q, k, v), bilateral_attention(q.flip(1), k.flip(1), v.flip(1))
    assert (straight - swapped.flip(1)).abs().max() <= tolerance("swap law")


@given(shape=Shapes)
def test_identical_sides_give_sa_equal_to_ca(shape: tuple[int, int, int, int]) -> None:
    q, k, v = (t[:, :1].expand(-1, 2, -1, -1, -1) for t in made(*shape))
    self_attention, cross_attention = bilateral_attention(q, k, v).chunk(2, dim=-1)
    assert (self_attention - cross_attention).abs().max() <= tolerance("identical sides")


@given(shape=Shapes)
def test_pairs_of_a_batch_do_not_see_each_other(shape: tuple[int, int, int, int]) -> None:
    q, k, v = made(*shape)
    together = bilateral_attention(q, k, v)
    for pair in range(shape[0]):
        one = slice(pair, pair + 1)
        alone = bilateral_attention(q[one], k[one], v[one])
        assert (together[one] - alone).abs().max() <= tolerance("attention backends, float32")


def test_strides_do_not_matter() -> None:
    q, k, v = made(2, 5, 3, 8)
    assert not q.is_contiguous()
    packed = bilateral_attention(q.contiguous(), k.contiguous(), v.contiguous())
    turned = [t.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0) for t in (q, k, v)]
    for out in (bilateral_attention(q, k, v), bilateral_attention(turned[0], turned[1], turned[2])):
        assert (out - packed).abs().max() <= tolerance("attention backends, float32")


def test_the_result_keeps_the_dtype_and_passes_gradients() -> None:
    q, k, v = (t.double().requires_grad_() for t in made(1, 3, 2, 4))
    assert bilateral_attention(q.bfloat16(), k.bfloat16(), v.bfloat16()).dtype == torch.bfloat16
    assert torch.autograd.gradcheck(bilateral_attention, (q, k, v))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda q, k, v: (q[0], k[0], v[0]), r"q must be a non-empty \[B, 2, N, heads, dim\], got \[2, 5, 3, 8\]"),
        (lambda q, k, v: (q[:, :1], k[:, :1], v[:, :1]), r"got \[2, 1, 5, 3, 8\]"),
        (lambda q, k, v: (q[:, :, :0], k[:, :, :0], v[:, :, :0]), r"got \[2, 2, 0, 3, 8\]"),
        (lambda q, k, v: (q, k[:, :, :4], v), r"k must match q: \[2, 2, 4, 3, 8\] .* against \[2, 2, 5, 3, 8\]"),
        (lambda q, k, v: (q, k, v.double()), r"v must match q: .* torch.float64 .* torch.float32"),
        (lambda q, k, v: (q, k.to("meta"), v), r"k must match q: .* on meta"),
    ],
    ids=["no batch axis", "one side", "no tokens", "fewer keys", "another dtype", "another device"],
)
def test_shapes_dtypes_and_devices_that_disagree_are_refused(spoil, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says):
        bilateral_attention(*spoil(*made(2, 5, 3, 8)))


def test_an_unknown_backend_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown attention backend 'cuda': choose one of auto, triton, reference"):
        bilateral_attention(*made(1, 2, 1, 4), backend="cuda")


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_is_not_a_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match=f"scale must be finite and above 0, got {scale}"):
        bilateral_attention(*made(1, 2, 1, 4), scale=scale)
