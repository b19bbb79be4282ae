"""What a user of eager PyTorch would do next: autocast on a GPU, and torch.compile. Not engines of disasym: no export
holds them, they are here to be raced against."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, cast

from disasym.engines import Engine, EngineInfo
from disasym.engines.eager import EagerEngine, describe
from disasym.export.manifest import WEIGHTS, Manifest, checked_file

if TYPE_CHECKING:
    from torch import Tensor

    from disasym.model import DisAsymNet, ModelOutputs

PEERS = {"autocast fp16": "fp16", "autocast bf16": "bf16", "torch.compile": "fp32"}  # name → precision of its outputs


def open_peer(folder: Path, manifest: Manifest, name: str, device: str, threads: int) -> Engine:
    """One of PEERS with the weights of an export; all outputs."""
    weights = checked_file(folder, manifest, WEIGHTS)
    info = dataclasses.replace(describe(weights, device), precision=PEERS[name])
    return Compiled(weights, info, threads) if name == "torch.compile" else Autocast(weights, info, threads)


class Autocast(EagerEngine):
    """Eager PyTorch under torch.autocast: its own choice of what runs in half precision; outputs as float32."""

    name = "autocast"

    def __init__(self, weights: Path, info: EngineInfo, threads: int | None = None) -> None:
        super().__init__(weights, info, threads)
        import torch

        from disasym.model import ModelOutputs

        whole, half = self._model, {"fp16": torch.float16, "bf16": torch.bfloat16}[info.precision]

        def model(views: "Tensor") -> "ModelOutputs":
            assert whole is not None  # noqa: S101 - it was just loaded
            with torch.autocast(info.device, half):
                return ModelOutputs(*(value.float() for value in whole(views)))

        self._model = cast("DisAsymNet", model)


class Compiled(EagerEngine):
    """Eager PyTorch through torch.compile, which compiles at the first run, and again for other batches."""

    name = "torch.compile"

    def __init__(self, weights: Path, info: EngineInfo, threads: int | None = None) -> None:
        super().__init__(weights, info, threads)
        import torch

        self._model = cast("DisAsymNet", torch.compile(self._model))
