"""Scores as the mean over the views and the views upside down (docs/adr/0030)."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import disasym.engines
from disasym.checkpoint import load_model, read_metadata, read_tensors, save_model
from disasym.comparisons import build
from disasym.errors import CheckpointError, InputError
from disasym.export import export
from disasym.model import PRESETS, DisAsymNet, ModelConfig, halves
from disasym.train.start import begin_with
from networks import TINY, lively, pairs_for
from tolerances import tolerance

CONTRAST = dataclasses.replace(TINY, head="contrast")


def network(config: ModelConfig) -> DisAsymNet:
    """A network whose scores depend on the views, alike for configurations that share their weights."""
    torch.manual_seed(0)
    model = build(config)
    for name, parameter in model.named_parameters():
        if "contrast" in name or "asyd.head" in name:
            nn.init.normal_(parameter, 0, 0.5)
    return model.eval()


def both(config: ModelConfig) -> tuple[DisAsymNet, DisAsymNet]:
    """The plain network, and the one that looks twice; their weights are the same."""
    plain, twice = network(config), build(dataclasses.replace(config, upside_down=True)).eval()
    twice.load_state_dict(plain.state_dict())
    return plain, twice


def breasts(seed: int, pairs: int = 3) -> Tensor:
    """Pairs at 64×32, the lower quarter empty: upside down they are other views."""
    views = torch.rand(pairs, 2, 64, 32, generator=torch.Generator().manual_seed(seed)).clamp_min(0.01)
    views[:, :, 48:] = 0
    return views


@pytest.mark.parametrize("config", [CONTRAST, TINY], ids=["contrast", "mean"])
def test_logits_are_means_and_what_asyd_reads_is_of_the_views_as_they_are(config: ModelConfig) -> None:
    plain, twice = both(config)
    views = breasts(0)
    with torch.inference_mode():
        found, upright, turned = twice.classify(views), plain.asyc(views), plain.asyc(views.flip(-2))
        outputs, wanted = twice(views), plain(views)
    assert (upright.abnormal - turned.abnormal).abs().max() > 1e-3, "a network that tests nothing"
    torch.testing.assert_close(found.abnormal, (upright.abnormal + turned.abnormal) / 2)
    torch.testing.assert_close(found.asymmetry, (upright.asymmetry + turned.asymmetry) / 2)
    torch.testing.assert_close(found.f_out, upright.f_out)
    for maps, alike in zip(found.features, upright.features, strict=True):
        torch.testing.assert_close(maps, alike)
    torch.testing.assert_close(outputs.normal, wanted.normal)
    torch.testing.assert_close(outputs.abnormality, wanted.abnormality)


def test_turning_the_views_turns_the_map_and_leaves_the_scores() -> None:
    twice = build(dataclasses.replace(PRESETS["small"], upside_down=True)).eval()
    twice.load_state_dict(lively("small").state_dict())
    views = torch.from_numpy(pairs_for("small", 2))
    with torch.inference_mode():
        straight, turned = twice(views), twice(views.flip(-2))
    assert (straight.cam - straight.cam.flip(-2)).abs().max() > 0.01, "a map that tests nothing"
    assert straight.cam.amax((2, 3)).sub(straight.abnormal).abs().max() < 1e-6, "the hottest cell is the score"
    assert (straight.abnormal - turned.abnormal).abs().max() <= tolerance("swap law")
    assert (straight.asymmetry - turned.asymmetry).abs().max() <= tolerance("swap law")
    assert (straight.cam - turned.cam.flip(-2)).abs().max() <= tolerance("swap law")


def test_halves_keep_the_order_of_the_batch() -> None:
    first, second = halves(torch.arange(8).reshape(4, 2))
    assert first.tolist() == [[0, 1], [2, 3]]
    assert second.tolist() == [[4, 5], [6, 7]]


def test_an_export_looks_twice_too_with_any_number_of_pairs(tmp_path: Path) -> None:
    plain, twice = both(CONTRAST)
    save_model(tmp_path / "twice.safetensors", twice)
    export(tmp_path / "twice.safetensors", tmp_path / "export")  # refused if it differed from the model
    with disasym.engines.load(tmp_path / "export") as engine:
        for pairs in (1, 3):
            views = breasts(2, pairs)
            with torch.inference_mode():
                wanted, once = twice(views).abnormal.numpy(), plain(views).abnormal.numpy()
            found = engine.run(views.numpy()).abnormal
            assert np.abs(found - wanted).max() < 1e-4 < np.abs(found - once).max()


def test_files_written_before_look_once_and_their_weights_begin_a_network_that_looks_twice(tmp_path: Path) -> None:
    plain, twice = both(CONTRAST)
    save_model(tmp_path / "plain.safetensors", plain)
    metadata = read_metadata(tmp_path / "plain.safetensors")
    fields = json.loads(metadata["config"])
    del fields["upside_down"]
    before = tmp_path / "before.safetensors"
    save_file(read_tensors(tmp_path / "plain.safetensors"), before, metadata | {"config": json.dumps(fields)})
    assert load_model(before).config == CONTRAST
    begin_with(twice, before)
    assert all(torch.equal(value, twice.state_dict()[name]) for name, value in plain.state_dict().items())
    assert twice.config.upside_down


def test_a_file_that_says_neither_yes_nor_no_is_refused(tmp_path: Path) -> None:
    model = network(CONTRAST)
    model.config = dataclasses.replace(CONTRAST, upside_down="no")  # type: ignore[arg-type]
    save_model(tmp_path / "odd.safetensors", model)
    with pytest.raises((CheckpointError, InputError), match="upside_down is 'no', wanted true or false"):
        load_model(tmp_path / "odd.safetensors")
