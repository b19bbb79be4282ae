"""The training loop: what a step changes, that a killed run goes on bit for bit, that it learns one real batch."""

import copy
import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from disasym.checkpoint import load_model, read_tensors
from disasym.data.manifest import load_pair, read_manifest
from disasym.data.tumours import build_bank
from disasym.errors import CheckpointError, InputError
from disasym.losses import LossWeights
from disasym.model import PRESETS, DisAsymNet, ModelConfig
from disasym.train import TrainOptions, train
from disasym.train.dataset import Batch, EpochBatches, PairStore, TrainingPairs, collate
from disasym.train.run import best_epoch
from disasym.train.step import LOSSES, FrozenCopy, Step
from pairs import write_pairs

TINY = ModelConfig("resnet18", 64, 32, widths=(8, 8, 16, 16), blocks=1, heads=2, decoder=(8, 8, 8, 8, 8))


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainOptions:
    """A run of seconds: 20 made pairs, a bank from other made pairs, a tiny network."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    bank = tmp_path / "bank.npz"
    build_bank(read_manifest(write_pairs(tmp_path / "other", 4, seed=7, dataset="other")).pairs).bank.save(bank)
    return TrainOptions(
        manifests=(write_pairs(tmp_path / "made", 20),),
        tumours=(bank,),
        out=tmp_path / "run",
        preset="tiny",
        epochs=3,
        lr=1e-3,
        lr_step=2,
        batch=4,
    )


def made_batch(pairs: int = 4, fakes: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    views = torch.rand(pairs, 2, TINY.height, TINY.width, generator=generator)
    labels = torch.tensor([[0.0, 0, 0]] * fakes + [[1.0, 1, 0]] * (pairs - fakes))
    return Batch(views, labels, views[:fakes], (views[:fakes] + 0.2).clamp(max=1))


def made_step(weights: LossWeights | None = None, precision: str = "fp32") -> Step:
    torch.manual_seed(0)
    step = Step(DisAsymNet(TINY), weights or LossWeights(), precision)
    step.set_learning_rate(1e-3, 1e-3)
    return step


def test_a_step_reports_every_loss_and_moves_both_halves() -> None:
    step = made_step()
    before = copy.deepcopy(step.model.state_dict())
    values = step(made_batch())
    assert values.shape == (len(LOSSES),)
    assert (values[:-1] > 0).all()
    assert LOSSES[-1] == "ordering"  # of HAM alone
    assert values[-1] == 0
    after = step.model.state_dict()
    for half in ("asyc.encoder.conv1.weight", "asyc.abnormality.weight", "asyd.head.weight"):
        assert not torch.equal(before[half], after[half]), half


def test_pasted_sides_are_judged_by_what_was_pasted_alone() -> None:
    """Of one batch: the paper's L_syn counts an abnormal side that was not pasted into, the other one does not."""
    batch = made_batch()
    changed = Batch(batch.views, batch.labels, batch.real, torch.cat([batch.fake[:, :1], batch.real[:, 1:]], 1))
    normal = torch.zeros_like(batch.real)
    nothing_there = torch.cat([batch.real[:, :1], normal[:, 1:]], 1)  # x_n right where pasted, black elsewhere
    assert made_step()._synthesis(changed, nothing_there) > 0.2
    torch.manual_seed(0)
    assert Step(DisAsymNet(TINY), LossWeights(), "fp32", paste="sides")._synthesis(changed, nothing_there) == 0


def test_the_frozen_copy_takes_no_gradient_and_no_statistics() -> None:
    step = made_step()
    frozen = step.frozen.asyc
    before = copy.deepcopy(step.model.asyc.state_dict())
    step(made_batch())
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} changed during the step"
    assert all(parameter.grad is None for parameter in frozen.parameters())
    step.frozen.refresh(step.model.asyc)
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, step.model.asyc.state_dict()[name]), f"{name} was not refreshed"


def test_discrimination_reaches_the_decoder_through_the_frozen_copy() -> None:
    model = DisAsymNet(TINY)
    frozen = FrozenCopy(model.asyc)
    normal = torch.rand(2, 2, TINY.height, TINY.width, requires_grad=True)
    frozen.asyc(normal).abnormal.sum().backward()
    assert normal.grad is not None
    assert normal.grad.abs().sum() > 0


