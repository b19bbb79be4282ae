"""The encoders ψ_e by name, and ResNet-18 (He et al. 2016, arXiv 1512.03385), one input channel, torchvision's keys.

An encoder is a module made from the widths of its stages at stride 4, 8, 16 and 32. Beside `forward`, which gives the
feature maps at stride 2, 4, 8, 16 and 32, it has its two halves `shallow` and `deep`, for what happens in between.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from disasym.efficientnet import EfficientNetLite0
from disasym.errors import CheckpointError


class ResNet18(nn.Module):
    """Features at stride 2, 4, 8, 16 and 32, the last with `widths[-1]` channels.

    With widths (64, 128, 256, 512) the state-dict keys and shapes are those of torchvision's `resnet18`,
    except for the first convolution (one channel) and the absent `fc`.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        stem = widths[0]
        self.conv1 = nn.Conv2d(1, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, widths[0], stride=1)
        self.layer2 = _stage(widths[0], widths[1], stride=2)
        self.layer3 = _stage(widths[1], widths[2], stride=2)
        self.layer4 = _stage(widths[2], widths[3], stride=2)

    @staticmethod
    def channels(widths: Sequence[int]) -> tuple[int, int, int, int, int]:
        """Channels of the maps at stride 2, 4, 8, 16, 32."""
        first, second, third, last = widths
        return first, first, second, third, last

    def shallow_parts(self) -> list[nn.Module]:
        """What `shallow` uses."""
        return [self.conv1, self.bn1, self.layer1, self.layer2, self.layer3]

    def forward(self, x: Tensor) -> list[Tensor]:
        """x [n, 1, H, W] → five maps, [n, C, H/s, W/s] for s = 2, 4, 8, 16, 32."""
        features = self.shallow(x)
        return [*features, self.deep(features[-1])]

    def shallow(self, x: Tensor) -> list[Tensor]:
        """The first four maps: stem and stages 1 to 3."""
        features = [F.relu(self.bn1(self.conv1(x)))]
        x = F.max_pool2d(features[0], 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            features.append(x)
        return features

    def deep(self, x: Tensor) -> Tensor:
        """Stage 4: the map at stride 16 → the map at stride 32."""
        last: Tensor = self.layer4(x)
        return last

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Take torchvision's `resnet18` ImageNet weights: the RGB kernels of `conv1` are summed, `fc` is ignored.

        Raises:
            CheckpointError: a key is missing or a shape differs (only the `paper` widths fit).
        """
        own = self.state_dict()
        given = {key: value for key, value in weights.items() if not key.startswith("fc.")}
        if "conv1.weight" in given:
            given["conv1.weight"] = given["conv1.weight"].sum(dim=1, keepdim=True)
        given = {**{key: own[key] for key in own if key.endswith("num_batches_tracked")}, **given}
        if missing := sorted(own.keys() - given.keys()):
            raise CheckpointError(
                f"these are not resnet18 weights: {missing[0]!r} and {len(missing) - 1} more are missing"
            )
        for key, value in own.items():
            if given[key].shape != value.shape:
                raise CheckpointError(
                    f"ImageNet weights do not fit this encoder: {key} is {list(given[key].shape)} in the file"
                    f" and {list(value.shape)} here; they fit the preset 'paper', at any size"
                )
        self.load_state_dict({key: given[key] for key in own})


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, stride=1))


class BasicBlock(nn.Module):
    """relu(x + bn(conv(relu(bn(conv x))))), with a 1×1 projection of x where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.downsample(x) + self.bn2(self.conv2(y)))


Encoder = ResNet18 | EfficientNetLite0
ENCODERS: dict[str, type[ResNet18] | type[EfficientNetLite0]] = {
    "resnet18": ResNet18,
    "efficientnet-lite0": EfficientNetLite0,
}
