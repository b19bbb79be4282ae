"""BatchNorm over the batch of all processes, so that several give what one gives (docs/adr/0020).

On GPUs it is torch's own SyncBatchNorm, which refuses other devices; on CPUs it is `SharedBatchNorm2d`.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def share_batchnorm(model: nn.Module, device: str) -> nn.Module:
    """`model` with its BatchNorm layers exchanged; parameters, buffers and names stay what they are."""
    if device.startswith("cuda"):
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return shared
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, SharedBatchNorm2d.of(child))
    return model


class SharedBatchNorm2d(nn.BatchNorm2d):
    """As `nn.BatchNorm2d`, but while it trains mean and variance are those of all processes' images together.

    Both are found, in float32 at least, with two differentiable sums over processes: Σx and n, then Σ(x − mean)². A
    second pass and not E[x²] − mean², which loses what a float32 holds where the mean is large.
    """

    @classmethod
    def of(cls, other: nn.BatchNorm2d) -> "SharedBatchNorm2d":
        """In its place, with the same parameters and buffers."""
        made = cls(other.num_features, other.eps, other.momentum, other.affine)
        made.weight, made.bias = other.weight, other.bias
        made.running_mean, made.running_var = other.running_mean, other.running_var
        made.num_batches_tracked = other.num_batches_tracked
        return made.train(other.training)

    def forward(self, x: Tensor) -> Tensor:
        """x [n, C, H, W] → the same, in the dtype of x."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            values = x.to(torch.promote_types(x.dtype, torch.float32))
            own = torch.full((1,), values.numel() / self.num_features, dtype=values.dtype, device=x.device)
            sums = sum_of_all(torch.cat([values.sum((0, 2, 3)), own]))
            count = sums[-1].detach()
            centred = values - (sums[:-1] / count)[:, None, None]
            variance = sum_of_all(centred.square().sum((0, 2, 3))) / count
            self._track((sums[:-1] / count).detach(), variance.detach() * count / (count - 1))
            normed = centred * (variance + self.eps).rsqrt()[:, None, None]
            if self.affine:
                normed = normed * self.weight[:, None, None] + self.bias[:, None, None]
            return normed.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased: Tensor) -> None:
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.lerp_(new, self.momentum)  # type: ignore[union-attr, arg-type]


def sum_of_all(values: Tensor) -> Tensor:
    """Σ over processes. Its gradient is a sum over processes too: each one's loss depends on every one's values."""
    summed: Tensor = _SumOfAll.apply(values)  # type: ignore[no-untyped-call]
    return summed


class _SumOfAll(torch.autograd.Function):  # torch.distributed.nn.functional.all_reduce, which is deprecated
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        dist.all_reduce(summed)
        return summed
