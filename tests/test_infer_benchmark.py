"""`disasym infer --benchmark`: the results stay as they are, and the reference runs the very same batches."""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner, Result

from disasym.bench import beside
from disasym.bench.process import ContenderError
from disasym.cli import main
from exams import rows_of, write_exam
from processes import run_python
from tolerances import tolerance

FILES = ("results.csv", "results.jsonl", "files.csv")


@pytest.fixture
def exams(tmp_path: Path) -> Path:
    """Three women, one pair each: two batches of 2, the last one filled up."""
    for number in range(3):
        write_exam(tmp_path / "in", f"woman{number}", seed=number)
    return tmp_path / "in"


def arguments(source: Path, out: Path, model: Path, *more: str) -> list[str]:
    told = ["infer", source, "--out", out, "--model", model, "--batch", "2", "--threads", "1", "--write", "scores"]
    return [*map(str, told), *more]


def run(source: Path, model: Path, *more: str, benchmark: bool = True) -> Result:
    asked = arguments(source, source.parent / "out", model, *(("--benchmark",) if benchmark else ()), *more)
    return CliRunner().invoke(main, asked, prog_name="disasym")


def record(source: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((source.parent / "out" / "benchmark.json").read_text("utf-8"))
    return found


@pytest.mark.slow
def test_eager_runs_the_same_batches_and_the_results_stay_the_same(exams: Path, small_export: Path) -> None:
    script = """
import json, sys
from disasym.cli import main
try:
    main(json.loads(sys.argv[1]), prog_name="disasym")
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""
    plain, out = exams.parent / "plain", exams.parent / "out"
    assert run_python(script, json.dumps(arguments(exams, plain, small_export))).endswith("\n0 False")
    printed = run_python(script, json.dumps(arguments(exams, out, small_export, "--benchmark")))
    assert printed.endswith("\n0 False"), "the reference is in a process of its own"
    for name in FILES:
        assert (plain / name).read_bytes() == (out / name).read_bytes()
    found = record(exams)
    assert (found["engine"], found["precision"], found["device"]) == ("onnxruntime", "fp32", "cpu")
    assert (found["batches"], found["pairs"], found["batch_sizes"], found["left_out"]) == (2, 4, [2], 0)
    assert found["turns"] == beside.LEAST_TURNS
    assert found["times_eager_p25"] <= found["times_eager"] <= found["times_eager_p75"]
    assert all(0 <= worst <= tolerance("score, onnxruntime vs eager") for worst in found["delta"].values())
    assert (found["differs"], found["problem"]) == ([], "")
    assert found["machine"]["cores"] >= 1
    line = next(line for line in printed.splitlines() if line.startswith("speed"))
    for value in (found["engine_ms"], found["eager_ms"]):
        assert value > 0
        assert f"{value:.3g} ms" in line
    assert f"{found['times_eager']:.2f} (" in line
    assert any(line.startswith("parity   |Δ ") for line in printed.splitlines())


@pytest.mark.slow
def test_without_pytorch_nothing_is_read(exams: Path, small_export: Path, first_to_import: Path) -> None:
    (first_to_import / "torch.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')")
    result = run(exams, small_export)
    assert result.exit_code == 2
    assert "which does not run here: the eager engine needs the package 'torch'" in result.output
    assert "pip install 'disasym[train]'" in result.output
    assert not (exams.parent / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?")])
def test_without_the_weights_of_the_export_nothing_is_read(exams: Path, small_export: Path, spoil: Any) -> None:
    copy = exams.parent / "export"
    shutil.copytree(small_export, copy)
    spoil(copy / "model.safetensors")
    result = run(exams, copy)
    assert result.exit_code == 2
    assert "which does not run here" in result.output
    assert "model.safetensors" in result.output
    assert not (exams.parent / "out").exists()


@pytest.mark.parametrize("model", ["", "model.safetensors"])
def test_the_reference_is_not_compared_with_itself(exams: Path, small_export: Path, model: str) -> None:
    result = run(exams, small_export / model, "--engine", "eager")
    assert result.exit_code == 2
    assert "this run of" in result.output
    assert not (exams.parent / "out").exists()


class Puppet:
    """In place of a process: takes 10 ms a pair as onnxruntime, 30 as eager, and gives eager's scores."""

    asked: ClassVar[list[tuple[str, int]]] = []  # engine, pairs; new in each test, like the batches
    batches: ClassVar[tuple[beside.Batch, ...]] = ()
    off = 0.0  # what eager's scores lie away from the run's
    dies_at = 99  # questions

    def __init__(self, contender: Any) -> None:
        self.contender = contender

    def open(self, pairs: Path, threads: int) -> None:
        assert np.load(pairs).shape[1:] == (2, 256, 128)
        assert threads == 1

    def ask(self, do: str, views: str) -> dict[str, Any]:
        assert do == "batch"
        batch = np.load(views)
        if len(Puppet.asked) >= self.dies_at:
            raise ContenderError("its process was ended by SIGKILL", alive=False)
        Puppet.asked.append((self.contender.engine, len(batch)))
        turn = len(Puppet.asked)
        a_pair = 0.03 if self.contender.engine == "eager" else 0.01 if turn > 2 else 10.0  # warming up takes long
        known = next(each.scores for each in self.batches if np.array_equal(np.load(each.file), batch))
        return {
            "seconds": a_pair * len(batch),
            "scores": {name: (value.astype(float) + self.off).tolist() for name, value in known.items()},
        }

    def __enter__(self) -> "Puppet":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def puppet(monkeypatch: pytest.MonkeyPatch) -> type[Puppet]:
    raced = beside._raced

    def with_batches(recording: beside.Recording, say: beside.Say) -> beside.Figures:
        monkeypatch.setattr(Puppet, "batches", recording.batches)
        return raced(recording, say)

    monkeypatch.setattr(beside, "Running", Puppet)
    monkeypatch.setattr(beside, "_raced", with_batches)
    monkeypatch.setattr(beside, "PAUSE", 0.0)
    monkeypatch.setattr(Puppet, "asked", [])
    return Puppet


def test_turns_are_fair_and_warming_up_is_not_counted(exams: Path, small_export: Path, puppet: type[Puppet]) -> None:
    result = run(exams, small_export)
    assert result.exit_code == 0, result.output
    warm, turns = puppet.asked[:2], puppet.asked[2:]
    assert sorted(warm) == [("eager", 2), ("onnxruntime", 2)]
    assert [size for _, size in turns] == [2] * 10
    first = [engine for engine, _ in turns][::2]
    assert first == ["onnxruntime", "eager", "onnxruntime", "eager", "onnxruntime"]
    found = record(exams)
    assert (found["engine_ms"], found["eager_ms"]) == pytest.approx((10, 30))
    assert found["times_eager"] == pytest.approx(3)
    assert "onnxruntime fp32 10 ms a pair, eager fp32 30 ms: 3.00 (3.00–3.00) times as fast" in result.output
    assert max(found["delta"].values()) == 0


@pytest.mark.parametrize("off", [0.25, np.nan])
def test_an_engine_that_differs_from_eager_gets_no_merit(
    exams: Path, small_export: Path, puppet: type[Puppet], monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    monkeypatch.setattr(puppet, "off", off)
    result = run(exams, small_export, "--quiet")
    assert result.exit_code == 1
    assert "no merit where results differ" in result.output
    assert "DIFFERS" in result.output
    assert "times as fast" not in result.output
    found = record(exams)
    assert found["differs"] == ["asymmetry", "abnormal"]
    assert found["delta"]["asymmetry"] == (None if np.isnan(off) else pytest.approx(0.25))
    assert len(rows_of(exams.parent / "out")) == 3


def test_a_reference_that_dies_costs_no_result_and_is_said(
    exams: Path, small_export: Path, puppet: type[Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puppet, "dies_at", 3)
    result = run(exams, small_export)
    assert result.exit_code == 1
    assert "3 scored" in result.output
    assert "not compared with eager PyTorch: eager fp32 on a batch of 2: its process was ended" in result.output
    assert record(exams)["problem"].startswith("eager fp32 on a batch of 2")
    assert len(rows_of(exams.parent / "out")) == 3


def test_a_disk_without_room_for_the_batches_costs_no_result(
    exams: Path, small_export: Path, puppet: type[Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = np.save

    def full(file: Path, views: np.ndarray) -> None:
        if file.name != "blank.npy":
            raise OSError(28, "No space left on device")
        save(file, views)

    monkeypatch.setattr(np, "save", full)
    result = run(exams, small_export)
    assert result.exit_code == 1
    assert "No space left on device" in result.output
    assert len(rows_of(exams.parent / "out")) == 3
    assert "No space left" in record(exams)["problem"]
    assert not puppet.asked


def test_what_is_above_the_bound_is_left_out_and_said(
    exams: Path, small_export: Path, puppet: type[Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "KEPT", 1)
    result = run(exams, small_export)
    assert "batches of 2; the first 1 of 2 batches" in result.output
    assert (record(exams)["left_out"], record(exams)["pairs"]) == (1, 2)


def test_a_run_that_had_nothing_to_score_is_said_to_be_uncompared(
    exams: Path, small_export: Path, puppet: type[Puppet]
) -> None:
    run(exams, small_export, benchmark=False)
    result = run(exams, small_export)
    assert result.exit_code == 1
    assert "0 scored" in result.output
    assert "all its pairs were done before: add --fresh" in result.output
    assert run(exams, small_export, "--fresh").exit_code == 0


def test_a_run_without_pairs_is_said_to_be_uncompared(tmp_path: Path, small_export: Path, puppet: type[Puppet]) -> None:
    (tmp_path / "in").mkdir()
    result = run(tmp_path / "in", small_export)
    assert result.exit_code == 1
    assert "the run had no batch" in result.output


def test_a_later_run_removes_the_comparison_of_an_earlier_one(
    exams: Path, small_export: Path, puppet: type[Puppet]
) -> None:
    run(exams, small_export)
    assert (exams.parent / "out" / "benchmark.json").exists()
    run(exams, small_export, benchmark=False)
    assert not (exams.parent / "out" / "benchmark.json").exists()
