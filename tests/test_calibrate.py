"""`disasym calibrate`: temperatures are fitted on women whom the model does not know, and every engine applies them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")
pytest.importorskip("sklearn", reason="scikit-learn is absent: pip install '.[evaluate]'")
import torch
from sklearn.linear_model import LogisticRegression

from disasym.checkpoint import (
    load_model,
    read_metadata,
    read_tensors,
    save_model,
    temperatures_of,
    with_temperatures,
)
from disasym.cli import main
from disasym.engines import load
from disasym.errors import CheckpointError, EngineError, InputError
from disasym.evaluate.discrimination import Draws
from disasym.evaluate.levels import Entry, Sample
from disasym.evaluate.part import read_part
from disasym.evaluate.predictions import predict
from disasym.evaluate.temperature import fit, logits, temperature
from disasym.export import ExportOptions, export
from disasym.export.manifest import read_manifest
from disasym.export.parity import synthetic_pairs
from disasym.model import DisAsymNet
from disasym.temperature import ENTRY, Head, Temperatures, read_temperatures
from networks import TINY
from pairs import write_pairs
from tolerances import tolerance

HEAD = Head(2.0, 1.5, 3.0, 40, 20, 30, 0.7, 0.6)
CARRIED = Temperatures(HEAD, Head(0.5, 0.4, 0.6, 80, 30, 30, 0.7, 0.6), "made, split validation", "0" * 64, "0.1.0")


def sigmoid(z: np.ndarray | list[float]) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def sample(labels: list[int] | np.ndarray, scores: np.ndarray) -> Sample:
    """One entry a woman."""
    entries = tuple(Entry("made", str(at), str(at), "CC", "R", bool(label), ()) for at, label in enumerate(labels))
    return Sample("side", entries, np.asarray(scores, np.float64))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with random weights, whose scores spread."""
    torch.manual_seed(0)
    model = DisAsymNet(TINY)
    for head in (model.asyc.abnormality, model.asyc.asymmetry):
        torch.nn.init.normal_(head.weight, std=4.0)
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_model(path, model, preset="custom")
    return path


# The fit


def test_a_temperature_worked_by_hand() -> None:
    """Logits of ±2, right in three of four: σ(2 / T) = 3/4, so T = 2 / ln 3."""
    labels = [1, 1, 1, 0] * 5 + [0, 0, 0, 1] * 5
    found = fit(sample(labels, sigmoid([2.0] * 20 + [-2.0] * 20)), Draws(200))
    assert found.temperature == pytest.approx(2 / np.log(3))
    assert (found.entries, found.positives, found.women) == (40, 20, 40)
    assert found.low < found.temperature < found.high
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert (found.loss_before, found.loss_after) == pytest.approx((0.25 * 2 + np.log1p(np.exp(-2)), entropy))


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 4.0))
def test_it_is_logistic_regression_without_a_bias_and_never_worsens_the_log_loss(seed: int, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=200) * 2
    labels = (rng.uniform(size=200) < sigmoid(z * sharpness)).astype(float)
    found = fit(sample(labels, sigmoid(z)), Draws(2))
    slope = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(z[:, None], labels).coef_[0, 0]
    assert 1 / found.temperature == pytest.approx(slope, rel=1e-3)
    assert found.loss_after <= found.loss_before + 1e-12


def test_scores_that_are_probabilities_have_temperature_1() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.01, 0.99, 20000)
    found = temperature((rng.uniform(size=20000) < p).astype(float), logits(p), np.ones(20000))
    assert found == pytest.approx(1, abs=0.05)


def test_a_weight_of_two_is_an_entry_twice() -> None:
    labels, z = np.array([1.0, 0.0, 0.0, 1.0]), np.array([2.0, 1.0, -1.5, -0.5])
    twice = np.append(labels, labels[1]), np.append(z, z[1])
    assert temperature(labels, z, np.array([1.0, 2, 1, 1])) == pytest.approx(temperature(*twice, np.ones(5)))