def test_refinement_alone_leaves_the_decoder_as_it_was() -> None:
    step = made_step(LossWeights(diagnosis=1.0, reconstruction=0.0, discrimination=0.0, synthesis=0.0))
    before = copy.deepcopy(step.model.asyd.state_dict())
    step(made_batch())
    for name, value in step.model.asyd.named_parameters():
        assert torch.equal(value, before[name]), name


def test_a_part_with_factor_0_is_left_out() -> None:
    values = dict(zip(LOSSES, made_step(LossWeights(discrimination=0.0, synthesis=0.0))(made_batch()), strict=True))
    assert values["discrimination"] == 0
    assert values["synthesis"] == 0
    assert values["reconstruction"] > 0


def test_a_batch_without_symmetric_pairs_trains_too() -> None:
    values = dict(zip(LOSSES, made_step()(made_batch(fakes=0)), strict=True))
    assert values["synthesis"] == 0
    assert values["diagnosis"] > 0


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_gives_finite_losses_and_float32_weights(precision: str) -> None:
    step = made_step(precision=precision)
    assert torch.isfinite(step(made_batch())).all()
    assert {parameter.dtype for parameter in step.model.parameters()} == {torch.float32}


def test_every_pair_is_drawn_once_an_epoch_and_each_epoch_in_another_order() -> None:
    batches = EpochBatches(12, 4, seed=3)
    first = [index for batch in batches for _, index in batch]
    batches.epoch = 1
    second = [index for batch in batches for _, index in batch]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_an_item_depends_on_seed_epoch_and_index_alone(options: TrainOptions) -> None:
    pairs = read_manifest(options.manifests[0]).pairs
    banks = [build_bank(read_manifest(options.manifests[0].parent.parent / "other" / "manifest.csv").pairs).bank]
    data = TrainingPairs(pairs, PairStore(options.out / "cache", 64, 32), banks, seed=5)
    one, again, other = data[0, 1], data[0, 1], data[1, 1]
    assert np.array_equal(one[0], again[0])
    assert one[2] is not None
    assert again[2] is not None
    assert np.array_equal(one[2], again[2])
    assert not np.array_equal(one[0], other[0])
    batch = collate([data[0, index] for index in range(4)])
    assert batch.views.shape == (4, 2, 64, 32)
    assert len(batch.real) == len(batch.fake) == sum(pair.labels == (0, 0, 0) for pair in pairs[:4])


def test_every_pair_with_a_normal_side_is_pasted_into_on_request(options: TrainOptions) -> None:
    pairs = read_manifest(options.manifests[0]).pairs
    banks = [build_bank(read_manifest(options.manifests[0].parent.parent / "other" / "manifest.csv").pairs).bank]
    data = TrainingPairs(pairs, PairStore(options.out / "cache", 64, 32), banks, seed=5, paste="sides")
    one_sided = 0
    for index, pair in enumerate(pairs):
        views, labels, fake = data[0, index]
        assert (fake is None) == bool(labels[1:].all())
        if fake is not None:
            one_sided += any(pair.labels)
            assert not (fake != views).any((1, 2))[labels[1:] == 1].any()  # an abnormal side stays
            assert (fake != views).any()
    assert one_sided > 0


def test_the_store_gives_what_preprocessing_gives(options: TrainOptions) -> None:
    pair = read_manifest(options.manifests[0]).pairs[0]
    store = PairStore(options.out / "cache", 64, 32)
    for _ in range(2):  # computed, then read back
        views = store.views(pair)
        np.testing.assert_allclose(views, load_pair(pair, 64, 32), atol=1e-5)
        assert ((views == 0) == (load_pair(pair, 64, 32) == 0)).all()


