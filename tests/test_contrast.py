"""The classifiers for small data, and training with a part of the network held fast."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import disasym.engines
from disasym.checkpoint import load_model, save_model
from disasym.comparisons import build
from disasym.contrast import Contrast, scaled
from disasym.data.manifest import read_manifest
from disasym.errors import CheckpointError, InputError
from disasym.export import export
from disasym.losses import LossWeights
from disasym.model import PRESETS, DisAsymNet, ModelConfig
from disasym.train import TrainOptions
from disasym.train.run import fit, initial_model
from disasym.train.start import begin_with
from networks import TINY
from pairs import write_pairs
from tolerances import tolerance

CONTRAST = dataclasses.replace(TINY, head="contrast")


def spread(config: ModelConfig) -> DisAsymNet:
    """A network whose classifiers, which start at 0, tell sides apart."""
    torch.manual_seed(0)
    model = build(config)
    for name, parameter in model.named_parameters():
        if "contrast" in name:
            nn.init.normal_(parameter, 0, 0.5)
    return model.eval()


def breasts(seed: int) -> Tensor:
    """Two pairs at 64×32 with tissue in the upper left three quarters: the lowest row of cells is empty."""
    views = torch.rand(2, 2, 64, 32, generator=torch.Generator().manual_seed(seed)).clamp_min(0.01)
    views[:, :, 32:] = 0
    return views


def test_contrast_worked_out_by_hand() -> None:
    """Cells with shares 1 and ½ and f = (3, 0) right, (0, 3) left: p = 2 and 1; μ = 1, σ = 2, so z = ½ and 0.

    abnormal = 4·z + 2·(z − z') + 1 = 4 and 0; asymmetry = 6·|½| = 3. Evidence on the left: (f − 1)/2·(4 + 2) = −3, 6.
    """
    head = Contrast(1).eval()
    head.standard.running_mean, head.standard.running_var = torch.tensor([1.0]), torch.tensor([4.0 - head.standard.eps])
    for layer, value in ((head.own, 4.0), (head.difference, 2.0), (head.asymmetry, 6.0)):
        nn.init.constant_(layer.weight, value)
    nn.init.constant_(head.own.get_parameter("bias"), 1.0)
    views = torch.zeros(1, 2, 64, 32)
    views[:, :, :48] = 0.5
    f_out = torch.tensor([[[[3.0], [0.0]], [[0.0], [3.0]]]])
    asymmetry, abnormal, cam = head(f_out, torch.zeros(1, 2, 2, 0), views)
    torch.testing.assert_close(asymmetry, torch.tensor([3.0]))
    torch.testing.assert_close(abnormal, torch.tensor([[4.0, 0.0]]))
    torch.testing.assert_close(cam, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))


def test_cells_without_breast_neither_count_nor_light_up() -> None:
    head, views = Contrast(3).eval(), breasts(0)
    for layer in (head.own, head.difference, head.asymmetry):
        nn.init.normal_(layer.weight)
    tokens = torch.randn(2, 2, 2, 2)
    other = tokens.clone()
    other[:, :, 1] = 100.0  # the lower cell is empty
    for before, after in zip(head(tokens, tokens[..., :1], views), head(other, other[..., :1], views), strict=True):
        torch.testing.assert_close(before, after)
    assert not head(tokens, tokens[..., :1], views)[2][..., 1].any()


def test_the_contrast_head_keeps_the_laws_of_sides() -> None:
    model, views = spread(CONTRAST), breasts(1)
    with torch.inference_mode():
        straight, swapped = model(views), model(views.flip(1))
        equal = model(views[:, :1].expand(-1, 2, -1, -1))
        nothing = model(torch.zeros_like(views))
    assert (straight.abnormal[:, 0] - straight.abnormal[:, 1]).abs().min() > 0.01, "a network that tests nothing"
    assert (straight.abnormal - swapped.abnormal.flip(1)).abs().max() <= tolerance("swap law")
    assert (straight.cam - swapped.cam.flip(1)).abs().max() <= tolerance("swap law")
    assert (straight.asymmetry - swapped.asymmetry).abs().max() <= tolerance("swap law")
    assert (equal.abnormal[:, 0] - equal.abnormal[:, 1]).abs().max() <= tolerance("identical sides")
    assert all(torch.isfinite(value).all() for value in nothing)
    assert scaled(torch.tensor([-1.0, -2.0])).tolist() == [0, 0]


@pytest.mark.slow
def test_the_preset_lite_passes_the_gate_and_comes_back_from_its_file(tmp_path: Path) -> None:
    config = dataclasses.replace(PRESETS["lite"], height=64, width=32)
    save_model(tmp_path / "lite.safetensors", spread(config))
    assert load_model(tmp_path / "lite.safetensors").config == config
    export(tmp_path / "lite.safetensors", tmp_path / "export")  # refused if it differed from the model
    with disasym.engines.load(tmp_path / "export") as engine:
        outputs = engine.run(breasts(2).numpy())
    assert outputs.normal is not None
    assert outputs.abnormality is not None


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainOptions:
    monkeypatch.setitem(PRESETS, "tiny", CONTRAST)
    save_model(tmp_path / "start.safetensors", spread(dataclasses.replace(CONTRAST, decoder=())))
    return TrainOptions(
        manifests=(write_pairs(tmp_path / "made", 8),),
        out=tmp_path / "run",
        preset="tiny",
        epochs=1,
        batch=4,
        lr=1e-2,
        start=tmp_path / "start.safetensors",
        losses=LossWeights(synthesis=0.0),
    )


@pytest.mark.parametrize(
    ("freeze", "kept"), [("shallow", "asyc.encoder.layer1."), ("encoder", "asyc.encoder."), ("asyc", "asyc.")]
)
def test_a_frozen_part_keeps_weights_and_statistics_while_the_rest_learns(
    options: TrainOptions, freeze: str, kept: str
) -> None:
    options = dataclasses.replace(options, freeze=freeze)
    before = initial_model(options, "cpu").state_dict()
    after = load_model(fit(options, read_manifest(options.manifests[0]).pairs, []).weights).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if name.startswith(kept)]
    assert any(name.startswith("asyd.head") for name in changed)
    assert any(name.startswith("asyc.contrast") for name in changed) == (freeze != "asyc")
    assert any(name.startswith("asyc.encoder.layer4.") for name in changed) == (freeze == "shallow")
    assert not [name for name in changed if name.startswith("asyc.encoder.") and "running" in name]


def test_a_run_begins_with_the_asyc_of_a_file_and_its_asyd_only_where_it_fits(
    options: TrainOptions, tmp_path: Path
) -> None:
    whole = spread(CONTRAST)
    nn.init.constant_(whole.asyd.head.weight, 0.5)
    save_model(tmp_path / "whole.safetensors", whole)
    taken = initial_model(dataclasses.replace(options, start=tmp_path / "whole.safetensors"), "cpu")
    assert all(torch.equal(value, taken.state_dict()[name]) for name, value in whole.state_dict().items())
    classifier = initial_model(options, "cpu")
    for name, value in spread(dataclasses.replace(CONTRAST, decoder=())).state_dict().items():
        assert torch.equal(value, classifier.state_dict()[name]), name
    assert not classifier.asyd.head.weight.any()  # anew
    with pytest.raises(CheckpointError, match=r"another network: head is contrast there, mean here"):
        begin_with(build(TINY), tmp_path / "whole.safetensors")


def test_freezing_what_makes_no_sense_is_refused(options: TrainOptions) -> None:
    for change, message in (
        ({"freeze": "asyd"}, "cannot freeze 'asyd': choose one of none, shallow, encoder, asyc"),
        ({"freeze": "encoder", "start": None}, "random weights for ever: give --init or --start"),
        ({"head_lr_factor": 2.0, "preset": "small"}, "is for the head 'contrast'; the head here is 'mean'"),
        ({"freeze": "asyc", "method": "asyc"}, "nothing would be left to learn"),
    ):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(options, **change)
