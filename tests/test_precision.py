"""Exports in half precision and int8: what is built, what the manifest says of it, and what is refused."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from disasym.engines import load
from disasym.engines.ort import OrtEngine
from disasym.errors import EngineError, InputError
from disasym.export import ExportOptions, export, folder
from disasym.export.manifest import ONNX, PRECISIONS, WEIGHTS, Parity, read_manifest
from disasym.export.options import LIBRARY, TARGETS, default_targets
from disasym.export.tolerances import KINDS, TOLERANCES, tolerance
from disasym.spec import OUTPUTS
from networks import pairs_for
from test_cli import disasym


@pytest.fixture
def ready(small_export: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights whose float32 graph is already made, so that a test does not wait for the exporter."""
    monkeypatch.setattr(folder, "to_onnx", lambda model, **metadata: (small_export / ONNX).read_bytes())
    return small_export / WEIGHTS


def weight_types(path: Path) -> set[str]:
    return {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in onnx.load(path).graph.initializer}


def test_every_precision_and_output_has_a_tolerance_with_a_reason() -> None:
    assert tuple(TOLERANCES) == PRECISIONS
    assert set(KINDS) == set(OUTPUTS)
    for precision in PRECISIONS:
        for name in OUTPUTS:
            assert tolerance("fp32", name) <= tolerance(precision, name) < 0.2
            assert TOLERANCES[precision][KINDS[name]].reason
        assert tolerance(precision, "asymmetry") <= 0.01


def test_an_fp16_export_computes_in_half_precision_and_its_interface_stays_float32(ready: Path, tmp_path: Path) -> None:
    manifest = export(ready, tmp_path / "out", ExportOptions("fp16", targets=("onnx",)))
    target = manifest.targets["onnx"]
    assert (manifest.precision, target.precision) == ("fp16", "fp16")
    assert isinstance(target.parity, Parity)
    assert target.parity.tolerance["asymmetry"] == tolerance("fp16", "asymmetry")
    assert "FLOAT16" in weight_types(tmp_path / "out" / ONNX)
    report = json.loads((tmp_path / "out" / manifest.reports["sensitivity"]).read_text())
    assert (report["precision"], report["source"]) == ("fp16", "synthetic")
    assert report["islands"] is not None
    views = pairs_for("small", 2)
    with load(tmp_path / "out") as half, load(tmp_path / "out", "eager") as eager:
        assert (half.info.precision, eager.info.precision) == ("fp16", "fp32")
        assert half.info.model_sha256 == eager.info.model_sha256
        assert half.run(views).asymmetry.dtype == np.float32


def test_what_cannot_run_here_says_so_and_is_not_replaced(ready: Path, tmp_path: Path) -> None:
    manifest = export(ready, tmp_path / "out", ExportOptions("bf16", targets=("onnx",)))
    assert manifest.targets["onnx"].parity == "not run (onnxruntime has no bf16 kernels for CPUs)"
    assert read_manifest(tmp_path / "out") == manifest
    with pytest.raises(EngineError, match="computes in bf16, for which onnxruntime has no kernels on CPUs"):
        load(tmp_path / "out")
    result = disasym("verify", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout == "onnx: not run (onnxruntime has no bf16 kernels for CPUs)\n"
    assert "nothing was verified" in result.stderr


def test_int8_without_real_pairs_says_where_to_get_some() -> None:
    with pytest.raises(InputError, match=r"int8 is calibrated on real pairs.*--pairs.*disasym\[samples\]"):
        ExportOptions("int8")


@pytest.mark.slow
def test_an_int8_export_keeps_its_report_and_the_scores(
    scores_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "to_onnx", lambda model, **metadata: (scores_export / ONNX).read_bytes())
    options = ExportOptions("int8", outputs="scores", parity_views=pairs_for("small", 4, seed=5))
    manifest = export(scores_export / WEIGHTS, tmp_path / "out", options)
    assert manifest.reports == {"int8": "reports/int8.json"}
    report = json.loads((tmp_path / "out" / "reports" / "int8.json").read_text())
    assert report["pairs"]["calibrated"] == 4
    assert report["gate"] == "the gate runs pairs it was calibrated on"
    assert "INT8" in weight_types(tmp_path / "out" / ONNX)
    parity = manifest.targets["onnx"].parity
    assert isinstance(parity, Parity)
    assert not parity.beyond()
    with load(tmp_path / "out") as engine:
        assert engine.info.precision == "int8"


@pytest.mark.slow
def test_a_tensorrt_engine_keeps_its_log_and_its_layers(ready: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec(LIBRARY) is None:
        pytest.skip("TensorRT-RTX is absent: pip install '.[rtx]'")
    assert default_targets("fp16") == ("onnx", "tensorrt-rtx")
    manifest = export(ready, tmp_path / "out", ExportOptions("fp16", targets=("tensorrt-rtx",), max_batch=4))
    target = manifest.targets["tensorrt-rtx"]
    assert (target.engine, target.max_batch, target.files) == ("tensorrt-rtx", 4, ("tensorrt-rtx/model.engine",))
    assert manifest.logs == {"tensorrt-rtx": "tensorrt-rtx/build.log"}
    assert target.facts["layers"] in manifest.files
    assert isinstance(target.parity, Parity) or target.parity.startswith("not run (")
    assert read_manifest(tmp_path / "out").targets.keys() == {"tensorrt-rtx"}


def test_what_is_built_without_being_named_suits_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [default_targets(precision) for precision in PRECISIONS] == [("onnx",)] * 4
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert [len(default_targets(precision)) for precision in PRECISIONS] == [1, 2, 2, 1]
    for precision in PRECISIONS:
        assert all(precision in TARGETS[name].precisions for name in default_targets(precision))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--int8", "--fp16"), "--fp16 and --int8: an export has one precision"),
        (("--int8", "--to", "aotinductor"), "target 'aotinductor' cannot be int8, only fp32, fp16, bf16"),
        (("--to", "onnx,coreml"), "unknown target 'coreml': choose one of onnx"),
        (("--outputs", "images"), "unknown outputs 'images'"),
        (("--max-batch", "0"), "'--max-batch'"),
    ],
)
def test_a_wrong_combination_is_refused_before_anything_is_built(
    arguments: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = disasym("export", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not any(tmp_path.iterdir())


def test_without_any_argument_the_default_model_goes_to_a_folder_that_says_what_it_is(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISASYM_MODEL", str(small_export))
    monkeypatch.setattr("disasym.cli.sources.real_pairs", lambda *_: None)
    result = disasym("export")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "exports" / "small-fp32" / ONNX).is_file()
    assert "onnx, fp32: parity: largest difference to PyTorch on 3 synthetic pairs" in result.stdout
    assert ready.is_file()


def test_bound_inputs_and_outputs_give_the_same_bits(small_export: Path) -> None:
    views = pairs_for("small", 2)
    with load(small_export, "onnxruntime", threads=1) as engine:
        assert isinstance(engine, OrtEngine)
        expected = engine.run(views).named()
        bound = dict(zip(expected, engine._bound(views), strict=True))  # as on CUDA, with the CPU as the device
    for name, value in expected.items():
        np.testing.assert_array_equal(bound[name], value)
