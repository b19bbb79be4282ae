"""The sensitivity to half precision: what is emulated, what becomes an island, and what the report says."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from disasym.errors import ExportError
from disasym.export.mixed import FORMATS, Half, Typed, mixed, precisions
from disasym.export.rounded import rounded
from disasym.export.sensitivity import DEAREST, SHARE, Sensitivity, measure
from disasym.export.work import multiplications
from disasym.infer.stages import load_views
from disasym.spec import OUTPUTS
from networks import pairs_for

PAIRS = 2


@pytest.fixture(scope="module")
def small(trained_small: bytes) -> bytes:
    return trained_small


@pytest.fixture(scope="module")
def measured(small: bytes) -> Sensitivity:
    everything_counts = dict.fromkeys(OUTPUTS, 1e-6)
    return measure(small, "fp16", pairs_for("small", PAIRS), limits=everything_counts, threads=1)


def graph_of(*nodes: onnx.NodeProto, **weights: np.ndarray) -> bytes:
    """A graph views [batch, 4] → asymmetry [batch, 4]."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("views", "asymmetry")]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "graph", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    return bytes(model.SerializeToString())


def run(model: bytes, views: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(["asymmetry"], {"views": views})[0]
    return found


@pytest.mark.parametrize(("dtype", "kind"), [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_the_twin_rounds_weights_inputs_and_outputs(dtype: Half, kind: type) -> None:
    rng = np.random.default_rng(0)
    weight, views = rng.normal(size=(4, 4)).astype(np.float32), rng.random((5, 4), np.float32)
    model = graph_of(helper.make_node("MatMul", ["views", "w"], ["asymmetry"], name="product"), w=weight)
    found = run(rounded(Typed(model), dtype, ()), views)
    by_hand = views.astype(kind).astype(np.float32) @ weight.astype(kind).astype(np.float32)
    assert found == pytest.approx(by_hand.astype(kind).astype(np.float32), abs=2 * FORMATS[dtype].unit)
    assert (found == found.astype(kind).astype(np.float32)).all()


def test_the_twin_of_a_graph_without_half_nodes_is_the_graph(small: bytes) -> None:
    graph = Typed(small)
    views = pairs_for("small", 1)
    assert (run(rounded(graph, "fp16", graph.names), views) == run(small, views)).all()


def test_an_overflow_is_an_infinity_in_the_twin() -> None:
    nodes = [
        helper.make_node("Mul", ["views", "large"], ["a"], name="up"),
        helper.make_node("Mul", ["a", "small"], ["asymmetry"], name="down"),
    ]
    model = graph_of(*nodes, large=np.array(60000.0), small=np.array(1e-3))
    views = np.full((1, 4), 2, np.float32)
    assert run(rounded(Typed(model), "fp16", ()), views) == pytest.approx(np.inf)
    assert run(rounded(Typed(model), "bf16", ()), views) == pytest.approx(120, rel=0.01)


@pytest.mark.slow
def test_the_first_convolution_becomes_an_island_and_the_map_gains(small: bytes, measured: Sensitivity) -> None:
    first = next(node.name for node in onnx.load_from_string(small).graph.node if node.op_type == "Conv")
    assert first in measured.islands
    assert precisions(mixed(small, "fp16", measured.islands))[first] == "fp32"
    without, with_islands = (measured.report[f"error_{key}_islands"] for key in ("without", "with"))
    assert with_islands["cam"]["rms"] < without["cam"]["rms"]


@pytest.mark.slow
def test_the_report_is_json_and_covers_every_block_once(measured: Sensitivity) -> None:
    report = json.loads(json.dumps(measured.report, allow_nan=False))
    assert (report["precision"], report["pairs"]) == ("fp16", PAIRS)
    blocks = {"asyc.encoder", "asyc.encoder.layer4.1", "asyc.blocks.3", "asyd.stages.4", "asyd.head"}
    assert blocks <= set(report["blocks"])
    assert set(report["error_with_islands"]) == set(OUTPUTS)
    assert all(report["nodes"][name]["share"] >= SHARE for name in report["islands"])
    assert not set(report["islands"]) & (set(report["float32_anyway"]) | set(report["too_dear"]))


@pytest.mark.slow
def test_limits_that_nothing_reaches_leave_no_island(small: bytes) -> None:
    found = measure(small, "fp16", pairs_for("small", 1), limits=dict.fromkeys(OUTPUTS, 1.0), threads=1)
    assert found.islands == ()


def test_a_node_near_to_overflow_becomes_an_island() -> None:
    nodes = [
        helper.make_node("MatMul", ["views", "w"], ["a"], name="large"),
        helper.make_node("MatMul", ["a", "v"], ["asymmetry"], name="back"),
    ]
    model = graph_of(*nodes, w=5000 * np.eye(4), v=np.eye(4) / 5000)
    views = np.ones((2, 4), np.float32)
    found = measure(model, "fp16", views, threads=1)
    assert found.report["too_narrow"] == ["large", "back"]  # 5000 · 16 is above 65504
    assert found.islands == ("large", "back")
    assert measure(model, "bf16", views, threads=1).islands == ()


def test_no_pairs_are_refused(small: bytes) -> None:
    with pytest.raises(ExportError, match="measured on pairs, got none"):
        measure(small, "fp16", np.zeros((0, 2, 256, 128), np.float32))


def test_work_is_counted_by_hand() -> None:
    ends = [
        helper.make_tensor_value_info("views", TensorProto.FLOAT, ["batch", 1, 4, 4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, 4, 5]),
    ]
    nodes = [
        helper.make_node("Conv", ["views", "w"], ["a"], name="convolution", pads=[1, 1, 1, 1]),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="product"),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((2, 1, 3, 3), np.float32), "w"),
        numpy_helper.from_array(np.zeros((4, 5), np.float32), "v"),
    ]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], constants)
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)]))
    total = 2 * 4 * 4 * 9 + 2 * 4 * 5 * 4
    assert multiplications(model) == {"convolution": 288 / total, "product": 160 / total}


def test_the_first_convolution_is_a_small_part_of_the_work(small: bytes) -> None:
    work = multiplications(onnx.shape_inference.infer_shapes(onnx.load_from_string(small)))
    assert sum(work.values()) == pytest.approx(1)
    first = next(node.name for node in onnx.load_from_string(small).graph.node if node.op_type == "Conv")
    assert 0.005 < work[first] < DEAREST


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_stays_within_its_limits_on_real_pairs(small: bytes, data_root: Path, dtype: Half) -> None:
    views = load_views(data_root / "mias" / "manifest.csv", 256, 128)[:2]
    found = measure(small, dtype, views).report
    for name, error in found["error_with_islands"].items():
        assert error["largest"] <= found["limits"][name], name
