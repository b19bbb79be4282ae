"""Wang, Gao, Zhang, Han, Beets-Tan, Mann, "Looking for abnormalities using asymmetrical information from bilateral
mammograms", Medical Imaging with Deep Learning 2022, short paper A-S-15 (https://2022.midl.io/papers/a_s_15).

Its authors have published no code, and only the abstract was at hand: "a model that can learn to detect asymmetrical
information from bilateral mammograms and then find the abnormal areas". What follows is therefore our reading of it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disasym.comparisons.parts import encoder_of, other_side
from disasym.model import Classified, ModelConfig, class_activation, tokens_of

REACH = 3  # cells of the other side's map (32 pixels each) that may hold the counterpart, in both directions


class AsymmetryAttention(nn.Module):
    """Where a side differs from the other, it is looked at: f ← f·(1 + a), a = σ(W·[f; f − f']).

    Filled in, all of it but the idea: f' is the other side's last feature map, averaged over REACH × REACH cells since
    two breasts are never aligned to the pixel; a has one channel, its weights are shared by both sides; the abnormality
    of a side is classified from the attended features, and the asymmetry from |f − f'| weighted by both sides' a.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.widths[-1]
        self.encoder = encoder_of(config)
        self.attention = nn.Conv2d(2 * dim, 1, 1)
        self.abnormality = nn.Linear(dim, 1)
        self.asymmetry = nn.Linear(dim, 1)

    def forward(self, views: Tensor) -> Classified:
        f = self.encoder(views.flatten(0, 1)[:, None])[-1]  # [2B, D, H/32, W/32]
        difference = f - _smoothed(other_side(f))
        attention = self.attention(torch.cat([f, difference], dim=1)).sigmoid()  # [2B, 1, H/32, W/32]
        attended = f * (1 + attention)
        tokens = tokens_of(attended)  # [B, 2, N, D]
        asymmetric = tokens_of(difference.abs() * attention).mean((1, 2))  # [B, D]
        return Classified(
            asymmetry=self.asymmetry(asymmetric)[..., 0],
            abnormal=self.abnormality(tokens.mean(2))[..., 0],
            cam=class_activation(tokens, self.abnormality.weight[0]).reshape(-1, 2, *f.shape[-2:]),
            features=[],
            f_out=attended,
        )


def _smoothed(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, REACH, stride=1, padding=REACH // 2, count_include_pad=False)
