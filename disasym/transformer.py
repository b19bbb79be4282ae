"""The asymmetric transformer ψ_asyt of DisAsymNet (arXiv 2307.02935, section 2.1), one block of it."""

import torch.nn.functional as F
from torch import Tensor, nn

from disasym.kernels import bilateral_attention


class AsymmetricBlock(nn.Module):
    """One block of ψ_asyt: f ← f + FFN([f; SA; CA]), pre-normalised.

    The concatenation is never built: W·[f; SA; CA] = W_f·f + W_a·[SA; CA], and `bilateral_attention`
    already writes SA and CA side by side.
    """

    def __init__(self, dim: int, heads: int, attention: str) -> None:
        super().__init__()
        self.heads = heads
        self.attention = attention
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.fuse_f = nn.Linear(dim, dim)  # W_f
        self.fuse_attention = nn.Linear(2 * dim, dim, bias=False)  # W_a
        self.out = nn.Linear(dim, dim)

    def forward(self, f: Tensor) -> Tensor:
        normed = self.norm(f)  # [B, 2, N, D]
        q, k, v = self.qkv(normed).reshape(*f.shape[:-1], 3, self.heads, -1).unbind(3)  # each [B, 2, N, h, d]
        attention = bilateral_attention(q, k, v, backend=self.attention)  # [B, 2, N, 2·D]
        change: Tensor = self.out(F.gelu(self.fuse_f(normed) + self.fuse_attention(attention)))
        return f + change
