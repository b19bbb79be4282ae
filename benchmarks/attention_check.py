"""Is a contender's result right? Its error against float64 may be twice that of plain torch in the same precision."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.attention_peers import written_out

FACTOR = 2.0  # FlashAttention's own rule for its tests
# A product of float32 as three TF32 products loses the product of the two low parts: 2^-22 of each term, a few terms.
FLOOR = 2.0**-21


@dataclass(frozen=True)
class Check:
    """What the first and the last pair of one input must give."""

    pairs: tuple[int, ...]
    result: Tensor  # [pairs, 2, N, 2·h·d], float64
    gradient: Tensor  # of qkv: [pairs, 2, N, 3, h, d], float64
    allowed: tuple[float, float]  # relative error of both

    def __call__(self, result: Tensor, gradient: Tensor) -> tuple[float, str]:
        """The larger relative error, and what is wrong with it; empty if nothing is."""
        complaints, errors = [], []
        places = list(self.pairs)
        for what, found, expected, allowed in (
            ("result", result[places], self.result, self.allowed[0]),
            ("gradient", gradient[places], self.gradient, self.allowed[1]),
        ):
            error = relative_error(found, expected)
            errors.append(error)
            if not error <= allowed:  # NaN is not
                complaints.append(f"relative error of the {what} {error:.2e}, allowed {allowed:.2e}")
        return max(errors), "; ".join(complaints)


def check_for(qkv: Tensor, grad: Tensor) -> Check:
    """Compute pair by pair and head by head, so that the scores of long rows fit in float64."""
    pairs = tuple(sorted({0, len(qkv) - 1}))
    exact = [_attention(qkv, grad, pair, torch.float64) for pair in pairs]
    plain = [_attention(qkv, grad, pair, qkv.dtype) for pair in pairs]
    result, gradient = (torch.stack(each) for each in zip(*exact, strict=True))
    plain_result, plain_gradient = (torch.stack(each) for each in zip(*plain, strict=True))
    allowed = (
        FACTOR * relative_error(plain_result, result) + FLOOR,
        FACTOR * relative_error(plain_gradient, gradient) + FLOOR,
    )
    return Check(pairs, result, gradient, allowed)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖ / ‖expected‖ over all elements."""
    return float((found.detach().double() - expected.detach()).norm() / expected.detach().norm())


def _attention(qkv: Tensor, grad: Tensor, pair: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Result [2, N, 2·h·d] and gradient [2, N, 3, h, d] of one pair, computed in `dtype`."""
    heads = qkv.shape[4]
    grads = grad[pair].reshape(*grad.shape[1:3], 2, heads, -1).to(dtype)  # [2, N, kind, h, d]
    results, gradients = [], []
    for head in range(heads):
        one = qkv.detach()[pair : pair + 1, ..., head : head + 1, :].to(dtype).requires_grad_()  # [1, 2, N, 3, 1, d]
        out = written_out(one)  # [1, 2, N, 2·d]
        (gradient,) = torch.autograd.grad(out, one, grads[None, ..., head, :].flatten(-2))
        results.append(out.detach()[0].reshape(*qkv.shape[1:3], 2, -1))  # [2, N, kind, d]
        gradients.append(gradient[0, ..., 0, :])  # [2, N, 3, d]
    return torch.stack(results, 3).flatten(2), torch.stack(gradients, 3)