@pytest.mark.parametrize(
    ("labels", "z", "message"),
    [
        ([1, 0] * 5, [1, -1] * 5, "10 of each are needed"),
        ([1, 0] * 20, [1, -1] * 20, "part positives and negatives completely"),
        ([1, 0] * 20, [-1, 1] * 20, "do not tell positives from negatives"),
        ([1, 0, 0, 1] * 10, [1, 1, -1, -1] * 10, "do not tell positives from negatives"),
    ],
)
def test_what_allows_no_temperature_is_refused_with_the_reason(labels: list[int], z: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(sample(labels, sigmoid(np.array(z))), Draws(10))


def test_a_probability_of_exactly_1_has_a_finite_logit() -> None:
    assert np.isfinite(logits(np.array([0.0, 1.0], np.float32))).all()


# With the weights


def test_the_tensors_keep_every_bit_and_the_scores_are_divided(small_export: Path, tmp_path: Path) -> None:
    weights, new = small_export / "model.safetensors", tmp_path / "new.safetensors"
    with_temperatures(weights, new, CARRIED)
    before, after = read_tensors(weights), read_tensors(new)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_metadata(new) == {**read_metadata(weights), ENTRY: CARRIED.as_text()}
    assert temperatures_of(new) == CARRIED

    views = torch.from_numpy(synthetic_pairs(256, 128))
    with torch.inference_mode():
        plain, calibrated = load_model(weights)(views), load_model(new)(views)
    rounding = tolerance("batch of one vs many")
    assert torch.allclose(calibrated.asymmetry, (plain.asymmetry.logit() / 2).sigmoid(), atol=rounding)
    assert torch.allclose(calibrated.abnormal, (plain.abnormal.logit() / 0.5).sigmoid(), atol=rounding)
    assert torch.equal(calibrated.abnormal > 0.5, plain.abnormal > 0.5)
    assert torch.equal(calibrated.normal, plain.normal)
    hottest = calibrated.cam.amax((2, 3))
    assert hottest.max() > 0
    assert torch.allclose(hottest, calibrated.abnormal * (hottest > 0), atol=rounding), "heat follows the probability"


def test_weights_without_temperatures_have_none(weights: Path) -> None:
    assert temperatures_of(weights) is None
    assert load_model(weights).temperatures is None


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        "{}",
        json.dumps({**json.loads(CARRIED.as_text()), "format": "disasym-temperatures-9"}),
        json.dumps({**json.loads(CARRIED.as_text()), "abnormal": {"temperature": 1}}),
        CARRIED.as_text().replace('"temperature": 2.0', '"temperature": 0.0'),
        CARRIED.as_text().replace('"temperature": 2.0', '"temperature": NaN'),
        CARRIED.as_text().replace('"temperature": 2.0', '"temperature": "2"'),
    ],
)
def test_a_header_with_broken_temperatures_is_refused(weights: Path, tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError):
        read_temperatures(content)
    save_model(tmp_path / "broken.safetensors", load_model(weights), temperatures=content)
    with pytest.raises(CheckpointError, match=r"broken\.safetensors: "):
        load_model(tmp_path / "broken.safetensors")


# With an export


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_engine_of_an_export_gives_the_calibrated_probabilities(
    weights: Path, tmp_path: Path, precision: str
) -> None:
    new, views = tmp_path / "run" / "new.safetensors", synthetic_pairs(TINY.height, TINY.width, n=4)
    with_temperatures(weights, new, CARRIED)
    options = ExportOptions(precision, outputs="scores", parity_views=views, half_weights=precision == "fp32")
    manifest = export(new, tmp_path / "export", options)
    assert manifest == read_manifest(tmp_path / "export")
    assert manifest.temperatures == CARRIED
    card = (tmp_path / "export" / "README.md").read_text()
    assert "| abnormal | 0.500 [0.400, 0.600] | 80 | 30 | 30 | 0.7000 → 0.6000 |" in card
    with load(tmp_path / "export", "eager") as eager, load(tmp_path / "export", "onnxruntime") as fast:
        assert eager.info.calibrated
        assert fast.info.calibrated
        apart = np.abs(eager.run(views).abnormal - fast.run(views).abnormal).max()
    assert apart <= (tolerance("score, onnxruntime vs eager") if precision == "fp32" else manifest_tolerance(manifest))


