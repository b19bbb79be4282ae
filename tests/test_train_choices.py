"""What of the network can be chosen for a training run, and ImageNet weights from a file."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import disasym.engines
from disasym.checkpoint import load_model
from disasym.efficientnet import EfficientNetLite0
from disasym.encoder import ResNet18
from disasym.errors import CheckpointError, InputError
from disasym.export import export
from disasym.losses import LossWeights
from disasym.model import PRESETS
from disasym.train import TrainOptions, train
from disasym.train.imagenet import load_imagenet
from disasym.train.run import initial_model
from networks import TINY
from pairs import write_pairs


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainOptions:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    return TrainOptions(
        manifests=(write_pairs(tmp_path / "made", 10),),
        out=tmp_path / "run",
        preset="tiny",
        epochs=1,
        batch=4,
        losses=LossWeights(synthesis=0.0),
    )


def coloured(weights: dict[str, Tensor], first: str) -> dict[str, Tensor]:
    """ImageNet weights as published: three colours in the first kernels, and a layer that no encoder has."""
    grey = weights[first]
    return {**weights, first: torch.rand(grey.shape[0], 3, *grey.shape[2:]), "fc.bias": torch.zeros(1000)}


@pytest.mark.slow
def test_choices_shape_the_network_its_weights_and_its_export(options: TrainOptions, tmp_path: Path) -> None:
    asked = dataclasses.replace(options, size=(96, 64), upsampling="bilinear", x_ab="masked")
    wanted = dataclasses.replace(TINY, height=96, width=64, upsampling="bilinear", x_ab="masked")
    assert asked.config == wanted
    weights = train(asked).weights
    assert load_model(weights).config == wanted
    export(weights, tmp_path / "export")  # refused if it differed from the model
    with disasym.engines.load(tmp_path / "export") as engine:
        assert (engine.info.height, engine.info.width) == (96, 64)


def test_impossible_choices_are_refused_before_anything_is_read(options: TrainOptions) -> None:
    for change, message in (
        ({"size": (100, 64)}, "multiples of 32, got 100×64"),
        ({"upsampling": "cubic"}, "unknown upsampling 'cubic': choose one of nearest, bilinear"),
        ({"x_ab": "x"}, "unknown x_ab 'x': choose one of sigmoid, masked"),
        ({"paste": "all"}, "cannot paste into 'all': choose one of symmetric, sides"),
    ):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(options, **change)


def test_training_starts_from_the_imagenet_weights_of_either_encoder(options: TrainOptions, tmp_path: Path) -> None:
    for name, encoder, first in (
        ("resnet18", ResNet18((64, 128, 256, 512)), "conv1.weight"),
        ("efficientnet-lite0", EfficientNetLite0(), "_conv_stem.weight"),
    ):
        published = coloured(encoder.state_dict(), first)
        save_file(published, tmp_path / "imagenet.safetensors")
        asked = dataclasses.replace(
            options,
            preset="paper",
            encoder=name,
            size=(64, 32),
            method="resnet18",
            init=tmp_path / "imagenet.safetensors",
        )
        found = initial_model(asked, "cpu").asyc.encoder.state_dict()
        torch.testing.assert_close(found[first], published[first].sum(1, keepdim=True))
        assert all(torch.equal(found[key], published[key]) for key in found if key != first)


def test_wrong_files_of_imagenet_weights_are_named(tmp_path: Path) -> None:
    lite, bare = EfficientNetLite0(), tmp_path / "old.pth"
    save_file(lite.state_dict(), tmp_path / "lite.safetensors")
    with pytest.raises(CheckpointError, match=r"lite\.safetensors: these are not resnet18 weights"):
        load_imagenet(ResNet18((64, 128, 256, 512)), tmp_path / "lite.safetensors")
    torch.save(lite.state_dict(), tmp_path / "new.pth")
    torch.save(lite.state_dict(), bare, _use_new_zipfile_serialization=False)
    for pickle in (tmp_path / "new.pth", bare):
        with pytest.raises(CheckpointError, match=rf"{pickle.name} is a pickle, .* docs/train\.md"):
            load_imagenet(lite, pickle)
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(CheckpointError, match="damaged or not safetensors"):
        load_imagenet(lite, tmp_path / "empty.safetensors")
    with pytest.raises(CheckpointError, match="no weights file"):
        load_imagenet(lite, tmp_path / "absent.safetensors")


def test_the_documented_conversion_makes_a_file_that_is_taken(root: Path, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (root / "docs" / "train.md").read_text(), re.S)
    assert code
    published = coloured(EfficientNetLite0().state_dict(), "_conv_stem.weight")
    published["_conv_stem.weight"] = published["_conv_stem.weight"].to(
        memory_format=torch.channels_last
    )  # as published
    torch.save(published, tmp_path / "lite0.pth")
    files = (tmp_path / "lite0.pth", tmp_path / "lite0.safetensors")
    subprocess.run([sys.executable, "-c", code[1], *files], check=True)
    encoder = EfficientNetLite0()
    load_imagenet(encoder, files[1])
    wanted = published["_conv_stem.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(encoder.state_dict()["_conv_stem.weight"], wanted)
