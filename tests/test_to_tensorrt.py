"""Real TensorRT-RTX engines, built without a GPU. None of them is run here: that needs one."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from disasym.errors import ExportError
from disasym.export.mixed import mixed
from disasym.export.tensorrt_library import LIBRARIES
from disasym.export.to_onnx import to_onnx
from disasym.export.to_tensorrt import Built, build, with_own_inputs
from networks import lively, pairs_for

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is absent: pip install '.[rtx]'")
BLOCKS = 4  # of the preset `small`; each has two Attention nodes


@pytest.fixture(scope="module")
def small(trained_small: bytes) -> bytes:
    return trained_small


@pytest.fixture(scope="module")
def half(small: bytes, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(mixed(small, "fp16"), tmp_path_factory.mktemp("fp16"), max_batch=8, opt_batch=2)


def layers_of(built: Built) -> list[dict[str, str | list[str]]]:
    found: list[dict[str, str | list[str]]] = json.loads(built.layers.read_text())["layers"]
    return found


def graph_of(*nodes: onnx.NodeProto, domain: str = "") -> bytes:
    """A graph views [batch, 4] → y [batch, 4]."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("views", "y")]
    imports = [helper.make_opsetid(name, 23 if name == "" else 1) for name in dict.fromkeys(("", domain))]
    graph = helper.make_graph(list(nodes), "graph", ends[:1], ends[1:])
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())


@pytest.mark.slow
def test_an_engine_is_built_without_a_gpu_and_attention_is_fused(half: Built) -> None:
    assert half.engine.stat().st_size == half.facts["engine_bytes"] > 1_000_000
    assert half.facts["attention"] == {"nodes": 2 * BLOCKS, "fused_kernels": 2 * BLOCKS, "may_decompose": 0}
    assert half.facts["batches"] == {"smallest": 1, "tuned_for": 2, "largest": 8}
    assert half.max_batch == 8
    assert half.versions.keys() == {"tensorrt_rtx_bindings"}


@pytest.mark.slow
def test_the_facts_are_json_with_memory_and_what_the_engine_runs_on(half: Built) -> None:
    facts = json.loads(json.dumps(half.facts, allow_nan=False))
    assert facts["memory"]["weights_bytes"] > 5_000_000
    assert facts["memory"]["activations_bytes"] > 0
    peak = facts["memory"]["peak_of_build_process_bytes"]
    assert peak is None or half.facts["engine_bytes"] < peak < 700_000_000  # not that of the process that asked
    assert facts["compute_capabilities"].startswith("8.0, 8.6, 8.9, 12.0")
    assert (facts["strongly_typed"], facts["tf32"]) == (True, False)


@pytest.mark.slow
def test_the_layer_list_names_the_onnx_nodes_and_the_number_formats(half: Built) -> None:
    layers = layers_of(half)
    assert len(layers) == half.facts["engine_layers"]
    assert any("node_scaled_dot_product_attention" in layer["Metadata"] for layer in layers)
    formats = Counter(kind for layer in layers for kind in layer["OutputTypes"])
    assert formats["Half"] > formats["Float"] > 0


@pytest.mark.slow
def test_the_log_has_every_message_with_its_severity(half: Built) -> None:
    lines = half.log.read_text().splitlines()
    severities = {line.split(" ", 1)[0] for line in lines if re.match(r"[A-Z_]+ ", line)}
    assert {"VERBOSE", "INFO"} <= severities
    assert any("Engine generation completed" in line for line in lines)
    assert half.warnings == tuple(line[8:] for line in lines if line.startswith("WARNING "))


@pytest.mark.slow
def test_bfloat16_has_fused_attention_and_float32_decomposes_it(small: bytes, tmp_path: Path) -> None:
    for dtype, attention in (
        ("bf16", {"nodes": 2 * BLOCKS, "fused_kernels": 2 * BLOCKS, "may_decompose": 0}),
        ("fp32", {"nodes": 2 * BLOCKS, "fused_kernels": 0, "may_decompose": 2 * BLOCKS}),
    ):
        folder = tmp_path / dtype
        folder.mkdir()
        model = small if dtype == "fp32" else mixed(small, "bf16")
        assert build(model, folder).facts["attention"] == attention, dtype


