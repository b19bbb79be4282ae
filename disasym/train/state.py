"""A training run's whole state in one safetensors file, so that a killed run goes on bit for bit (docs/adr/0004)."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from disasym.checkpoint import read_metadata, read_tensors
from disasym.errors import CheckpointError
from disasym.files import write_whole
from disasym.train.step import Step

FORMAT = "disasym-training-1"


def save_state(path: Path, step: Step, history: list[dict[str, float]], options: str) -> None:
    """Write weights, both optimisers, scalers and the history of epochs; the file appears whole or not at all."""
    tensors = {f"model.{name}": value.contiguous() for name, value in step.model.state_dict().items()}
    for name, optimizer in (("optimizer", step.optimizer), ("refiner", step.refiner)):
        for index, slots in optimizer.state_dict()["state"].items():
            tensors.update({f"{name}.{index}.{slot}": value.contiguous() for slot, value in slots.items()})
    header = {
        "format": FORMAT,
        "options": options,
        "history": json.dumps(history),
        "scalers": json.dumps([scaler.state_dict() for scaler in step.scalers]),
    }
    write_whole(path, save(tensors, metadata=header))


def load_state(path: Path, step: Step) -> list[dict[str, float]]:
    """Restore `step` in place; returns the history, one entry an epoch done.

    Raises:
        CheckpointError: the file is damaged, of another format or of another network.
    """
    header, tensors = read_header(path), read_tensors(path)
    try:
        step.model.load_state_dict(_under("model.", tensors))
        for name, optimizer in (("optimizer", step.optimizer), ("refiner", step.refiner)):
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(f"{name}.", tensors).items():
                index, slot = key.split(".")
                slots.setdefault(int(index), {})[slot] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        for scaler, state in zip(step.scalers, json.loads(header["scalers"]), strict=True):
            scaler.load_state_dict(state)
        history: list[dict[str, float]] = json.loads(header["history"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold the state of this network: {error}") from None
    return history


def read_header(path: Path) -> dict[str, Any]:
    """The header of a training state: format, options, history, scalers."""
    header = read_metadata(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a training state (format {header.get('format')!r}, wanted {FORMAT!r})")
    return header


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): torch.as_tensor(t) for key, t in tensors.items() if key.startswith(prefix)}
