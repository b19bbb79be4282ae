"""Weights on disk: one safetensors file that carries its own configuration. No pickle, so no code runs on loading."""

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from disasym.comparisons import CLASSIFIERS, build
from disasym.errors import CheckpointError, InputError
from disasym.files import write_whole
from disasym.model import DisAsymNet, ModelConfig
from disasym.temperature import ENTRY, Temperatures, read_temperatures

FORMAT = "disasym-weights-1"


def save_model(path: Path, model: DisAsymNet, dtype: torch.dtype = torch.float32, **metadata: str) -> None:
    """Write weights and configuration; the file appears whole or not at all.

    Args:
        dtype: how floating-point tensors are stored, float32 or float16. Counters stay integers.
        metadata: further entries of the file's header, e.g. preset="small".

    Raises:
        CheckpointError: a weight is NaN, infinite or too large for `dtype`.
    """
    tensors = {}
    for name, value in model.state_dict().items():
        stored = value.to(dtype) if value.is_floating_point() else value
        if not torch.isfinite(stored).all():
            raise CheckpointError(f"{name} does not fit {dtype} (NaN, infinite or too large): not saved to {path}")
        tensors[name] = stored.contiguous()  # channels_last or not, files are alike
    header = {"format": FORMAT, "config": json.dumps(dataclasses.asdict(model.config)), **metadata}
    write_whole(path, _ordered(save(tensors, metadata=header)))


def load_model(path: Path, device: str = "cpu", attention: str = "auto") -> DisAsymNet:
    """The network of a file written by `save_model`, float32, in evaluation mode, its `config` attached.

    It divides by the temperatures that the file carries.

    `attention` is a backend of `disasym.kernels.bilateral_attention`.

    Raises:
        CheckpointError: the file is absent, damaged, of another format or of another configuration.
    """
    config = read_config(path)
    model = build(config, attention)
    try:
        model.load_state_dict({name: _restored(value) for name, value in read_tensors(path).items()})
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own configuration {config}: {error}") from None
    if carried := temperatures_of(path):
        model.temperatures = (carried.asymmetry.temperature, carried.abnormal.temperature)
    return model.to(device).eval()


def temperatures_of(path: Path) -> Temperatures | None:
    """The temperatures that the file carries. CheckpointError when its entry cannot be read."""
    text = read_metadata(path).get(ENTRY)
    try:
        return None if text is None else read_temperatures(text)
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from None


def with_temperatures(path: Path, target: Path, temperatures: Temperatures) -> None:
    """Write the same weights with `temperatures` in their header; not a bit of a tensor changes."""
    read_config(path)  # refuses what is no weights file
    content = path.read_bytes()
    write_whole(target, _ordered(content, **{ENTRY: temperatures.as_text()}))


def read_config(path: Path) -> ModelConfig:
    """The configuration in the file's header."""
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise CheckpointError(f"{path} is not a disasym weights file (format {found!r}, wanted {FORMAT!r})")
    try:
        fields = dict(json.loads(metadata["config"]))
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return _sound(ModelConfig(**{**fields, **lists}))
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise CheckpointError(f"{path} carries a configuration this version cannot read: {error}") from None


def read_metadata(path: Path) -> dict[str, str]:
    """All entries of the file's header; the tensors are not read."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, as stored."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _opened(path: Path) -> safe_open:
    if not path.is_file():
        raise CheckpointError(f"no weights file at {path}")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not safetensors: {error}") from None


def _sound(config: ModelConfig) -> ModelConfig:
    """Refuse what JSON can hold and a network cannot be built from."""
    if len(config.widths) != 4 or len(config.decoder) not in (0, 5):
        raise ValueError(f"{len(config.widths)} widths and {len(config.decoder)} decoder stages, wanted 4 and 5 or 0")
    for size in (config.height, config.width, config.heads, *config.widths, *config.decoder):
        if type(size) is not int or size < 1:
            raise ValueError(f"a size is {size!r}, wanted a whole number above 0")
    if type(config.blocks) is not int or config.blocks < 0:
        raise ValueError(f"blocks is {config.blocks!r}, wanted a whole number, 0 or above")
    if type(config.upside_down) is not bool:
        raise ValueError(f"upside_down is {config.upside_down!r}, wanted true or false")
    if config.classifier not in CLASSIFIERS:
        raise ValueError(f"unknown classifier {config.classifier!r}, known are {', '.join(CLASSIFIERS)}")
    return config


def _ordered(content: bytes, **more: str) -> bytes:
    """The same safetensors file with `more` metadata, sorted: the library writes them in a random order each time."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted({**header["__metadata__"], **more}.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _restored(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
