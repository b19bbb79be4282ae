"""Random weights for a race without trained ones: every part matters, and the outputs depend on the views."""

import torch
from torch import nn

from disasym.export.parity import synthetic_pairs
from disasym.model import PRESETS, DisAsymNet

# Standard deviation of the weights of AsyD's last convolution, which training begins with 0. With 0.5 the images of
# `paper` lie further from float32 in fp16 (0.026) and in int8 (1.0) than an export may (docs/log.md).
HEAD = 0.05


def lively(preset: str, seed: int = 0) -> DisAsymNet:
    """A network of a preset, in evaluation mode, with random weights far from their initial values.

    LayerNorm and BatchNorm weights are unlike 1, AsyD's head, which starts at zero, does change the images, and
    BatchNorm's statistics are those of breast-like pairs: without that, random layers map all images to one point.
    """
    torch.manual_seed(seed)
    network = DisAsymNet(PRESETS[preset])
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0, 0.2)
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None  # statistics of what is seen now, not a moving average
        network.asyd.head.weight.normal_(0, HEAD)
        network.asyd.head.get_parameter("bias").copy_(torch.tensor([0.3, -0.5]))
        network.train()(_pairs(preset, seed=1000 + seed))
        _spread_scores(network.eval(), _pairs(preset, seed=2000 + seed))
    return network


def _pairs(preset: str, seed: int) -> torch.Tensor:
    config = PRESETS[preset]
    return torch.from_numpy(synthetic_pairs(config.height, config.width, 2, seed))


def _spread_scores(network: DisAsymNet, views: torch.Tensor) -> None:
    """Point both classifiers along a direction in which these pairs differ, so that their logits differ by about 1."""
    found = network.asyc(views)
    sides = found.f_out.flatten(2)  # [2B, D, N]
    means = sides.mean(2).reshape(-1, 2, sides.shape[1])  # [B, 2, D]
    distances = (sides[0::2] - sides[1::2]).abs().mean(2)  # [B, D]
    _separate(network.asyc.abnormality, means[:, 0].mean(0), means[:, 1].mean(0))
    _separate(network.asyc.asymmetry, distances[0], distances[1])


def _separate(classifier: nn.Linear, low: torch.Tensor, high: torch.Tensor) -> None:
    direction = (high - low) / (high - low).square().sum()
    classifier.weight.copy_(direction[None])
    classifier.bias.copy_(-(direction @ (high + low))[None] / 2)
