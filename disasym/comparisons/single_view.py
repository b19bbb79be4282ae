"""ResNet-18 on one view: He et al., "Deep residual learning for image recognition", CVPR 2016 (arXiv 1512.03385)."""

from torch import Tensor, nn

from disasym.comparisons.parts import either, encoder_of
from disasym.model import Classified, ModelConfig, class_activation, tokens_of


class SingleView(nn.Module):
    """Encoder, mean over all positions, one linear layer (He et al., section 3.3). A side never sees the other.

    Filled in: the pair's score, which one view cannot give, is `parts.either` of both sides' scores.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = encoder_of(config)
        self.abnormality = nn.Linear(config.widths[-1], 1)

    def forward(self, views: Tensor) -> Classified:
        maps = self.encoder(views.flatten(0, 1)[:, None])[-1]  # [2B, D, H/32, W/32]
        tokens = tokens_of(maps)  # [B, 2, N, D]
        abnormal = self.abnormality(tokens.mean(2))[..., 0]  # [B, 2]
        return Classified(
            asymmetry=either(abnormal),
            abnormal=abnormal,
            cam=class_activation(tokens, self.abnormality.weight[0]).reshape(-1, 2, *maps.shape[-2:]),
            features=[],
            f_out=maps,
        )
