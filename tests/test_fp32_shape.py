"""The float graph with fewer multiplications for onnxruntime: the same numbers, made with less."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")

from torch.nn import functional as F  # noqa: E402

from disasym.export.fp32_shape import on_doubled, shape_for_fp32  # noqa: E402
from disasym.export.graph import Graph  # noqa: E402
from disasym.export.prune import prune  # noqa: E402
from disasym.spec import OUTPUT_SETS, OUTPUTS, Array  # noqa: E402
from networks import pairs_for  # noqa: E402
from tolerances import tolerance  # noqa: E402

SCORES = OUTPUT_SETS["scores"]


@pytest.fixture(scope="module")
def plain(lively_small: bytes) -> onnx.ModelProto:
    return onnx.load_from_string(lively_small)


@pytest.fixture(scope="module")
def shaped(plain: onnx.ModelProto) -> onnx.ModelProto:
    return shape_for_fp32(plain)


def run(model: onnx.ModelProto, views: Array) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"views": views}), strict=True))


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_every_output_is_the_one_of_the_plain_graph(plain: onnx.ModelProto, shaped: onnx.ModelProto) -> None:
    views = pairs_for("small", 3)
    before, after = run(plain, views), run(shaped, views)
    assert list(before) == list(after)
    for name in OUTPUTS:
        kind = "score" if name in SCORES else "cam" if name == "cam" else "image"
        assert np.abs(before[name] - after[name]).max() <= tolerance(f"{kind}, onnxruntime vs eager"), name


def test_the_graph_is_valid_and_keeps_its_interface_and_header(plain: onnx.ModelProto, shaped: onnx.ModelProto) -> None:
    onnx.checker.check_model(shaped, full_check=True)
    assert list(shaped.graph.input) == list(plain.graph.input)
    assert list(shaped.graph.output) == list(plain.graph.output)
    assert list(shaped.metadata_props) == list(plain.metadata_props)


def test_no_stage_of_the_decoder_joins_its_parts_and_the_wide_ones_are_transposed(
    plain: onnx.ModelProto, shaped: onnx.ModelProto
) -> None:
    graph = Graph(plain)
    stages = [
        conv
        for node in plain.graph.node
        if node.op_type == "Concat" and (conv := graph.only_consumer(node.output[0], "Conv"))
    ]
    assert stages, "the plain graph has no decoder stage to rewrite"
    assert kinds(plain).count("Concat") - kinds(shaped).count("Concat") == len(stages)
    widths = [graph.weights[conv.input[1]].shape[0] for conv in stages]
    assert kinds(shaped).count("ConvTranspose") == sum(width >= 64 for width in widths) > 0


def test_a_graph_without_the_decoder_stays_as_it_is(plain: onnx.ModelProto) -> None:
    scores = prune(plain, SCORES)
    assert [node.SerializeToString() for node in shape_for_fp32(scores).graph.node] == [
        node.SerializeToString() for node in scores.graph.node
    ]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**31),
)
def test_a_transposed_convolution_equals_the_convolution_of_doubled_features(
    sizes: tuple[int, int, int, int], seed: int
) -> None:
    out, channels, height, width = sizes
    draw = np.random.default_rng(seed)
    weight = draw.standard_normal((out, channels, 3, 3)).astype(np.float32)
    x = torch.from_numpy(draw.standard_normal((2, channels, height, width)).astype(np.float32))
    expected = F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), torch.from_numpy(weight), padding=1)
    found = F.conv_transpose2d(x, torch.from_numpy(on_doubled(weight)), stride=2, padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_one_weight_by_hand() -> None:
    """Weights 1 2 3 along a row: the even column meets 1·left + (2 + 3)·here, the odd (1 + 2)·here + 3·right."""
    weight = np.zeros((1, 1, 3, 3), np.float32)
    weight[0, 0, 1] = 1, 2, 3
    kernel = on_doubled(weight)[0, 0]
    x = torch.tensor([[[[10.0, 100.0]]]])
    even_odd = F.conv_transpose2d(x, torch.from_numpy(kernel[None, None]), stride=2, padding=1)[0, 0, 0]
    assert even_odd.tolist() == [50.0, 330.0, 510.0, 300.0]
