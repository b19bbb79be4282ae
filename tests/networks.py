"""Networks for tests: random weights far from their initial values, so that a graph that drops a part shows."""

import dataclasses
import functools

import torch
from torch import nn

from disasym.export.parity import synthetic_pairs
from disasym.model import PRESETS, DisAsymNet
from disasym.spec import Array

TINY = dataclasses.replace(
    PRESETS["small"], height=64, width=32, widths=(8, 8, 8, 16), blocks=1, heads=2, decoder=(8, 8, 8, 8, 8)
)


@functools.cache
def lively(preset: str, seed: int = 0) -> DisAsymNet:
    """A network in evaluation mode in which every part matters and whose outputs depend on the views.

    LayerNorm and BatchNorm weights are unlike 1, AsyD's head, which starts at zero, does change the images, and
    BatchNorm's statistics are those of breast-like pairs: without that, random layers map all images to one point.
    One network is shared by all tests: none may change it.
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
        network.asyd.head.weight.normal_(0, 0.5)
        network.asyd.head.get_parameter("bias").copy_(torch.tensor([0.3, -0.5]))
        network.train()(torch.from_numpy(pairs_for(preset, 2, seed=1000 + seed)))
        _spread_scores(network.eval(), torch.from_numpy(pairs_for(preset, 2, seed=2000 + seed)))
    return network


def pairs_for(preset: str, count: int, seed: int = 0) -> Array:
    """Breast-like pairs that fit a preset, float32 [count, 2, H, W]."""
    config = PRESETS[preset]
    return synthetic_pairs(config.height, config.width, count, seed)


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
