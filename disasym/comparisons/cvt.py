"""CVT: van Tulder, Tong, Marchiori, "Multi-view analysis of unregistered medical images using cross-view
transformers", MICCAI 2021 (arXiv 2103.11390, section 2: the pixel-wise variant)."""

import torch.nn.functional as F
from torch import Tensor, nn

from disasym.comparisons.parts import FusionHead, encoder_of, other_side
from disasym.encoder import ENCODERS
from disasym.model import Classified, ModelConfig

HEADS, WIDTH = 12, 32  # of queries and keys


class CrossViewTransformer(nn.Module):
    """Both sides attend to each other's feature map after the third stage; stage 4 and late fusion follow.

    Filled in: encoder and attention are shared by both sides, which are mirror images, where the paper's CC and MLO
    have their own. Attention goes both ways. No pooling before the attention: at stride 16 it fits into memory.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = encoder_of(config)
        self.attention = CrossViewAttention(ENCODERS[config.encoder].channels(config.widths)[3])
        self.head = FusionHead(config.widths[-1])

    def forward(self, views: Tensor) -> Classified:
        z = self.encoder.shallow(views.flatten(0, 1)[:, None])[-1]  # [2B, C, H/16, W/16]
        found: Classified = self.head(self.encoder.deep(self.attention(z)))
        return found


class CrossViewAttention(nn.Module):
    """z ← LayerNorm(z + W·[softmax(Q_i·K'_iᵀ/√d)·z' for each head i]), z' the other side's map.

    As in the paper's section 2: queries from the own view, keys from the other, the other's features themselves as
    values of every head, one linear map that combines the heads. Filled in: no dropout, because a run that was
    stopped must go on bit for bit (docs/adr/0004).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, HEADS * WIDTH, bias=False)
        self.key = nn.Linear(channels, HEADS * WIDTH, bias=False)
        self.combine = nn.Linear(HEADS * channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """[2B, C, h, w] → the same shape."""
        z = maps.flatten(2).transpose(1, 2)  # [2B, N, C]
        other = other_side(z)
        q = self.query(z).unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)  # [2B, heads, N, d]
        k = self.key(other).unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)
        v = other[:, None].expand(-1, HEADS, -1, -1)  # [2B, heads, N, C]
        seen = F.scaled_dot_product_attention(q, k, v)  # [2B, heads, N, C]
        mixed: Tensor = self.norm(z + self.combine(seen.transpose(1, 2).flatten(2)))
        return mixed.transpose(1, 2).reshape(maps.shape)
