"""Copies between a caller's arrays and PyTorch's tensors, for the engines that run on it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from disasym.spec import Array

if TYPE_CHECKING:
    from torch import Tensor


def to_device(views: Array, device: str) -> "Tensor":
    """A float32 tensor of its own on `device`: what is done to it does not reach the caller's array."""
    import torch

    if device == "cpu" or not views.flags.writeable:  # PyTorch warns of memory that it must not write
        return torch.tensor(views, device=device)
    return torch.from_numpy(views).to(device)


def to_host(outputs: Mapping[str, "Tensor"]) -> dict[str, Array]:
    """Fresh float32 arrays that the caller owns.

    Those of a GPU lie in page-locked memory, which it fills without the processor's help and without a copy between.
    PyTorch keeps such memory for the next batch once the arrays are gone, so it is locked once, and only as much as
    was ever held at a time.
    """
    import torch

    if all(value.device.type == "cpu" for value in outputs.values()):
        return {name: np.array(value.numpy()) for name, value in outputs.items()}
    held = {name: torch.empty(value.shape, dtype=value.dtype, pin_memory=True) for name, value in outputs.items()}
    for name, value in outputs.items():
        held[name].copy_(value, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return {name: value.numpy() for name, value in held.items()}


def is_out_of_memory(error: Exception) -> bool:
    """Of the GPU, of the host, or for lack of memory that can be page-locked: PyTorch has no one class for them."""
    import torch

    signs = ("can't allocate memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)
