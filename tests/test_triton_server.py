"""The model repository for Triton Inference Server: where its files lie, and what its configuration says."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from disasym.engines import load
from disasym.engines.base import EngineInfo
from disasym.errors import InputError
from disasym.export import ExportOptions, export, folder
from disasym.export.manifest import ONNX, WEIGHTS, Parity, read_manifest
from disasym.export.targets import Job, build
from disasym.export.triton_server import ONNXRUNTIME, TENSORRT, VNNI_SERVER, config_pbtxt
from disasym.spec import OUTPUTS
from networks import lively, pairs_for

CONFIG = "triton-server/disasym/config.pbtxt"
SERVED = "triton-server/disasym/1/model.onnx"
TYPE_FP32 = 11  # in the enumeration DataType of model_config.proto


def parsed(text: str) -> Any:
    """A ModelConfig by NVIDIA's own definition. The client's package imports gRPC: this one module of it does not."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package tritonclient is absent: pip install '.[dev]'")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return text_format.Parse(text, module.ModelConfig())


def test_the_configuration_is_protobuf_text_and_describes_the_model() -> None:
    config = parsed(config_pbtxt(256, 128, OUTPUTS, 16, ONNXRUNTIME))
    assert (config.name, config.backend, config.max_batch_size) == ("disasym", "onnxruntime", 16)
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("views", TYPE_FP32, [2, 256, 128])
    ]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [
        ("asymmetry", TYPE_FP32, [1]),
        ("abnormal", TYPE_FP32, [2]),
        ("cam", TYPE_FP32, [2, 8, 4]),
        ("normal", TYPE_FP32, [2, 256, 128]),
        ("abnormality", TYPE_FP32, [2, 256, 128]),
    ]
    reshaped = {each.name: list(each.reshape.shape) for each in config.output if each.HasField("reshape")}
    assert reshaped == {"asymmetry": []}, "the model's output has the batch axis alone"
    assert config.dynamic_batching.max_queue_delay_microseconds > 0


def test_an_engine_is_served_on_every_gpu_in_batches_of_its_profile() -> None:
    config = parsed(config_pbtxt(256, 128, OUTPUTS[:2], 16, TENSORRT, preferred=8))
    assert (config.platform, config.backend, config.max_batch_size) == ("tensorrt_plan", "", 16)
    assert [(each.name, list(each.dims)) for each in config.output] == [("asymmetry", [1]), ("abnormal", [2])]
    (group,) = config.instance_group
    assert (group.count, group.kind, list(group.gpus), list(group.profile)) == (1, group.KIND_GPU, [], ["0"])
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert config.dynamic_batching.max_queue_delay_microseconds > 0


def test_a_repository_holds_a_versioned_model_that_the_gate_has_run(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "to_onnx", lambda model, **metadata: (small_export / ONNX).read_bytes())
    export(small_export / WEIGHTS, tmp_path / "out", ExportOptions(targets=("triton-server",), max_batch=2))
    manifest = read_manifest(tmp_path / "out")
    target = manifest.targets["triton-server"]
    assert target.files == (SERVED, CONFIG)
    assert (tmp_path / "out" / SERVED).read_bytes() == (small_export / ONNX).read_bytes()
    assert "max_batch_size: 2" in (tmp_path / "out" / CONFIG).read_text()
    assert isinstance(target.parity, Parity)
    assert target.parity.batches == (1, 2)
    with load(tmp_path / "out") as engine:
        assert engine.name == "onnxruntime"
        with pytest.raises(InputError, match="a batch of 3 pairs is above the 2"):
            engine.run(pairs_for("small", 3))
        assert np.isfinite(engine.run(pairs_for("small", 2)).asymmetry).all()


def test_an_int8_repository_says_which_processors_it_is_right_on(tmp_path: Path) -> None:
    info = EngineInfo("small", 256, 128, "int8", "0" * 64, "cpu", None)
    options = ExportOptions("int8", ("triton-server",), calibration_views=pairs_for("small", 1))
    target = build(
        "triton-server",
        Job(folder=tmp_path, earlier=tmp_path, model=lively("small"), info=info, options=options, onnx=b"a graph"),
    )
    assert target.facts["needs"] == VNNI_SERVER
    text = (tmp_path / CONFIG).read_text()
    assert text.startswith(f"# {VNNI_SERVER}\n")
    assert parsed(text).name == "disasym"
