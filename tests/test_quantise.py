"""Laws of the int8 export: same interface, same bytes, per-channel weights, close scores, nothing float by accident."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")

from disasym.errors import InputError
from disasym.export.calibration import METHODS, Histogram, ranges
from disasym.export.graph import Graph, attribute
from disasym.export.int8_qdq import integer_layers, plan, to_qdq
from disasym.export.int8_shape import group, shape_for_int8
from disasym.export.prune import prune
from disasym.export.quantise import SCORES, Quantised, quantise
from disasym.export.to_onnx import to_onnx
from disasym.spec import OUTPUTS, Array
from networks import lively, pairs_for
from tolerances import tolerance


@pytest.fixture(scope="module")
def source() -> bytes:
    return to_onnx(lively("small"))


@pytest.fixture(scope="module")
def pairs() -> Array:
    return pairs_for("small", 4)


@pytest.fixture(scope="module")
def quantised(source: bytes, pairs: Array) -> Quantised:
    """Everything int8: no difference is too large."""
    return quantise(source, pairs, tolerance=1.0)


def run(model: bytes, views: Array) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"views": views}), strict=True))


def interface(model: bytes) -> list[bytes]:
    graph = onnx.load_from_string(model).graph
    return [value.SerializeToString(deterministic=True) for value in (*graph.input, *graph.output)]


def test_inputs_and_outputs_stay_those_of_the_float_model(source: bytes, quantised: Quantised) -> None:
    assert interface(quantised.model) == interface(source)


def test_the_rewritten_float_graph_computes_the_same(source: bytes, pairs: Array) -> None:
    shaped = shape_for_int8(onnx.load_from_string(source)).SerializeToString()
    before, after = run(source, pairs), run(shaped, pairs)
    for name in OUTPUTS:  # the same kernels in another order, as between eager and onnxruntime
        kind = "score" if name in SCORES else "cam" if name == "cam" else "image"
        assert np.abs(before[name] - after[name]).max() <= tolerance(f"{kind}, onnxruntime vs eager"), name


def test_the_same_model_and_pairs_give_the_same_bytes(source: bytes, pairs: Array, quantised: Quantised) -> None:
    assert quantise(source, pairs, tolerance=1.0) == quantised


def test_every_convolution_and_product_but_those_of_the_scores_is_int8(quantised: Quantised) -> None:
    model = onnx.load_from_string(quantised.model)
    weighted = {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")}
    left = weighted - set(integer_layers(model))
    assert {name for name in left if "select" not in name and "matmul" not in name} <= {
        "asyc.asymmetry",
        "asyc.abnormality",
    }
    assert quantised.report["float"] == {}


def test_weights_have_one_scale_a_channel(quantised: Quantised) -> None:
    graph = Graph(onnx.load_from_string(quantised.model))
    seen = 0
    for node in graph.nodes:
        made = graph.producer(node.input[1]) if node.op_type in ("Conv", "Gemm") else None
        if made is None or made.op_type != "DequantizeLinear":
            continue
        weight, scale = graph.weights[made.input[0]], graph.weights[made.input[1]]
        axis = 0 if node.op_type == "Conv" else 1
        assert weight.dtype == np.int8
        assert attribute(made, "axis") == axis
        assert scale.shape == (weight.shape[axis],)
        seen += 1
    assert seen > 40


def test_scores_stay_within_the_tolerance(source: bytes, pairs: Array) -> None:
    made = quantise(source, pairs, tolerance=0.005)
    expected, found = run(source, pairs), run(made.model, pairs)
    assert max(np.abs(expected[name] - found[name]).max() for name in SCORES) <= 0.005
    json.dumps(made.report)


def test_a_group_left_float_has_no_integer_layer(source: bytes) -> None:
    model = onnx.load_from_string(source)
    keep = {"asyc.encoder.layer1", "asyc.blocks.1", "asyc.blocks.2.attention"}
    spans = dict.fromkeys(plan(shape_for_int8(model)).tensors, (-1.0, 1.0))
    left = {group(name) for name in integer_layers(to_qdq(shape_for_int8(model, keep), spans, keep))}
    assert left == set(plan(shape_for_int8(model)).groups) - keep


@pytest.mark.parametrize("outputs", [SCORES, (*SCORES, "cam"), ("cam",), ("normal",)])
def test_any_subset_of_the_outputs_can_be_quantised(source: bytes, pairs: Array, outputs: tuple[str, ...]) -> None:
    pruned = prune(onnx.load_from_string(source), outputs).SerializeToString()
    made = quantise(pruned, pairs[:1], tolerance=1.0)
    assert set(run(made.model, pairs)) == set(outputs)


def test_no_pairs_are_refused(source: bytes, pairs: Array) -> None:
    with pytest.raises(InputError, match="real pairs"):
        quantise(source, pairs[:0])


def test_nan_among_the_pairs_is_refused(source: bytes, pairs: Array) -> None:
    damaged = pairs.copy()
    damaged[0, 0, 5, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        quantise(source, damaged)


def test_pairs_of_another_size_are_refused(source: bytes, pairs: Array) -> None:
    with pytest.raises(InputError, match="256, 128"):
        quantise(source, pairs[..., :64])
