"""Mixed precision: fewest Casts, islands where they are asked for or needed, the same interface, the same bytes."""

import itertools

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from disasym.errors import ExportError
from disasym.export.mixed import FORMATS, Typed, count_casts, mixed, precisions, survives
from disasym.export.placement import Kind, Node, place
from disasym.export.sensitivity import LIMITS
from networks import pairs_for


@pytest.fixture(scope="module")
def small(trained_small: bytes) -> bytes:
    return trained_small


@pytest.fixture(scope="module")
def half(small: bytes) -> bytes:
    return mixed(small, "fp16")


def run(model: bytes, views: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {"views": views})
    return found


def interface(model: bytes) -> dict[str, tuple[int, tuple[object, ...]]]:
    graph = onnx.load_from_string(model).graph
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim),
        )
        for value in (*graph.input, *graph.output)
    }


def two_products(low: float, scale: float = 1.0) -> bytes:
    """views → product → clip(low, 1) → product: an arithmetic node with a constant between two heavy ones."""
    weights = {f"w{i}": scale * np.eye(4, dtype=np.float32) for i in (1, 2)} | {
        "low": np.array(low, np.float32),
        "one": np.array(1, np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["views", "w1"], ["a"], name="first"),
        helper.make_node("Clip", ["a", "low", "one"], ["b"], name="clip"),
        helper.make_node("MatMul", ["b", "w2"], ["y"], name="second"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("views", "y")]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_the_interface_stays_float32_and_only_three_casts_are_added(small: bytes, dtype: str) -> None:
    made = mixed(small, dtype)  # type: ignore[arg-type]
    assert interface(made) == interface(small)
    # views in; the last LayerNorm out to the classifiers and the CAM; the decoder's head out to the images.
    assert count_casts(made) == count_casts(small) + 3
    assert len(made) < 0.51 * len(small)


def test_every_heavy_node_is_in_half_precision_and_every_head_in_float32(half: bytes) -> None:
    found = precisions(half)
    nodes = {node.name: node for node in onnx.load_from_string(half).graph.node}
    kinds = {
        kind: {found[name] for name, node in nodes.items() if node.op_type == kind and name in found}
        for kind in ("Conv", "Attention", "LayerNormalization", "Gelu", "Sigmoid", "Log", "Div", "ReduceMax")
    }
    assert {kind for kind, where in kinds.items() if where == {"fp16"}} == {
        "Conv",
        "Attention",
        "LayerNormalization",
        "Gelu",
    }
    assert {kind for kind, where in kinds.items() if where == {"fp32"}} == {"Sigmoid", "Log", "Div", "ReduceMax"}


def test_layernorm_keeps_float32_statistics(half: bytes) -> None:
    nodes = [node for node in onnx.load_from_string(half).graph.node if node.op_type == "LayerNormalization"]
    stash = [a.i for node in nodes for a in node.attribute if a.name == "stash_type"]
    assert stash == [TensorProto.FLOAT] * len(nodes)
    assert nodes


def test_the_breast_is_told_from_the_background_on_the_float32_views(half: bytes) -> None:
    graph = onnx.load_from_string(half).graph
    producers = {name: node for node in graph.node for name in node.output}
    (greater,) = [node for node in graph.node if node.op_type == "Greater"]
    name = greater.input[0]
    while name != "views":
        assert producers[name].op_type in ("Reshape", "Unsqueeze")  # no Cast: a dim pixel must not become 0
        name = producers[name].input[0]


def test_the_same_arguments_give_the_same_bytes(small: bytes, half: bytes) -> None:
    assert mixed(small, "fp16") == half


def test_half_precision_stays_close_on_breast_like_pairs(small: bytes, half: bytes) -> None:
    views = pairs_for("small", 2)
    exact, rounded = run(small, views), run(half, views)
    for name, a, b in zip(("asymmetry", "abnormal"), exact[:2], rounded[:2], strict=True):
        assert np.abs(a - b).max() <= LIMITS["fp16"][name]
    assert ((exact[3] == 0) == (rounded[3] == 0)).all()  # the background is exactly 0, the breast is not


def test_an_island_computes_in_float32(small: bytes) -> None:
    island = next(node.name for node in onnx.load_from_string(small).graph.node if node.op_type == "LayerNormalization")
    found = precisions(mixed(small, "fp16", [island]))
    assert found[island] == "fp32"
    assert count_casts(mixed(small, "fp16", [island])) == count_casts(mixed(small, "fp16")) + 2


def test_all_nodes_as_islands_give_the_float32_graph(small: bytes) -> None:
    names = [node.name for node in onnx.load_from_string(small).graph.node]
    made = mixed(small, "fp16", names)
    assert count_casts(made) == count_casts(small)
    views = pairs_for("small", 1)
    assert all((a == b).all() for a, b in zip(run(small, views), run(made, views), strict=True))


def test_a_node_whose_constant_does_not_survive_rounding_stays_float32() -> None:
    assert precisions(mixed(two_products(low=1e-6), "fp16"))["clip"] == "fp32"  # 1e-6 becomes 1.013e-6
    assert precisions(mixed(two_products(low=1e-6), "bf16"))["clip"] == "bf16"
    assert precisions(mixed(two_products(low=0.5), "fp16"))["clip"] == "fp16"
    huge = precisions(mixed(two_products(low=0.5, scale=70000.0), "fp16"))
    assert huge == {"first": "fp32", "clip": "fp32", "second": "fp32"}


@pytest.mark.parametrize(
    ("values", "fp16", "bf16"),
    [
        ([], True, True),
        ([0.0], True, True),
        ([1.0, 1e-7], True, True),  # far below the largest entry: lost in the sum anyway
        ([1e-6], False, True),  # a denormal number in fp16
        ([65504.0], True, True),
        ([65520.0], False, True),  # rounds to infinity
        ([np.inf], False, False),
        ([np.nan], False, False),
    ],
)
def test_what_survives_rounding(values: list[float], fp16: bool, bf16: bool) -> None:
    assert survives(np.array(values, np.float32), FORMATS["fp16"]) == fp16
    assert survives(np.array(values, np.float32), FORMATS["bf16"]) == bf16


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1), st.sampled_from([np.float16, ml_dtypes.bfloat16]))
def test_relu_absolute_value_and_extremes_commute_with_rounding(values: list[float], kind: type) -> None:
    exact = np.array(values, np.float32)
    rounded: np.ndarray = exact.astype(kind)
    for function in (np.abs, np.max, np.min, lambda x: np.maximum(x, x.dtype.type(0))):
        assert (function(exact).astype(kind) == function(rounded)).all()


