"""Several processes train as one does: same losses, same weights, one folder of results, a clean end when one dies."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from disasym.checkpoint import load_model, read_tensors
from disasym.data.manifest import read_manifest
from disasym.data.tumours import build_bank
from disasym.errors import InputError
from disasym.model import PRESETS
from disasym.train.batchnorm import SharedBatchNorm2d, share_batchnorm
from disasym.train.dataset import EpochBatches
from disasym.train.processes import Processes, joined
from disasym.train.state import read_header
from disasym.train.step import LOSSES
from networks import TINY
from pairs import write_pairs
from processes import start_all
from several import COMPARED, run
from tolerances import tolerance

SCRIPT = Path(__file__).with_name("several.py")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As each of the two processes has: with more, float32 sums are taken in another order on this side alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_give_the_losses_and_the_weights_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    bank, manifest = tmp_path / "bank.npz", write_pairs(tmp_path / "made", 16)
    build_bank(read_manifest(write_pairs(tmp_path / "other", 4, seed=7, dataset="other")).pairs).bank.save(bank)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    started = start_all(2, SCRIPT, manifest, bank, two)
    run(manifest, bank, one, Processes())
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    for method in COMPARED:
        alone, shared = (read_tensors(out / f"{method}.safetensors") for out in (one, two))
        assert (alone["losses"][:, LOSSES.index("ordering")] > 0).all() == (method == "ham")
        for name, value in alone.items():
            difference = float((value - shared[name]).abs().max())
            assert difference < tolerance("two processes, float64"), f"{method}: {name}"
    histories = [json.loads(read_header(out / "run" / "state.safetensors")["history"]) for out in (one, two)]
    for name in LOSSES:
        wanted = pytest.approx(histories[0][0][name], abs=tolerance("two processes, first step"))
        assert histories[1][0][name] == wanted, name


@pytest.mark.slow
def test_when_one_process_is_killed_the_other_says_so_and_the_run_goes_on_alone(tmp_path: Path) -> None:
    out, manifest = tmp_path / "killed", write_pairs(tmp_path / "made", 16)
    command = ["-m", "disasym", "train", "--manifest", manifest, "--out", out, "--method", "resnet18"]
    command += ["--no-synthesis", "--preset", "small", "--size", "64x32", "--batch", "4"]
    survivor, victim = start_all(2, *command, "--epochs", "100000")
    waited = time.monotonic()
    while not (out / "state.safetensors").exists() and survivor.poll() is None and time.monotonic() - waited < 300:
        time.sleep(0.1)
    victim.kill()
    printed, errors = survivor.communicate(timeout=300)
    victim.communicate()
    assert survivor.returncode == 2, errors
    assert "lost another one" in errors
    assert "start again with --resume" in errors
    assert "Traceback" not in errors
    done = len(json.loads(read_header(out / "state.safetensors")["history"]))
    assert done >= 1
    assert printed.count("epoch 1 ") == 1  # one process talks
    resumed = subprocess.run(
        [sys.executable, *map(str, command), "--epochs", str(done + 1), "--resume"], capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    assert f"epoch {done + 1} " in resumed.stdout
    assert load_model(out / "model.safetensors").config.height == 64


def test_processes_share_a_batch_out_and_every_pair_is_seen_once() -> None:
    whole = list(EpochBatches(11, 5, seed=3))
    parts = [list(EpochBatches(11, 5, 3, Processes(rank, 2))) for rank in range(2)]
    assert [len(part) for batches in parts for part in batches] == [2, 2, 3, 3]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole
    with pytest.raises(InputError, match="a batch of 2 pairs leaves some of 3 processes without any"):
        EpochBatches(11, 2, 3, Processes(0, 3))


def test_a_shared_batchnorm_keeps_names_and_values_and_scores_as_before() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    x = torch.rand(3, 1, 8, 8)
    model(x)
    before, wanted = model.state_dict(), model.eval()(x)
    parameters = list(model.parameters())
    shared = share_batchnorm(model, "cpu")
    assert sum(isinstance(part, SharedBatchNorm2d) for part in shared.modules()) == 2
    assert all(a is b for a, b in zip(shared.parameters(), parameters, strict=True))  # an optimiser keeps its hold
    assert shared.state_dict().keys() == before.keys()
    assert torch.equal(shared(x), wanted)


def test_several_processes_each_take_a_gpu_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match="2 processes cannot share cuda:0: give --device cuda"), joined("cuda:0"):
        pass
    if torch.cuda.device_count() < 2:
        with pytest.raises(InputError, match="device 'cuda:1' is not here"), joined("cuda"):
            pass
