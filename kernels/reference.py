"""Bilateral attention in plain torch: the definition that every other backend is tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor


def bilateral_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """See `disasym.kernels.bilateral_attention`; exports to ONNX as two `Attention` nodes (opset 23)."""
    self_attention = _attention(q, k, v, scale)
    cross_attention = _attention(q, k.flip(1), v.flip(1), scale)
    return torch.cat([self_attention, cross_attention], dim=-1)  # [B, 2, N, 2·h·d]


def _attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Tensor:
    batch, sides, tokens, heads, dim = q.shape
    q, k, v = (t.flatten(0, 1).transpose(1, 2) for t in (q, k, v))  # [B·2, h, N, d]
    out = F.scaled_dot_product_attention(q, k, v, scale=scale)  # [B·2, h, N, d]
    return out.transpose(1, 2).reshape(batch, sides, tokens, heads * dim)