def manifest_tolerance(manifest: object) -> float:
    from disasym.export.manifest import Manifest, Parity

    assert isinstance(manifest, Manifest)
    parity = manifest.targets["onnx"].parity
    assert isinstance(parity, Parity)
    return parity.tolerance["abnormal"]


def test_an_export_without_temperatures_says_nothing_of_them(small_export: Path) -> None:
    assert ENTRY not in json.loads((small_export / "manifest.json").read_text())
    with load(small_export) as engine:
        assert not engine.info.calibrated


def test_a_manifest_that_disagrees_with_its_weights_is_refused(small_export: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_export, tmp_path / "export")
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, ENTRY: json.loads(CARRIED.as_text())}))
    with pytest.raises(EngineError, match="says temperatures, and the weights differ"):
        load(folder, "eager")
    (folder / "manifest.json").write_text(json.dumps({**content, ENTRY: {"format": "other"}}))
    with pytest.raises(EngineError, match=r"temperatures is .*'other'"):
        load(folder)


# The command


@pytest.fixture(scope="module")
def manifest(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty women for validation and two for training, with labels that the scores tell in four of five cases."""
    path = write_pairs(tmp_path_factory.mktemp("data"), 42)
    with load(weights) as engine:
        found = predict("tiny", engine, read_part(path, None).pairs)
    middle = float(np.median(found.asymmetry))
    labels: dict[tuple[str, str], bool] = {}
    for at, pair in enumerate(found.scored):
        sick = (found.asymmetry[at] > middle) != (at % 5 == 0)
        for side, laterality in enumerate("RL"):
            labels[pair.rows.pair_id, laterality] = bool(sick and found.abnormal[at, side] == found.abnormal[at].max())
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [*rows[0], "split"])
        table.writeheader()
        for row in rows:
            split = "train" if int(row["pair_id"].split("-")[1]) >= 40 else "validation"
            table.writerow({**row, "abnormal": int(labels[row["pair_id"], row["laterality"]]), "split": split})
    return path


def calibrate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["calibrate", *map(str, arguments)], prog_name="disasym")


def test_the_command_writes_weights_that_export_and_infer_take(weights: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibrated.safetensors"
    result = calibrate(weights, "--manifest", manifest, "--out", out)
    assert result.exit_code == 0, result.output
    carried = temperatures_of(out)
    assert carried is not None
    assert carried.data == "made, split validation"
    assert (carried.asymmetry.entries, carried.abnormal.entries, carried.abnormal.women) == (40, 80, 40)
    assert carried.abnormal.loss_after <= carried.abnormal.loss_before
    assert f"abnormal   temperature {carried.abnormal.temperature:.3f}" in result.stdout
    told = ["infer", manifest, "--out", tmp_path / "out", "--model", out, "--write", "scores,html"]
    assert CliRunner().invoke(main, [str(each) for each in told]).exit_code == 0
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert {row["calibrated"] for row in csv.DictReader(file)} == {"1"}
    assert "They were calibrated on labelled women" in (tmp_path / "out" / "report.html").read_text()
    again = calibrate(out, "--manifest", manifest, "--out", tmp_path / "again.safetensors")
    assert again.exit_code == 2
    assert "carries temperatures already" in again.stderr


def test_women_whom_the_model_may_know_are_refused_unless_told(weights: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibrated.safetensors"
    refused = calibrate(weights, "--manifest", manifest, "--split", "all", "--out", out)
    assert refused.exit_code == 2
    assert "4 of 42" not in refused.stderr
    assert "2 of 42 pairs are training pairs" in refused.stderr
    assert not out.exists()
    result = calibrate(weights, "--manifest", manifest, "--split", "all", "--out", out, "--anyway")
    assert result.exit_code == 0, result.output
    assert "doubtful: 2 of 42 pairs are training pairs" in result.stdout


def test_the_weights_themselves_are_never_overwritten(weights: Path, manifest: Path) -> None:
    before = weights.read_bytes()
    result = calibrate(weights, "--manifest", manifest, "--out", weights)
    assert result.exit_code == 2
    assert "name another file" in result.stderr
    assert weights.read_bytes() == before
