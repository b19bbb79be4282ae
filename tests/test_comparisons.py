"""Every method of the paper's tables: it trains, it keeps its laws, it is what its configuration says."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import disasym.engines
from disasym.checkpoint import load_model, read_metadata, save_model
from disasym.comparisons import METHODS, build, configured
from disasym.comparisons.ham import disorder
from disasym.comparisons.parts import either
from disasym.efficientnet import EfficientNetLite0, EfficientNetLite0Head
from disasym.errors import CheckpointError, ExportError, InputError
from disasym.export import export
from disasym.losses import LossWeights, ordering
from disasym.model import PRESETS, DisAsymNet, ModelConfig
from disasym.train.dataset import Batch
from disasym.train.step import LOSSES, Step

TINY = ModelConfig("resnet18", 64, 32, widths=(8, 8, 16, 16), blocks=1, heads=2, decoder=(8, 8, 8, 8, 8))
SINGLE_VIEW = ("resnet18", "ham")
EVERY = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)


def network(method: str, encoder: str | None = None, **changes: str) -> DisAsymNet:
    """Random weights whose BatchNorm statistics are those of random views."""
    torch.manual_seed(0)
    made = build(configured(method, "tiny", encoder, **changes))
    with torch.no_grad():
        for _ in range(20):
            made.train()(torch.rand(4, 2, 64, 32))
    return made.eval()


def views_of(seed: int, pairs: int = 2) -> Tensor:
    return torch.rand(pairs, 2, 64, 32, generator=torch.Generator().manual_seed(seed))


def batch() -> Batch:
    views = views_of(0, pairs=4)
    labels = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 1]])
    return Batch(views, labels, views[:2], (views[:2] + 0.2).clamp(max=1))


@EVERY
def test_a_step_gives_finite_losses_and_moves_every_weight_of_the_classifier(method: str) -> None:
    model = network(method)
    step = Step(model, METHODS[method].losses(LossWeights()), "fp32")
    step.set_learning_rate(1e-3, 1e-3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    values = dict(zip(LOSSES, step(batch()).tolist(), strict=True))
    step(batch())  # HAM's foreground branch starts behind a factor of 0
    assert all(np.isfinite(value) for value in values.values())
    assert values["diagnosis"] > 0
    for name in METHODS[method].without:
        assert values[name] == 0, name
    assert (values["ordering"] > 0) == (method == "ham")
    for name, value in model.named_parameters():
        if method in SINGLE_VIEW or not name.startswith("asyc.asymmetry"):
            assert not torch.equal(value, before[name]), name


@EVERY
def test_swapping_the_sides_swaps_every_output_of_a_side_and_leaves_asymmetry(method: str) -> None:
    model, views = network(method), views_of(1)
    with torch.inference_mode():
        straight, swapped = model(views), model(views.flip(1))
    assert (straight.abnormal[:, 0] - straight.abnormal[:, 1]).abs().max() > 1e-6
    torch.testing.assert_close(swapped.abnormal, straight.abnormal.flip(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(swapped.cam, straight.cam.flip(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(swapped.asymmetry, straight.asymmetry, atol=1e-6, rtol=0)


@EVERY
def test_only_a_method_that_compares_the_sides_sees_the_other_one(method: str) -> None:
    model, views = network(method), views_of(2)
    changed = views.clone()
    changed[:, 1] = views_of(3)[:, 1]
    with torch.inference_mode():
        before, after = model(views).abnormal[:, 0], model(changed).abnormal[:, 0]
    blind = method in (*SINGLE_VIEW, "asyd", "asyd-syn")  # without blocks AsyC's sides meet in the pair's score alone
    assert torch.equal(before, after) == blind


@EVERY
def test_weights_come_back_with_their_method_and_run_in_the_eager_engine(method: str, tmp_path: Path) -> None:
    model, views = network(method), views_of(4)
    save_model(tmp_path / "m.safetensors", model, method=method)
    assert read_metadata(tmp_path / "m.safetensors")["method"] == method
    assert load_model(tmp_path / "m.safetensors").config == model.config
    with torch.inference_mode(), disasym.engines.load(tmp_path / "m.safetensors") as engine:
        wanted, found = model(views), engine.run(views.numpy())
    np.testing.assert_allclose(found.abnormal, wanted.abnormal.numpy(), atol=1e-6)
    np.testing.assert_allclose(found.asymmetry, wanted.asymmetry.numpy(), atol=1e-6)
    assert (found.normal is None) == (found.abnormality is None) == (not model.config.decoder)


def test_asyc_alone_is_disasymnet_without_its_decoder() -> None:
    whole, alone = network("disasymnet"), build(configured("asyc", "tiny")).eval()
    alone.load_state_dict({k: v for k, v in whole.state_dict().items() if k.startswith("asyc.")})
    with torch.inference_mode():
        wanted, found = whole(views_of(5)), alone(views_of(5))
    assert torch.equal(found.abnormal, wanted.abnormal)
    assert torch.equal(found.asymmetry, wanted.asymmetry)
    assert torch.equal(found.cam, wanted.cam)


def test_asyd_is_disasymnet_without_blocks_and_asyc_with_asyd_differs_in_its_losses_alone() -> None:
    assert configured("asyc-asyd", "tiny") == configured("disasymnet", "tiny") == TINY
    assert METHODS["asyc-asyd"].losses(LossWeights()) == LossWeights(synthesis=0.0)
    assert configured("asyd", "tiny") == configured("asyd-syn", "tiny") == dataclasses.replace(TINY, blocks=0)


@pytest.mark.parametrize("method", ["disasymnet", "cvt", "resnet18"])
def test_any_method_takes_the_other_encoder(method: str) -> None:
    model = network(method, "efficientnet-lite0")
    step = Step(model, METHODS[method].losses(LossWeights()), "fp32")
    step.set_learning_rate(1e-3, 1e-3)
    assert torch.isfinite(step(batch())).all()


def test_efficientnet_has_its_channels_at_each_stride_and_refuses_others() -> None:
    maps = EfficientNetLite0().eval()(torch.rand(1, 1, 64, 32))
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 32, 16), (24, 16, 8), (40, 8, 4), (112, 4, 2), (320, 2, 1)]
    with pytest.raises(InputError, match="efficientnet-lite0 has the widths"):
        dataclasses.replace(TINY, encoder="efficientnet-lite0")


def test_efficientnet_sums_the_colour_kernels_and_refuses_foreign_weights() -> None:
    weights = EfficientNetLite0Head().state_dict()
    colour = torch.rand(32, 3, 3, 3)
    encoder = EfficientNetLite0()
    encoder.load_imagenet({**weights, "_conv_stem.weight": colour, "_fc.bias": torch.zeros(1000)})
    torch.testing.assert_close(encoder.state_dict()["_conv_stem.weight"], colour.sum(1, keepdim=True))
    with pytest.raises(CheckpointError, match="not efficientnet-lite0 weights"):
        encoder.load_imagenet({})


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_a_masked_abnormality_is_a_part_of_the_view(upsampling: str) -> None:
    views = views_of(6)
    views[..., 20:] = 0
    with torch.inference_mode():
        found = network("disasymnet", upsampling=upsampling, x_ab="masked")(views)
    assert (found.abnormality <= views).all()
    assert found.abnormality.any()


def test_a_filled_normal_image_lies_between_the_view_and_new_tissue_and_starts_near_the_view() -> None:
    views = views_of(6)
    views[..., 20:] = 0
    model = network("disasymnet", x_n="filled", skips="standardised")
    torch.nn.init.normal_(model.asyd.head.weight)
    with torch.inference_mode():
        found = model(views)
    assert (found.normal[views == 0] == 0).all()
    assert ((found.normal >= 0) & (found.normal <= 1)).all()
    torch.nn.init.zeros_(model.asyd.head.weight)
    with torch.inference_mode():
        start = model(views).normal
    where = 1 / (1 + math.exp(3))  # x + m·(b − x) with m = σ(−3), b = σ(0)
    torch.testing.assert_close(start, (views + where * (0.5 - views)) * (views > 0))


def test_standardised_skips_hide_the_scale_of_the_encoders_features() -> None:
    model = network("disasymnet", skips="standardised").train()
    torch.nn.init.normal_(model.asyd.head.weight)
    views = views_of(6)
    found = model.asyc(views)
    larger = found._replace(features=[100 * feature for feature in found.features])
    for one, other in zip(model.asyd(views, found), model.asyd(views, larger), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_unknown_choices_are_refused() -> None:
    for arguments in (("magic", "tiny"), ("cvt", "huge"), ("cvt", "tiny", "vgg")):
        with pytest.raises(InputError, match="unknown"):
            configured(*arguments)
    with pytest.raises(InputError, match=r"disasym\.comparisons\.build"):
        DisAsymNet(configured("cvt", "tiny"))


def test_the_score_of_either_side_worked_out_by_hand() -> None:
    """p = 1/2 and 1/2: 1 − 1/4 = 3/4, a logit of ln 3; p = 1/3 and 1/2: 1 − 1/3 = 2/3, ln 2."""
    logits = torch.tensor([[0.0, 0.0], [-float(np.log(2.0)), 0.0]])
    torch.testing.assert_close(either(logits), torch.tensor([3.0, 2.0]).log())


def test_the_disorder_of_two_maps_worked_out_by_hand() -> None:
    """G = (1, 1, 0, 0): inside A it costs nothing, half outside a half, and 0.5 everywhere is nowhere above 0.75."""
    inner = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5]])
    outer = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1]])
    found = disorder(inner[:, None], outer[:, None])[:, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 1.0]), atol=1e-5, rtol=0)
    labels = torch.tensor([[1.0, 1, 0]])
    assert ordering(torch.tensor([[0.5, 1.0]]), labels) == 0.5  # the normal side does not count
    assert ordering(torch.tensor([[0.5, 1.0]]), torch.zeros(1, 3)) == 0


def test_images_of_a_method_without_a_decoder_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    weights = tmp_path / "asyc.safetensors"
    save_model(weights, build(configured("asyc", "tiny")))
    with pytest.raises(ExportError, match=r"makes no normal and no abnormality: give --outputs scores,cam$"):
        export(weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()
