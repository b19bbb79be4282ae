"""The model repository for Triton Inference Server: where its files lie, and what its configuration says."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from disasym.engines import load
from disasym.errors import InputError
from disasym.export import ExportOptions, export, folder
from disasym.export.manifest import ONNX, WEIGHTS, Parity, read_manifest
from disasym.export.triton_server import config_pbtxt
from disasym.spec import OUTPUTS
from networks import pairs_for

CONFIG = "triton-server/disasym/config.pbtxt"
SERVED = "triton-server/disasym/1/model.onnx"
TYPE_FP32 = 11  # in the enumeration DataType of model_config.proto


def model_config() -> Any:
    """An empty ModelConfig with the fields that are written; names and numbers are those of model_config.proto in
    https://github.com/triton-inference-server/common."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config_excerpt.proto", package="inference", syntax="proto3")
    data_type = file.enum_type.add(name="DataType")
    data_type.value.add(name="TYPE_INVALID", number=0)
    data_type.value.add(name="TYPE_FP32", number=TYPE_FP32)
    field = descriptor_pb2.FieldDescriptorProto
    numbers, texts, messages, enums = field.TYPE_INT64, field.TYPE_STRING, field.TYPE_MESSAGE, field.TYPE_ENUM

    def message(name: str, *fields: tuple[str, int, int, bool, str]) -> None:
        made = file.message_type.add(name=name)
        for label, number, kind, repeated, of in fields:
            how = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            made.field.add(name=label, number=number, type=kind, label=how, type_name=of or None)

    message("ModelTensorReshape", ("shape", 1, numbers, True, ""))
    for name, reshape in (("ModelInput", 5), ("ModelOutput", 5)):
        message(
            name,
            ("name", 1, texts, False, ""),
            ("data_type", 2, enums, False, ".inference.DataType"),
            ("dims", 3 if name == "ModelOutput" else 4, numbers, True, ""),
            ("reshape", reshape, messages, False, ".inference.ModelTensorReshape"),
        )
    message("ModelDynamicBatching", ("max_queue_delay_microseconds", 2, field.TYPE_UINT64, False, ""))
    message(
        "ModelConfig",
        ("name", 1, texts, False, ""),
        ("max_batch_size", 4, field.TYPE_INT32, False, ""),
        ("input", 5, messages, True, ".inference.ModelInput"),
        ("output", 6, messages, True, ".inference.ModelOutput"),
        ("dynamic_batching", 11, messages, False, ".inference.ModelDynamicBatching"),
        ("backend", 17, texts, False, ""),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()


def official_model_config() -> Any:
    """The class that NVIDIA's client ships; its package needs more than this one module does."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package tritonclient is absent: pip install --no-deps tritonclient")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig()


@pytest.mark.parametrize("config", [model_config, official_model_config])
def test_the_configuration_is_protobuf_text_and_describes_the_model(config: Any) -> None:
    parsed = text_format.Parse(config_pbtxt(256, 128, OUTPUTS, 16), config())
    assert (parsed.name, parsed.backend, parsed.max_batch_size) == ("disasym", "onnxruntime", 16)
    assert [(each.name, each.data_type, list(each.dims)) for each in parsed.input] == [
        ("views", TYPE_FP32, [2, 256, 128])
    ]
    assert [(each.name, each.data_type, list(each.dims)) for each in parsed.output] == [
        ("asymmetry", TYPE_FP32, [1]),
        ("abnormal", TYPE_FP32, [2]),
        ("cam", TYPE_FP32, [2, 8, 4]),
        ("normal", TYPE_FP32, [2, 256, 128]),
        ("abnormality", TYPE_FP32, [2, 256, 128]),
    ]
    reshaped = {each.name: list(each.reshape.shape) for each in parsed.output if each.HasField("reshape")}
    assert reshaped == {"asymmetry": []}, "the model's output has the batch axis alone"
    assert parsed.dynamic_batching.max_queue_delay_microseconds > 0


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
