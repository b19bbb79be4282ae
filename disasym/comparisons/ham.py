"""HAM: Ouyang et al., "Learning hierarchical attention for weakly-supervised chest X-ray abnormality localization and
diagnosis", TMI 40(10), 2021 (arXiv 2112.12349, section III). One class, "abnormal", where the paper has fourteen.

The paper orders three attentions: foreground (from activations), abnormality and disease (from gradients), each
inside the one before. With one class, abnormality and disease are the same map, so its union loss is empty and its
bounding loss stands between abnormality and foreground.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disasym.comparisons.parts import either, encoder_of
from disasym.model import Classified, ModelConfig, class_activation, tokens_of

SHARPNESS = 6.0  # r of log-sum-exp pooling, as the authors' code has it
STEEPNESS, THRESHOLD = 100.0, 0.75  # ω and σ of the soft mask T, likewise
REDUCTION = 4  # channels of the encoder's map over those of the foreground branch


class HierarchicalAttention(nn.Module):
    """Encoder, foreground attention, head, log-sum-exp pooling, one linear layer. A side never sees the other.

    Filled in: the pair's score (`parts.either`); the gradient attention is compared after division by its largest
    value, so that it lies in [0, 1] like the foreground's; no dropout (docs/adr/0004).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.widths[-1]
        inner = max(1, dim // REDUCTION)
        self.encoder = encoder_of(config)
        self.before = _convolution(dim, inner)
        self.foreground = ForegroundAttention(inner)
        self.after = _convolution(inner, inner)
        self.head = nn.Sequential(*_convolution(dim + inner, dim), nn.ReLU())
        self.abnormality = nn.Linear(dim, 1)

    def forward(self, views: Tensor) -> Classified:
        f = self.encoder(views.flatten(0, 1)[:, None])[-1]  # [2B, D, H/32, W/32]
        attended, foreground = self.foreground(self.before(f))
        maps = self.head(torch.cat([f, self.after(attended)], dim=1))  # [2B, D, H/32, W/32]
        tokens = tokens_of(maps)  # [B, 2, N, D]
        abnormal = self.abnormality(log_sum_exp(tokens))[..., 0]  # [B, 2]
        weight = self.abnormality.weight[0]
        return Classified(
            asymmetry=either(abnormal),
            abnormal=abnormal,
            cam=class_activation(tokens, weight).reshape(-1, 2, *maps.shape[-2:]),
            features=[],
            f_out=maps,
            disorder=disorder(gradient_attention(tokens, weight), tokens_of(foreground)[..., 0]),
        )


class ForegroundAttention(nn.Module):
    """Section III-A: channel attention, then position attention z ∈ (0, 1), added with a factor that starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.where = nn.Conv2d(channels, 1, 1, bias=False)
        inner = max(1, channels // 8)
        self.gate = nn.Sequential(
            nn.Linear(channels, inner, bias=False), nn.ReLU(), nn.Linear(inner, channels, bias=False)
        )
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.summary = nn.Conv2d(channels, 1, 1, bias=False)
        self.position = _convolution(1, 1)
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [n, C, h, w] → the attended maps [n, C, h, w] and the foreground attention [n, 1, h, w]."""
        share = self.where(x).flatten(2).softmax(-1)  # [n, 1, h·w]
        context = (x.flatten(2) * share).sum(-1)  # [n, C]
        gate = self.gate(context).sigmoid()[..., None, None]
        summary = self.summary(self.mix(x) * gate)  # [n, 1, h, w]
        foreground = self.position(summary).sigmoid()
        return x + self.factor * summary * foreground, foreground


def gradient_attention(tokens: Tensor, weight: Tensor) -> Tensor:
    """ReLU(∂y/∂f · f) over its largest value, with w for ∂y/∂f as in the authors' code. [B, 2, N, D] → [B, 2, N]."""
    evidence = F.relu(tokens @ weight.detach())  # [B, 2, N]
    return evidence / evidence.detach().amax(-1, keepdim=True).clamp_min(1e-6)


def disorder(inner: Tensor, outer: Tensor) -> Tensor:
    """The bounding loss of section III-C: (Σ G − Σ min(G, A)·T(G)) / Σ G, T(G) = σ(ω·(G − σ)). [B, 2, N] → [B, 2].

    0 where the inner map is crisp and inside the outer one, 1 where it is wholly outside or nowhere above σ.
    """
    inside = torch.minimum(inner, outer) * (STEEPNESS * (inner - THRESHOLD)).sigmoid()
    total = inner.sum(-1)
    return (total - inside.sum(-1)) / total.clamp_min(1e-5)


def log_sum_exp(tokens: Tensor) -> Tensor:
    """(1/r)·ln(mean exp(r·f)) over positions: between mean and maximum. [B, 2, N, D] → [B, 2, D]."""
    return (torch.logsumexp(SHARPNESS * tokens, dim=2) - math.log(tokens.shape[2])) / SHARPNESS


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