def test_an_island_that_is_no_node_is_refused_by_name(small: bytes) -> None:
    with pytest.raises(ExportError, match="'node_nowhere', which is no node"):
        mixed(small, "fp16", ["node_nowhere"])


def test_a_graph_that_is_half_already_is_refused(half: bytes) -> None:
    with pytest.raises(ExportError, match="FLOAT16 already"):
        mixed(half, "bf16")


def test_resize_keeps_its_scales_in_float32(half: bytes) -> None:
    graph = onnx.load_from_string(half).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    resizes = [node for node in graph.node if node.op_type == "Resize"]
    assert {types[node.input[2]] for node in resizes} == {TensorProto.FLOAT}
    assert {precisions(half)[node.name] for node in resizes} == {"fp16"}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Node], set[str], set[str]]:
    """A small graph in order of execution: each node reads one or two tensors made before it."""
    tensors = ["input"]
    nodes: list[Node] = []
    for i in range(draw(st.integers(1, 6))):
        kind: Kind = draw(st.sampled_from(["heavy", "pointwise", "movement", "float"]))
        reads = tuple(dict.fromkeys(draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=2))))
        writes = tuple(f"t{i}.{j}" for j in range(draw(st.integers(1, 2))))
        nodes.append(Node(f"n{i}", kind, reads, writes))
        tensors += writes
    return nodes, {"input"}, {tensors[-1]}


def casts(nodes: list[Node], inputs: set[str], outputs: set[str], floats: frozenset[str]) -> int:
    """Casts counted one tensor at a time, by the definition."""
    made = dict.fromkeys(inputs, True) | {name: node.name in floats for node in nodes for name in node.writes}
    read: dict[str, set[bool]] = {name: {True} for name in outputs}
    for node in nodes:
        for name in node.reads:
            read.setdefault(name, set()).add(node.name in floats)
    return sum((not made[name]) in kinds for name, kinds in read.items())


@settings(max_examples=60)
@given(graphs())
def test_no_other_placement_has_fewer_casts(graph: tuple[list[Node], set[str], set[str]]) -> None:
    nodes, inputs, outputs = graph
    found = place(nodes, inputs, outputs)
    assert all(node.name in found for node in nodes if node.kind == "float")
    assert not any(node.name in found for node in nodes if node.kind == "heavy")
    free = [node.name for node in nodes if node.kind in ("pointwise", "movement")]
    fixed = {node.name for node in nodes if node.kind == "float"}
    best = min(
        casts(nodes, inputs, outputs, frozenset(fixed.union(chosen)))
        for size in range(len(free) + 1)
        for chosen in itertools.combinations(free, size)
    )
    assert casts(nodes, inputs, outputs, found) == best


def test_a_classifier_with_one_column_is_no_heavy_node(small: bytes) -> None:
    graph = Typed(small)
    shapes = {tensor.name: list(tensor.dims) for tensor in onnx.load_from_string(small).graph.initializer}
    products = [node for node in graph.nodes if node.op_type in ("MatMul", "Gemm")]
    columns = {node.name: 1 in shapes[node.input[1]] or len(shapes[node.input[1]]) == 1 for node in products}
    assert {name for name, one in columns.items() if one} == {
        node.name for node in products if graph.kind(node) == "pointwise"
    }
    assert sum(columns.values()) == 3  # asymmetry, abnormality, and the latter once more for the CAM
