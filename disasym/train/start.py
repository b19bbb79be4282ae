"""The weights of an earlier run as the beginning of another: AsyC first, then AsyD on top of it."""

import dataclasses
from pathlib import Path

from disasym.checkpoint import read_config, read_tensors
from disasym.errors import CheckpointError
from disasym.model import DisAsymNet


def begin_with(model: DisAsymNet, path: Path) -> None:
    """Put the weights of a disasym file into `model`: all of AsyC, and AsyD where the file has one of the same shape.

    Raises:
        CheckpointError: absent, damaged, or of a network that differs in more than its AsyD.
    """
    given = read_config(path)
    free = ("decoder", "upsampling", "x_ab", "x_n", "skips", "upside_down")  # AsyD's, and one without a weight
    alike = dataclasses.replace(given, **{name: getattr(model.config, name) for name in free})
    if alike != model.config:
        names = [f.name for f in dataclasses.fields(alike) if getattr(alike, f.name) != getattr(model.config, f.name)]
        differ = ", ".join(
            f"{name} is {getattr(given, name)} there, {getattr(model.config, name)} here" for name in names
        )
        raise CheckpointError(f"{path} is of another network: {differ}")
    tensors = {
        name: value.float() if value.is_floating_point() else value for name, value in read_tensors(path).items()
    }
    if given != model.config:  # another AsyD, or none: it begins anew
        tensors = {name: value for name, value in tensors.items() if name.startswith("asyc.")}
    model.load_state_dict({**model.state_dict(), **tensors})
