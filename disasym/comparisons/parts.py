"""What several comparisons share."""

import torch
from torch import Tensor, nn

from disasym.encoder import ENCODERS, Encoder
from disasym.model import Classified, ModelConfig, class_activation, tokens_of


def encoder_of(config: ModelConfig) -> Encoder:
    """The same encoder, from the same weights, in every method."""
    return ENCODERS[config.encoder](config.widths)


def other_side(maps: Tensor) -> Tensor:
    """[2B, ...] → the same with right and left of each pair exchanged."""
    return maps.reshape(-1, 2, *maps.shape[1:]).flip(1).flatten(0, 1)


def either(abnormal: Tensor) -> Tensor:
    """The logit of "at least one side is abnormal", the sides taken as independent. [B, 2] logits → [B].

    With p = 1 − (1 − p_r)(1 − p_l), ln(p / (1 − p)) = ln(e^a + e^b + e^(a + b)) for the logits a and b. Without
    gradient: a network that sees one side learns from that side's label alone.
    """
    a, b = abnormal.detach().unbind(1)
    return torch.stack([a, b, a + b]).logsumexp(0)


class FusionHead(nn.Module):
    """Late fusion: pooled features of both sides are concatenated, then classified by a linear layer.

    The concatenation is [own, other] for the abnormality of a side, with weights shared by both sides, and
    [mean of both, |difference|] for the pair: swapping the sides swaps the outputs.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.own = nn.Linear(dim, 1)
        self.other = nn.Linear(dim, 1, bias=False)
        self.asymmetry = nn.Linear(2 * dim, 1)

    def forward(self, maps: Tensor) -> Classified:
        """maps [2B, D, h, w]; the CAM of a side is that of its own half of the classifier."""
        tokens = tokens_of(maps)  # [B, 2, N, D]
        pooled = tokens.mean(2)  # [B, 2, D]
        right, left = pooled.unbind(1)
        both = torch.cat([(right + left) / 2, (right - left).abs()], dim=1)  # [B, 2·D]
        return Classified(
            asymmetry=self.asymmetry(both)[..., 0],
            abnormal=(self.own(pooled) + self.other(pooled.flip(1)))[..., 0],
            cam=class_activation(tokens, self.own.weight[0]).reshape(-1, 2, *maps.shape[-2:]),
            features=[],
            f_out=maps,
        )
