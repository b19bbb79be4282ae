"""The mean of several trainings' weights."""

import dataclasses
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from disasym.average import average
from disasym.checkpoint import load_model, read_metadata, save_model, with_temperatures
from disasym.cli import main
from disasym.comparisons import build
from disasym.errors import InputError
from disasym.temperature import Head, Temperatures
from networks import TINY


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three trainings of one network: every weight and statistic of file k is k + 1, its counters are 10·(k + 1)."""
    paths = []
    for k in range(3):
        model = build(TINY)
        with torch.no_grad():
            for value in model.state_dict().values():
                value.fill_(k + 1 if value.is_floating_point() else 10 * (k + 1))
        paths.append(tmp_path / f"{k}.safetensors")
        save_model(paths[-1], model, preset="small", method="disasymnet", epoch="4")
    return paths


def test_every_weight_and_statistic_is_the_mean(files: list[Path]) -> None:
    for name, value in average(files).state_dict().items():
        wanted = 2.0 if value.is_floating_point() else 10
        assert torch.equal(value, torch.full_like(value, wanted)), name


def test_the_command_writes_a_network_that_says_what_it_is(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    done = CliRunner().invoke(main, ["average", *map(str, files), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "3 trainings" in done.output
    assert load_model(out).config == TINY
    metadata = read_metadata(out)
    assert (metadata["averaged"], metadata["preset"], metadata["method"]) == ("3", "small", "disasymnet")
    assert "epoch" not in metadata  # there were three


def test_temperatures_of_other_logits_are_left_out(files: list[Path]) -> None:
    fitted = Head(2.0, 1.0, 3.0, entries=20, positives=5, women=10, loss_before=0.7, loss_after=0.6)
    with_temperatures(files[0], files[0], Temperatures(fitted, fitted, "some.csv", "0" * 64, "0.1.0"))
    assert load_model(files[0]).temperatures == (2.0, 2.0)
    assert average(files).temperatures is None


def test_the_mean_of_two_equal_networks_is_that_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(TINY)
    for name in ("a", "b"):
        save_model(tmp_path / name, model)
    mean = average([tmp_path / "a", tmp_path / "b"]).state_dict()
    assert all(torch.equal(mean[name], value) for name, value in model.state_dict().items())


def test_what_has_no_mean_is_refused_with_a_reason(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two weights files, got 1"):
        average(files[:1])
    with pytest.raises(InputError, match="given twice"):
        average([files[0], files[0].parent / ".." / files[0].parent.name / files[0].name])
    other = tmp_path / "other.safetensors"
    save_model(other, build(dataclasses.replace(TINY, blocks=2)))
    with pytest.raises(InputError, match=r"other.safetensors is of another network than .*0.safetensors: blocks is 2"):
        average([files[0], other])
