"""Laws of the int8 export: same interface, same bytes, per-channel weights, close scores, nothing float by accident."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")

from disasym.checkpoint import load_model
from disasym.engines.ort import session_options
from disasym.errors import InputError
from disasym.export.calibration import BINS, Histogram, ranges
from disasym.export.graph import Graph, attribute
from disasym.export.int8_qdq import integer_layers, plan, to_qdq
from disasym.export.int8_scale import step_and_zero
from disasym.export.int8_shape import group, shape_for_int8
from disasym.export.prune import prune
from disasym.export.quantise import SCORES, TOLERANCE, Quantised, quantise
from disasym.export.to_onnx import to_onnx
from disasym.infer.stages import load_views
from disasym.spec import OUTPUTS, Array
from integer_sums import errors
from networks import pairs_for
from tolerances import tolerance


@pytest.fixture(scope="module")
def source(lively_small: bytes) -> bytes:
    return lively_small


@pytest.fixture(scope="module")
def pairs() -> Array:
    return pairs_for("small", 4)


@pytest.fixture(scope="module")
def quantised(source: bytes, pairs: Array) -> Quantised:
    """Everything int8: no difference is too large."""
    return quantise(source, pairs, tolerance=1.0)


def run(model: bytes, views: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(model, session_options(1), providers=["CPUExecutionProvider"])
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


def histogram(values: Array, low: float, high: float) -> Histogram:
    return Histogram(low, high, np.histogram(values, BINS, (low, high))[0].astype(np.float64))


def test_minmax_takes_all_that_was_seen_and_percentile_leaves_out_one_in_a_million() -> None:
    values = np.linspace(0, 1, 1_000_000, dtype=np.float32)
    values[0] = 10.0
    tables = [{"x": histogram(values, 0.0, 10.0)}]
    assert ranges(tables, "minmax")["x"] == pytest.approx((0, 10), abs=10 / BINS)
    assert ranges(tables, "percentile")["x"] == pytest.approx((0, 1), abs=10 / BINS)


def test_error_and_entropy_give_up_a_lonely_outlier_for_finer_levels() -> None:
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    values[0] = 12.0
    tables = [{"x": histogram(values, -6.0, 12.0)}]
    for method in ("error", "entropy"):
        low, high = ranges(tables, method)["x"]
        assert high < 10, method
        assert low <= -3, method


def test_histograms_of_several_pairs_add_up() -> None:
    first, second = (histogram(np.full(10, at, np.float32), 0.0, 4.0) for at in (1.0, 3.0))
    assert ranges([{"x": first}, {"x": second}], "minmax")["x"] == pytest.approx((1, 3), abs=4 / BINS)


@pytest.mark.parametrize(
    ("span", "dtype", "step", "zero"),
    [
        ((0.0, 25.5), np.uint8, 0.1, 0),
        ((-5.1, 20.4), np.uint8, 0.1, 51),
        ((3.0, 25.5), np.uint8, 0.1, 0),  # 0 must be a level: padding and background are 0
        ((-6.4, 3.0), np.int8, 0.1, 0),
    ],
)
def test_the_levels_of_a_range_are_these(
    span: tuple[float, float], dtype: type[np.uint8] | type[np.int8], step: float, zero: int
) -> None:
    found, level = step_and_zero(span, dtype)
    assert found == pytest.approx(step)
    assert level == zero


def test_onnxruntime_runs_every_layer_on_integers(quantised: Quantised, tmp_path: Path) -> None:
    """What QDQ is written for: onnxruntime fuses all of it, and no float convolution is left."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(quantised.model, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    assert sum(node.op_type == "QLinearConv" for node in nodes) == 30
    assert not [node.name for node in nodes if node.op_type in ("Conv", "FusedConv", "Resize")]
    floats = [node.name for node in nodes if node.op_type in ("Gemm", "MatMul", "FusedMatMul")]
    assert not [name for name in floats if "blocks" in name or "asyd" in name]


def test_every_integer_layer_adds_exactly_on_this_processor(quantised: Quantised, pairs: Array, tmp_path: Path) -> None:
    found = errors(quantised.model, pairs[:1], tmp_path)
    assert len(found) > 60
    assert max(found.values()) < 0.501, "beyond rounding: sums of 16 bits that were cut off (docs/adr/0015)"


def test_activations_far_beyond_their_ranges_are_added_exactly_too(source: bytes, pairs: Array, tmp_path: Path) -> None:
    model = onnx.load_from_string(source)
    spans = dict.fromkeys(plan(shape_for_int8(model)).tensors, (-1e-2, 1e-2))
    cut = to_qdq(shape_for_int8(model), spans).SerializeToString()
    assert max(errors(cut, pairs[:1], tmp_path).values()) < 0.501


@pytest.mark.slow
def test_the_demonstration_model_keeps_its_scores_on_real_pairs(data_root: Path, root: Path) -> None:
    views = np.concatenate([load_views(data_root / name / "manifest.csv", 256, 128, 4) for name in ("mias", "cesm")])
    source = to_onnx(load_model(root / "disasym" / "demonstration" / "model.safetensors"))
    made = quantise(source, views)
    expected, found = run(source, views), run(made.model, views)
    assert max(np.abs(expected[name] - found[name]).max() for name in SCORES) <= TOLERANCE


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
