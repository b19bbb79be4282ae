"""PyTorch → AOTInductor: a .pt2 package with the network compiled for this processor (C++) or this GPU (Triton).

In half precision the network is traced under `torch.autocast`, which decides what runs in it, but for the first
convolution, which is float32 (`Unrounded`); outputs are float32.
It needs the very torch version that made it and the instruction sets of the machine that made it: both are noted, and
checked before it is opened. Inductor's `freezing` is not used: on CPUs it gave other numbers (docs/log.md).
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from disasym.engines.aoti import SIZE, instruction_sets, size_of
from disasym.errors import ExportError
from disasym.model import DisAsymNet

HALF = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


class Chosen(nn.Module):
    """A network that returns some of its outputs, as a plain tuple; tracing drops what only the others need."""

    def __init__(self, model: DisAsymNet, outputs: tuple[str, ...], dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs
        self.dtype = dtype

    def forward(self, views: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(views.device.type, self.dtype, enabled=self.dtype is not None, cache_enabled=False):
            found = self.model(views)
        return tuple(getattr(found, name).float() for name in self.outputs)


def to_aotinductor(
    model: DisAsymNet, package: Path, outputs: tuple[str, ...], max_batch: int, device: str, precision: str = "fp32"
) -> dict[str, Any]:
    """Compile the network for batches of 1 to `max_batch` and write the package; returns facts about it.

    Raises:
        ExportError: the compiler failed; its last words are in the message.
    """
    examples = torch.zeros(min(2, max_batch), 2, model.config.height, model.config.width, device=device)
    batch = {0: torch.export.Dim("batch", min=1, max=max_batch)} if max_batch > 1 else None
    package.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _quiet(), torch.no_grad():
            network = Chosen(laid_out(model, device, HALF[precision]), outputs, HALF[precision]).eval()
            program = traced(network, examples, batch)
            size = size_of(model.config.height, model.config.width, outputs)
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(package), inductor_configs={"aot_inductor.metadata": {SIZE: size}}
            )
    except Exception as error:  # a C++ compiler that is absent, or whatever Inductor raises
        raise ExportError(
            f"AOTInductor of torch {torch.__version__} cannot compile the model: {str(error).strip()[-500:]}; it needs"
            " a C++ compiler (g++ or clang++) and the headers of Python"
        ) from None
    if device == "cuda":
        return {"device": device, "gpu": torch.cuda.get_device_name(), "cpu": instruction_sets()}
    return {"device": device, "cpu": instruction_sets()}


def traced(network: nn.Module, examples: Tensor, batch: dict[int, Any] | None) -> torch.export.ExportedProgram:
    """The graph of the network, whose layouts Inductor works out afresh.

    torch.export traces with cuDNN switched off, and the cache of fake tensors remembers what it found then: results of
    convolutions in the usual layout. Inductor asks the same cache with cuDNN on and believes it, but cuDNN follows the
    weights, and where those of a 1×1 convolution lie with channels last, so does its result. On an H200 scores were
    wrong by 0.47 without an error (docs/log.md, 2026-11-27; PyTorch 2.11). So nothing is remembered.
    """
    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False):
        return torch.export.export(network, (examples,), dynamic_shapes={"views": batch})


def laid_out(model: DisAsymNet, device: str, dtype: torch.dtype | None) -> DisAsymNet:
    """A copy on the device; on a GPU with the weights of convolutions in channels last, and in `dtype`.

    Convolutions take their layout from their weights; Inductor chooses one only for batches of one size. In half
    precision the weights are half already, for else they are cast anew in every run. One input channel leaves the
    layout of a weight open, but for a copy.
    """
    network = copy.deepcopy(model).to(device)
    first = stem(network)
    for name, part in network.named_modules() if device == "cuda" else ():
        if isinstance(part, nn.Conv2d):
            half = dtype if name != first else None
            weight = part.weight.data.to(half or part.weight.dtype)
            part.weight.data = torch.empty_like(weight, memory_format=torch.channels_last).copy_(weight)
    if dtype is not None:
        network.set_submodule(first, Unrounded(network.get_submodule(first), dtype))
    return network


def stem(network: nn.Module) -> str:
    """The name of the encoder's first convolution, the only one that reads nothing but the views."""
    convolutions = ((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
    return next(str(name) for name, part in convolutions if part.in_channels == 1)


class Unrounded(nn.Module):
    """A convolution in float32 under any autocast; only its result is rounded.

    Grey values and first weights in half precision cost more than all that comes after them: with random weights of
    `paper` the CAM is 0.011 to 0.017 from float32 in fp16, and 0.004 to 0.005 with this (docs/log.md, 2026-11-27).
    """

    def __init__(self, convolution: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.convolution = convolution
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = self.convolution(x.float())
            return found.to(self.dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what torch says about its own deprecated parts."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category)
        yield
