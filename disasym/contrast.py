"""Classifiers for small data: what one breast shows beyond the other, linear in pooled features (docs/adr/0024)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disasym.spec import STRIDE


class Contrast(nn.Module):
    """Both classifiers of AsyC on [f_out, the encoder's features at stride 16], pooled over the breast.

        p_i = Σ_n s_n·t_n / Σ_n s_n           t_n token n of side i, s_n the share of its cell that is breast
        z_i = (p_i − μ) / σ                   μ, σ of all sides trained on (BatchNorm)
        abnormal_i = w·z_i + v·(z_i − z_j)    j the other side
        asymmetry = a·|z_r − z_l|

    Not in the paper, where f_out alone is averaged over all cells and the transformer alone compares. w, v and a start
    at 0, so that the first steps are those of a logistic regression on the features of a pretrained encoder.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm2d(features, affine=False)  # 2d: it can be shared by several processes
        self.own = nn.Linear(features, 1)
        self.difference = nn.Linear(features, 1, bias=False)
        self.asymmetry = nn.Linear(features, 1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, f_out: Tensor, finer: Tensor, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f_out [B, 2, N, D], finer [B, 2, N, C], views [B, 2, H, W] → logits [B] and [B, 2], CAM [B, 2, N]."""
        tokens = torch.cat([f_out, finer], dim=-1)  # [B, 2, N, D + C]
        share = F.avg_pool2d((views > 0).to(tokens.dtype), STRIDE).flatten(2)  # [B, 2, N]
        weight = share / share.sum(-1, keepdim=True).clamp_min(1e-6)
        pooled = (tokens * weight[..., None]).sum(2)  # [B, 2, D + C]
        z = self.standard(pooled.flatten(0, 1)[..., None, None]).reshape(pooled.shape)
        beyond = z - z.flip(1)
        abnormal = self.own(z) + self.difference(beyond)
        return self.asymmetry(beyond[:, 0].abs())[..., 0], abnormal[..., 0], self.activation(tokens, share)

    def activation(self, tokens: Tensor, share: Tensor) -> Tensor:
        """[B, 2, N]: what a cell adds to its own side's logit, standardised like z; cells without breast are cold."""
        mean, variance = self.standard.get_buffer("running_mean"), self.standard.get_buffer("running_var")
        deviation = (variance + self.standard.eps).sqrt()
        weight = (self.own.weight + self.difference.weight)[0] / deviation  # [D + C]
        return scaled((tokens - mean) @ weight * (share > 0))


def scaled(evidence: Tensor) -> Tensor:
    """minmax(ReLU(evidence)) over the cells of each side, [B, 2, N] in [0, 1]; all 0 where none is positive."""
    evidence = F.relu(evidence)
    low = evidence.amin(-1, keepdim=True)
    spread = evidence.amax(-1, keepdim=True) - low
    return (evidence - low) / spread.clamp_min(1e-6)
