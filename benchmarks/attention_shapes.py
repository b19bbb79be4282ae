"""The shapes that are measured, what they cost at least, and which of them the targets are judged on."""

from dataclasses import dataclass

import torch
from torch import Tensor

DIRECTIONS = ("forward", "backward", "both")


@dataclass(frozen=True)
class Shape:
    """One packed projection qkv [B, 2, N, 3, h, d]."""

    dtype: torch.dtype
    batch: int  # B, pairs
    tokens: int  # N, of each side
    heads: int  # h
    dim: int  # d, of one head

    @property
    def size(self) -> tuple[int, int, int, int]:
        """B, N, h, d."""
        return self.batch, self.tokens, self.heads, self.dim

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"B={self.batch} N={self.tokens} h={self.heads} d={self.dim} {kind}"

    def inputs(self, device: str) -> tuple[Tensor, Tensor]:
        """Random qkv, which asks for its gradient, and a random gradient of the result [B, 2, N, 2·h·d]."""
        # drawn in the dtype itself: a float32 copy of the largest shape would be in the way
        options = {"dtype": self.dtype, "device": torch.device(device)}
        qkv = torch.randn(self.batch, 2, self.tokens, 3, self.heads, self.dim, **options)  # type: ignore[call-overload]
        grad = torch.randn(self.batch, 2, self.tokens, 2 * self.heads * self.dim, **options)  # type: ignore[call-overload]
        return qkv.requires_grad_(), grad


PAPER = (32, 512, 8, 64)  # B, N, h, d of the `paper` preset at the batch of the engines: the targets are judged here
LONG = ((8, 2048, 8, 64), (2, 8192, 8, 64))  # shown beside it: the same work, longer rows
TINY = (1, 9, 1, 32)  # for dry runs


def flops(shape: Shape, direction: str) -> float:
    """Operations of the mathematics: a pair has 4 attentions a head (SA and CA of two sides), each two products of
    2·N²·d forward and five backward. What a kernel computes twice counts once.
    """
    forward = 16 * shape.batch * shape.heads * shape.tokens**2 * shape.dim
    return forward * {"forward": 1.0, "backward": 2.5, "both": 3.5}[direction]


def traffic(shape: Shape, direction: str) -> float:
    """Bytes that any implementation moves: inputs read once, results written once.

    Forward reads qkv (6 units of N·h·d a pair) and writes [SA; CA] (4). Backward reads qkv (6) and the gradient (4)
    and writes that of qkv (6).
    """
    unit = shape.batch * shape.tokens * shape.heads * shape.dim * shape.dtype.itemsize
    return unit * {"forward": 10.0, "backward": 16.0, "both": 26.0}[direction]
