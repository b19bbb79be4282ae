"""One network from several trainings of it: the mean of their weights ("model soup").

Wortsman et al. 2022, arXiv 2203.05482, section 2 (uniform soup). It works for trainings that began with the same
weights and differ in their order of pairs or in augmentation (`--seed`): what they found lies close enough together,
and the mean lies flatter. It costs nothing at inference, unlike the mean of several networks' scores.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from disasym.checkpoint import load_model
from disasym.errors import InputError
from disasym.model import DisAsymNet


def average(files: Sequence[Path]) -> DisAsymNet:
    """The network whose floating-point weights and BatchNorm statistics are the means of those in `files`.

    Summed in float64, so the order of the files does not matter beyond float32's rounding. Counters are the first's.
    Temperatures are left out: they were fitted on another network's logits.

    Raises:
        InputError: fewer than two files, one given twice, or files of different networks.
        CheckpointError: one of them cannot be read.
    """
    if len(files) < 2:
        raise InputError(f"a mean needs at least two weights files, got {len(files)}")
    if len({path.resolve() for path in files}) < len(files):
        raise InputError("a weights file is given twice: it would count twice")
    models = [load_model(path) for path in files]
    mean = models[0]
    for path, model in zip(files, models, strict=True):
        if model.config != mean.config:
            names = [field.name for field in dataclasses.fields(mean.config)]
            name = next(name for name in names if getattr(model.config, name) != getattr(mean.config, name))
            there, here = getattr(model.config, name), getattr(mean.config, name)
            raise InputError(f"{path} is of another network than {files[0]}: {name} is {there!r}, not {here!r}")
    states = [model.state_dict() for model in models]
    mean.load_state_dict(
        {
            name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in states[0].items()
        }
    )
    mean.temperatures = None
    return mean
