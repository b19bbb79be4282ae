"""Late fusion of both views: each is encoded alone, the pooled features are concatenated and classified.

The joint model without attention of van Tulder et al., MICCAI 2021 (arXiv 2103.11390, section 3, "late join"); the
same idea with four views: Wu et al., "Deep neural networks improve radiologists' performance in breast cancer
screening", TMI 2020 (arXiv 1903.08297, section on view-wise and image-wise models).
"""

from torch import Tensor, nn

from disasym.comparisons.parts import FusionHead, encoder_of
from disasym.model import Classified, ModelConfig


class LateFusion(nn.Module):
    """Encoder shared by both sides, then `FusionHead`.

    Filled in: van Tulder et al. have an encoder for each view, since CC and MLO differ; right and left, mirrored, do
    not. What is concatenated for which score: see `FusionHead`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = encoder_of(config)
        self.head = FusionHead(config.widths[-1])

    def forward(self, views: Tensor) -> Classified:
        found: Classified = self.head(self.encoder(views.flatten(0, 1)[:, None])[-1])
        return found
