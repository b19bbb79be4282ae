"""ImageNet weights of the encoder, from a file that a user names."""

import pickletools
import zipfile
from pathlib import Path

from disasym.checkpoint import read_tensors
from disasym.encoder import Encoder
from disasym.errors import CheckpointError


def load_imagenet(encoder: Encoder, path: Path) -> None:
    """Put the weights of a safetensors file into `encoder`: its first convolution is summed over RGB.

    The keys are those of torchvision's `resnet18` (for the widths of the preset `paper`, at any size) or those of the
    PyPI package `efficientnet-lite-pytorch` (for the encoder `efficientnet-lite0`).

    Raises:
        CheckpointError: absent, damaged, a pickle (which is never read: docs/adr/0007), or of another network.
    """
    if path.is_file() and is_pickle(path):
        raise CheckpointError(
            f"{path} is a pickle, which disasym does not read: convert it once to .safetensors, as docs/train.md says"
        )
    tensors = read_tensors(path)
    try:
        encoder.load_imagenet(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def is_pickle(path: Path) -> bool:
    """Whether torch.save wrote this: a zip file since torch 1.6, a bare pickle before. Nothing of it is run."""
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        try:
            opcode, _, _ = next(pickletools.genops(file))
        except ValueError:
            return False
    return opcode.name == "PROTO"
