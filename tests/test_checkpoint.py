"""Weights on disk: they come back as they were, and a file that is not sound is refused with a reason."""

import contextlib
import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from disasym.checkpoint import FORMAT, load_model, read_config, read_metadata, read_tensors, save_model
from disasym.encoder import ResNet18
from disasym.errors import CheckpointError
from disasym.model import PRESETS, DisAsymNet, ModelConfig

TINY = ModelConfig("resnet18", 64, 32, widths=(8, 8, 16, 16), blocks=1, heads=2, decoder=(8, 8, 8, 8, 8))
TORCHVISION_WIDTHS = (64, 128, 256, 512)


@pytest.fixture
def network() -> DisAsymNet:
    torch.manual_seed(0)
    network = DisAsymNet(TINY).train()
    network(torch.rand(2, 2, 64, 32))  # moves the statistics and counters of BatchNorm
    return network


@pytest.fixture
def saved(network: DisAsymNet, tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", network)
    return tmp_path / "model.safetensors"


def test_float32_weights_come_back_bit_for_bit(network: DisAsymNet, saved: Path) -> None:
    loaded = load_model(saved)
    assert loaded.config == TINY
    assert not any(part.training for part in loaded.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_float16_weights_come_back_as_float32_rounded_once(network: DisAsymNet, tmp_path: Path) -> None:
    half, again = tmp_path / "half.safetensors", tmp_path / "again.safetensors"
    save_model(half, network, dtype=torch.float16)
    loaded = load_model(half)
    for name, value in network.state_dict().items():
        wanted = value.half().float() if value.is_floating_point() else value
        assert torch.equal(loaded.state_dict()[name], wanted), name
    save_model(again, loaded, dtype=torch.float16)
    assert again.read_bytes() == half.read_bytes()


def test_metadata_and_configuration_stand_in_the_header(network: DisAsymNet, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "model.safetensors"
    save_model(path, network, preset="tiny", epoch="7")
    assert read_config(path) == TINY
    assert {"preset": "tiny", "epoch": "7", "format": FORMAT}.items() <= read_metadata(path).items()


def test_the_same_weights_give_the_same_file(network: DisAsymNet, saved: Path) -> None:
    files = set()
    for _ in range(8):  # the order of a header's entries was random in the library
        save_model(saved, network, preset="tiny", epoch="7", data="mammographie à deux côtés")
        files.add(saved.read_bytes())
    assert len(files) == 1
    assert read_metadata(saved)["data"] == "mammographie à deux côtés"


def test_memory_layout_does_not_change_the_file(network: DisAsymNet, saved: Path, tmp_path: Path) -> None:
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    save_model(tmp_path / "channels-last.safetensors", network)
    assert (tmp_path / "channels-last.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
def test_weights_that_the_file_cannot_hold_are_not_saved(network: DisAsymNet, tmp_path: Path, bad: float) -> None:
    with torch.no_grad():
        network.asyd.head.get_parameter("bias")[1] = bad
    with pytest.raises(CheckpointError, match=r"asyd\.head\.bias does not fit torch.float16"):
        save_model(tmp_path / "model.safetensors", network, dtype=torch.float16)
    assert not any(tmp_path.iterdir())


def test_a_failed_save_keeps_the_old_file(network: DisAsymNet, saved: Path) -> None:
    before = saved.read_bytes()
    with torch.no_grad():
        network.asyd.head.get_parameter("bias")[1] = float("nan")
    with pytest.raises(CheckpointError):
        save_model(saved, network)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights file at .*absent\.safetensors"):
        load_model(tmp_path / "absent.safetensors")


def test_a_pickle_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    for name, content in [("plain.pt", pickle.dumps(Trap())), ("model.safetensors", pickle.dumps({"a": Trap()}))]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or not safetensors"):
            load_model(tmp_path / name)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "torch.safetensors")
    with pytest.raises(CheckpointError, match="damaged or not safetensors"):
        load_model(tmp_path / "torch.safetensors")
    assert not (tmp_path / "ran").exists()


@given(cut=st.floats(0, 0.999))
def test_a_file_cut_anywhere_is_refused(saved: Path, cut: float) -> None:
    whole = saved.read_bytes()
    part = saved.with_name("part.safetensors")
    part.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(CheckpointError, match="damaged or not safetensors"):
        load_model(part)


@given(place=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(saved: Path, place: int, value: int) -> None:
    content = bytearray(saved.read_bytes())
    content[place] = value
    damaged = saved.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        assert isinstance(load_model(damaged), DisAsymNet)


def header_of(saved: Path, **changed: str | None) -> Path:
    """The same tensors under a header that differs in some entries; None removes one."""
    metadata = {**read_metadata(saved), **changed}
    path = saved.with_name("other.safetensors")
    save_file(load_file(saved), path, {key: value for key, value in metadata.items() if value is not None})
    return path


def test_a_file_of_another_format_is_refused(saved: Path) -> None:
    for found in (None, "disasym-weights-9"):
        with pytest.raises(CheckpointError, match=r"not a disasym weights file .* wanted 'disasym-weights-1'"):
            load_model(header_of(saved, format=found))


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": "resnet999"},
        {"height": 65},
        {"heads": 3},
        {"widths": [8, 8, 16]},
        {"widths": "8888"},
        {"blocks": "one"},
        {"height": None},
        {"surprise": 1},
    ],
    ids=lambda change: ",".join(change),
)
def test_a_configuration_that_cannot_be_is_refused(saved: Path, change: dict[str, object]) -> None:
    config = {**dataclasses.asdict(TINY), **change}
    with pytest.raises(CheckpointError, match=r"other\.safetensors"):
        load_model(header_of(saved, config=json.dumps(config)))


@pytest.mark.parametrize("config", [None, "", "[]", "{", "{}", "null"])
def test_a_configuration_that_is_none_is_refused(saved: Path, config: str | None) -> None:
    with pytest.raises(CheckpointError, match="configuration this version cannot read"):
        load_model(header_of(saved, config=config))


def test_weights_of_another_configuration_are_refused(saved: Path) -> None:
    for change in ({"blocks": 2}, {"widths": (8, 8, 16, 32)}):
        config = dataclasses.asdict(dataclasses.replace(TINY, **change))
        with pytest.raises(CheckpointError, match="does not fit its own configuration"):
            load_model(header_of(saved, config=json.dumps(config)))


def torchvision_weights(widths: tuple[int, int, int, int] = TORCHVISION_WIDTHS) -> dict[str, Tensor]:
    """Random tensors under the keys and shapes of torchvision's resnet18, `fc` included."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, value in ResNet18(widths).state_dict().items():
        shape = (value.shape[0], 3, 7, 7) if name == "conv1.weight" else value.shape
        weights[name] = torch.rand(shape, generator=generator).to(value.dtype)
    return {**weights, "fc.weight": torch.zeros(1000, widths[-1]), "fc.bias": torch.zeros(1000)}


def test_the_encoder_has_the_keys_and_shapes_of_torchvision() -> None:
    shapes = {name: tuple(value.shape) for name, value in ResNet18(TORCHVISION_WIDTHS).state_dict().items()}
    for name, shape in {
        "conv1.weight": (64, 1, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.1.conv2.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer3.0.downsample.1.running_var": (256,),
        "layer4.1.bn2.num_batches_tracked": (),
    }.items():
        assert shapes.pop(name) == shape
    assert len(shapes) + 6 == 120  # torchvision's resnet18 has 122 entries, two of them of `fc`
    assert not any(name.startswith("layer1.0.downsample") for name in shapes)


def test_imagenet_weights_are_taken_with_summed_colours_and_without_fc() -> None:
    weights, encoder = torchvision_weights(), ResNet18(TORCHVISION_WIDTHS)
    encoder.load_imagenet(weights)
    loaded = encoder.state_dict()
    assert np.allclose(loaded["conv1.weight"][:, 0], weights["conv1.weight"].numpy().sum(1), atol=1e-6)
    for name, value in loaded.items():
        assert name == "conv1.weight" or torch.equal(value, weights[name]), name


def test_a_grey_image_gives_what_the_colour_kernels_give_on_three_equal_channels() -> None:
    weights, encoder = torchvision_weights(), ResNet18(TORCHVISION_WIDTHS)
    encoder.load_imagenet(weights)
    grey = torch.rand(1, 1, 32, 32)
    colour = torch.nn.functional.conv2d(grey.expand(1, 3, 32, 32), weights["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(encoder.conv1(grey), colour)


def test_old_imagenet_files_without_batch_counters_are_taken() -> None:
    weights = {key: value for key, value in torchvision_weights().items() if "num_batches" not in key}
    ResNet18(TORCHVISION_WIDTHS).load_imagenet(weights)


def test_imagenet_weights_that_do_not_fit_are_refused() -> None:
    encoder = ResNet18(TORCHVISION_WIDTHS)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    incomplete = torchvision_weights()
    del incomplete["layer3.0.conv1.weight"], incomplete["bn1.bias"]
    with pytest.raises(CheckpointError, match=r"'bn1.bias' and 1 more are missing"):
        encoder.load_imagenet(incomplete)
    with pytest.raises(CheckpointError, match=r"bn1\.weight is \[24\] in the file and \[64\] here; .* preset 'paper'"):
        encoder.load_imagenet(torchvision_weights(PRESETS["small"].widths) | {"conv1.weight": torch.zeros(64, 3, 7, 7)})
    with pytest.raises(CheckpointError, match="not resnet18 weights"):
        encoder.load_imagenet({})
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_tensors_are_read_as_stored(network: DisAsymNet, tmp_path: Path) -> None:
    save_model(tmp_path / "half.safetensors", network, dtype=torch.float16)
    tensors = read_tensors(tmp_path / "half.safetensors")
    assert tensors.keys() == network.state_dict().keys()
    assert {value.dtype for value in tensors.values()} == {torch.float16, torch.int64}