@pytest.mark.slow
def test_symmetric_int8_convolutions_become_int8_layers(tmp_path: Path) -> None:
    weights: dict[str, np.ndarray] = {
        "w": np.ones((16, 16, 3, 3), np.int8),
        "scales": np.full(16, 0.01, np.float32),
        "scale": np.array(0.05, np.float32),
        "zero": np.array(0, np.int8),
        "zeros": np.zeros(16, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["views", "scale", "zero"], ["q"], name="quantise"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"], name="dequantise"),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["v"], name="weights", axis=0),
        helper.make_node("Conv", ["x", "v"], ["y"], name="convolution", pads=[1, 1, 1, 1]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 16, 32, 32]) for name in ("views", "y")]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    layers = layers_of(build(model.SerializeToString(), tmp_path, max_batch=2))
    (convolution,) = [layer for layer in layers if "convolution" in layer["Metadata"]]
    assert convolution["InputTypes"] == ["Int8"]


@pytest.mark.slow
def test_a_named_compute_capability_stands_in_the_facts(tmp_path: Path) -> None:
    model = graph_of(helper.make_node("Relu", ["views"], ["y"], name="relu"))
    assert build(model, tmp_path, compute_capabilities=("SM89",)).facts["compute_capabilities"] == ["SM89"]
    assert {path.name for path in tmp_path.iterdir()} == {"model.engine", "build.log", "layers.json"}


def test_a_node_that_cannot_be_imported_is_named_with_the_reason(tmp_path: Path) -> None:
    model = graph_of(helper.make_node("Nowhere", ["views"], ["y"], name="strange", domain="of.ours"), domain="of.ours")
    with pytest.raises(ExportError, match=r"node 'strange' \(Nowhere\): .*Plugin not found"):
        build(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_compute_capability_is_refused_with_those_there_are(tmp_path: Path) -> None:
    model = graph_of(helper.make_node("Relu", ["views"], ["y"], name="relu"))
    with pytest.raises(ExportError, match=r"SM90, only .*SM80, SM86"):
        build(model, tmp_path, compute_capabilities=("SM90",))


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("raise RuntimeError('no such thing')", "exit code 1; its last words: RuntimeError: no such thing"),
    ],
)
def test_a_builder_that_dies_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, ending: str
) -> None:
    (tmp_path / "dying_builder.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(LIBRARIES, "tensorrt-rtx", replace(LIBRARIES["tensorrt-rtx"], module="dying_builder"))
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match=ending):
        build(graph_of(helper.make_node("Relu", ["views"], ["y"], name="relu")), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_tuned_batch_above_the_largest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="batches of 9 when it takes 1 to 8"):
        build(b"", tmp_path, max_batch=8, opt_batch=9)


def test_attention_nodes_get_inputs_of_their_own_and_the_outputs_stay_the_same(small: bytes) -> None:
    before, after = Counter[str](), Counter[str]()
    for model, count in ((small, before), (with_own_inputs(small), after)):
        nodes = onnx.load_from_string(model).graph.node
        count.update(name for node in nodes if node.op_type == "Attention" for name in node.input)
    assert max(before.values()) == 2  # SA and CA of a block read the same Q
    assert max(after.values()) == 1
    views = pairs_for("small", 1)
    results = [
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"views": views})
        for model in (small, with_own_inputs(small))
    ]
    assert all((a == b).all() for a, b in zip(*results, strict=True))


@pytest.mark.slow
def test_the_paper_preset_builds_with_every_attention_fused(tmp_path: Path) -> None:
    built = build(mixed(to_onnx(lively("paper")), "fp16"), tmp_path)
    assert built.facts["attention"] == {"nodes": 24, "fused_kernels": 24, "may_decompose": 0}
