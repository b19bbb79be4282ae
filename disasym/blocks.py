"""What the two halves of DisAsymNet are stacked from: a block of the transformer ψ_asyt, a stage of the decoder ψ_g."""

import torch
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


class DecoderStage(nn.Module):
    """Two 3×3 convolutions over the upsampled features and the encoder's skip."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, y: Tensor, skip: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(torch.cat([y, skip], dim=1))))
        return F.relu(self.bn2(self.conv2(y)))