def test_pixels_of_another_preprocessing_are_not_taken_from_the_store(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = read_manifest(options.manifests[0]).pairs[0]
    store = PairStore(options.out / "cache", 64, 32)
    store.views(pair)
    monkeypatch.setattr("disasym.train.dataset.PREPROCESSING", "of tomorrow")
    store.views(pair)
    assert len(list(store.folder.glob("*.npy"))) == 2


def test_a_run_leaves_weights_a_table_a_split_and_events(options: TrainOptions) -> None:
    result = train(options)
    assert load_model(result.weights).config == TINY
    rows = list(csv.DictReader((options.out / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1.0", "2.0", "3.0"]
    assert [float(row["lr"]) for row in rows] == pytest.approx([1e-3, 1e-3, 1e-4])
    split = list(csv.DictReader((options.out / "split.csv").read_text().splitlines()))
    assert len(split) == 20
    assert {row["split"] for row in split} == {"train", "validation", "test"}
    assert list(options.out.glob("events.out.tfevents.*"))


def test_a_run_that_was_stopped_goes_on_bit_for_bit(options: TrainOptions) -> None:
    whole = train(options)
    stopped = dataclasses.replace(options, out=options.out.parent / "stopped")
    train(dataclasses.replace(stopped, epochs=1))
    resumed = train(dataclasses.replace(stopped, resume=True))
    for name in ("state.safetensors", "model.safetensors"):
        one, other = read_tensors(whole.weights.parent / name), read_tensors(resumed.weights.parent / name)
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert torch.equal(value, other[key]), f"{name}: {key}"
    assert whole.best_epoch == resumed.best_epoch


def test_a_run_from_before_an_option_existed_had_its_default(options: TrainOptions) -> None:
    stored = json.loads(options.as_json())
    del stored["paste"]
    options.check_resumes(json.dumps(stored), Path("run"))
    with pytest.raises(InputError, match="cannot resume run: paste was 'symmetric' and is now 'sides'"):
        dataclasses.replace(options, paste="sides").check_resumes(json.dumps(stored), Path("run"))


def test_a_second_run_in_the_same_folder_is_refused_without_resume(options: TrainOptions) -> None:
    short = dataclasses.replace(options, epochs=1)
    train(short)
    with pytest.raises(InputError, match="already holds a training run"):
        train(short)
    with pytest.raises(InputError, match=r"lr was 0\.001 and is now 0\.1"):
        train(dataclasses.replace(short, resume=True, lr=0.1))


def test_a_damaged_state_is_refused(options: TrainOptions) -> None:
    short = dataclasses.replace(options, epochs=1)
    train(short)
    state = options.out / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        train(dataclasses.replace(short, resume=True))


def test_tumours_of_the_trained_dataset_are_refused(options: TrainOptions) -> None:
    bank = options.out.parent / "own.npz"
    build_bank(read_manifest(options.manifests[0]).pairs).bank.save(bank)
    with pytest.raises(InputError, match="every tumour bank was made from 'made'"):
        train(dataclasses.replace(options, tumours=(bank,)))


def test_synthesis_without_a_bank_is_refused_and_without_synthesis_it_trains(options: TrainOptions) -> None:
    with pytest.raises(InputError, match="--no-synthesis"):
        dataclasses.replace(options, tumours=())
    train(dataclasses.replace(options, tumours=(), epochs=1, losses=LossWeights(synthesis=0.0)))


@pytest.mark.parametrize("device", ["cuda:99", "meta", "gpu"])
def test_a_device_that_is_not_here_is_refused(options: TrainOptions, device: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}'"):
        train(dataclasses.replace(options, device=device))


def test_the_best_epoch_is_the_first_with_the_highest_auc_else_the_last() -> None:
    assert best_epoch([{"auc_abnormal": 0.6}, {"auc_abnormal": 0.8}, {"auc_abnormal": 0.8}]) == 2
    assert best_epoch([{"auc_abnormal": float("nan")}, {"auc_abnormal": 0.1}]) == 2
    assert best_epoch([{}, {}, {}]) == 3


@pytest.mark.slow
def test_it_overfits_one_real_batch(data_root: Path) -> None:
    every = read_manifest(data_root / "cesm" / "manifest.csv").pairs
    pairs = [next(p for p in every if p.labels == wanted) for wanted in [(0, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1)]]
    config = PRESETS["small"]
    views = torch.from_numpy(np.stack([load_pair(pair, config.height, config.width) for pair in pairs]))
    labels = torch.tensor([pair.labels for pair in pairs], dtype=torch.float32)
    torch.manual_seed(0)
    model = DisAsymNet(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Without discrimination, which pulls x_n away from x: what is left must all be learnt by heart.
    step = Step(model, LossWeights(discrimination=0.0, synthesis=0.0), "fp32")
    step.set_learning_rate(1e-3, 1e-3)
    batch = Batch(views, labels, views[:0], views[:0])
    losses = [dict(zip(LOSSES, step(batch).tolist(), strict=True)) for _ in range(40)]
    assert losses[-1]["diagnosis"] < 0.05
    assert losses[-1]["refinement"] < 0.1
    # M is nearly empty at first, which makes L_rec cheap; it must fall once M is there and has to be reproduced.
    assert losses[-1]["reconstruction"] < 0.95 * max(entry["reconstruction"] for entry in losses)
