"""The fused attention as one ONNX node: the graph is shorter, valid, and computes the same once the node is defined."""

from collections import Counter

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from disasym import kernels
from disasym.errors import MissingExtraError
from disasym.export.attention_node import DOMAIN, NAME, translation
from disasym.export.to_onnx import to_onnx
from disasym.model import PRESETS, DisAsymNet
from disasym.spec import OUTPUTS
from networks import lively, pairs_for
from tolerances import tolerance

# The node written out as four attentions of one query side over one key side. Axes: [B, N, h, d] → [B, h, N, d].
DEFINITION = """
<domain: "disasym", opset_import: ["": 23]>
BilateralAttention <scale> (q, k, v) => (out) {
    right = Constant <value_int = 0> ()
    left = Constant <value_int = 1> ()
    qr0 = Gather <axis = 1> (q, right)
    ql0 = Gather <axis = 1> (q, left)
    kr0 = Gather <axis = 1> (k, right)
    kl0 = Gather <axis = 1> (k, left)
    vr0 = Gather <axis = 1> (v, right)
    vl0 = Gather <axis = 1> (v, left)
    qr = Transpose <perm = [0, 2, 1, 3]> (qr0)
    ql = Transpose <perm = [0, 2, 1, 3]> (ql0)
    kr = Transpose <perm = [0, 2, 1, 3]> (kr0)
    kl = Transpose <perm = [0, 2, 1, 3]> (kl0)
    vr = Transpose <perm = [0, 2, 1, 3]> (vr0)
    vl = Transpose <perm = [0, 2, 1, 3]> (vl0)
    sar0 = Attention <scale: float = @scale> (qr, kr, vr)
    car0 = Attention <scale: float = @scale> (qr, kl, vl)
    sal0 = Attention <scale: float = @scale> (ql, kl, vl)
    cal0 = Attention <scale: float = @scale> (ql, kr, vr)
    r0 = Concat <axis = 1> (sar0, car0)
    l0 = Concat <axis = 1> (sal0, cal0)
    r1 = Transpose <perm = [0, 2, 1, 3]> (r0)
    l1 = Transpose <perm = [0, 2, 1, 3]> (l0)
    flat = Constant <value_ints = [0, 0, -1]> ()
    r2 = Reshape (r1, flat)
    l2 = Reshape (l1, flat)
    axis = Constant <value_ints = [1]> ()
    r = Unsqueeze (r2, axis)
    l = Unsqueeze (l2, axis)
    out = Concat <axis = 1> (r, l)
}
"""


@pytest.fixture(scope="module")
def fused() -> onnx.ModelProto:
    """The network of `lively("small")` with one node for each block's attention."""
    if not kernels.HAS_TRITON:
        pytest.skip("Triton has no build for this platform")
    network = DisAsymNet(PRESETS["small"], attention="triton").eval()
    network.load_state_dict(lively("small").state_dict())
    return onnx.load_from_string(to_onnx(network))


@pytest.fixture(scope="module")
def portable(lively_small: bytes) -> onnx.ModelProto:
    """The same network with two `Attention` nodes a block."""
    return onnx.load_from_string(lively_small)


def test_each_block_has_one_node_and_no_transposition_around_it(
    fused: onnx.ModelProto, portable: onnx.ModelProto
) -> None:
    ours, theirs = (Counter((n.domain, n.op_type) for n in model.graph.node) for model in (fused, portable))
    blocks = PRESETS["small"].blocks
    assert ours[DOMAIN, NAME] == blocks
    assert theirs["", "Attention"] == 2 * blocks
    assert ours["", "Attention"] == theirs[DOMAIN, NAME] == 0
    assert theirs["", "Transpose"] - ours["", "Transpose"] == 7 * blocks
    assert {(found.domain, found.version) for found in fused.opset_import} == {("", 23), (DOMAIN, 1)}


def test_the_node_says_its_scale_and_the_shape_of_its_result(fused: onnx.ModelProto) -> None:
    node = next(node for node in fused.graph.node if node.op_type == NAME)
    assert [a.name for a in node.attribute] == ["scale"]
    assert node.attribute[0].f == pytest.approx(32**-0.5)
    shape = next(v for v in fused.graph.value_info if v.name == node.output[0]).type.tensor_type.shape
    assert [size.dim_param or size.dim_value for size in shape.dim] == ["batch", 2, 32, 2 * 192]


def test_with_the_node_defined_the_graph_computes_what_the_portable_one_does(
    fused: onnx.ModelProto, portable: onnx.ModelProto
) -> None:
    defined = onnx.ModelProto()
    defined.CopyFrom(fused)
    defined.functions.append(onnx.parser.parse_function(DEFINITION))
    views = pairs_for("small", 2)
    ours, theirs = (
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            OUTPUTS, {"views": views}
        )
        for model in (defined, portable)
    )
    for name, found, wanted in zip(OUTPUTS, ours, theirs, strict=True):
        assert np.abs(found - wanted).max() <= tolerance("attention backends, float32"), name


def test_without_triton_the_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disasym.export.attention_node.HAS_TRITON", False)
    with pytest.raises(MissingExtraError, match="an ONNX graph with the fused attention node needs"):
        translation()
