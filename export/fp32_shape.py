"""Float graph → the same arithmetic with fewer multiplications, for onnxruntime on a CPU. Nothing is rounded here.

A decoder stage convolves [upsampled features, skip]. onnxruntime's convolution of 3×3 already runs at the rate at which
a core multiplies (docs/log.md), so only products that are not made save time:

- A 3×3 convolution over features that were doubled by repetition meets every value several times. The sum of its
  weights over equal values is a transposed convolution of 4×4 with stride 2: 4 products instead of 9.
- A convolution is linear: that of joined channels is the sum of the convolutions of its parts. Nothing is joined, and
  no convolution has a number of channels (33) that onnxruntime's blocked kernels cannot take.
"""

import numpy as np
import onnx

from disasym.export.graph import Draft, Graph, attribute, attributes

FEWEST = 64  # channels written below which joining the parts of a transposed convolution costs what it saves
TAPS = {0: ((3, (0,)), (1, (1, 2))), 1: ((2, (0, 1)), (0, (2,)))}  # phase → (tap of 4, taps of 3 that fall on it)


def shape_for_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite the decoder's first convolutions; a graph without a decoder comes back as it is.

    Args:
        model: float32, made by `disasym.export.to_onnx`.

    Returns:
        A model with the same inputs and outputs, equal up to float32 rounding.
    """
    graph = Graph(model)
    draft = Draft(graph)
    for node in graph.nodes:
        if not _in_parts(graph, draft, node):
            draft.copy(node)
    return draft.model()


def _in_parts(graph: Graph, draft: Draft, node: onnx.NodeProto) -> bool:
    """Conv of a Concat of two → the sum of two convolutions."""
    joined = graph.producer(node.input[0]) if node.op_type == "Conv" else None
    weight = graph.weight(node.input[1]) if joined is not None else None
    if joined is None or weight is None or not _fits(node, joined, weight):
        return False
    out = node.output[0]
    first = int(graph.shapes[joined.input[0]][1])
    parts = (np.ascontiguousarray(weight[:, :first]), np.ascontiguousarray(weight[:, first:]))
    doubled = _doubled(graph, joined.input[0]) if weight.shape[0] >= FEWEST else None
    if doubled is None:
        features = _convolution(draft, node, joined.input[0], parts[0], "features")
    else:
        kernel = draft.constant(f"{node.input[1]}.doubled", on_doubled(parts[0]))
        features = draft.node(
            "ConvTranspose",
            [doubled, kernel],
            f"{out}_features",
            kernel_shape=[4, 4],
            pads=[1, 1, 1, 1],
            strides=[2, 2],
        )
    skip = _convolution(draft, node, joined.input[1], parts[1], "skip", *node.input[2:])
    draft.node("Add", [features, skip], out)
    return True


def _fits(node: onnx.NodeProto, joined: onnx.NodeProto, weight: np.ndarray) -> bool:
    """3×3, stride 1, as wide as before, over two tensors joined by channels."""
    plain = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [1, 1, 1, 1]}
    given = attributes(node)
    usual = all(given.get(key, value) == value for key, value in plain.items())
    two = joined.op_type == "Concat" and len(joined.input) == 2 and attribute(joined, "axis") == 1
    return usual and two and weight.shape[2:] == (3, 3) and "pads" in given


def _convolution(draft: Draft, node: onnx.NodeProto, x: str, weight: np.ndarray, part: str, *bias: str) -> str:
    name = draft.constant(f"{node.input[1]}.{part}", weight)
    return draft.node("Conv", [x, name, *bias], f"{node.output[0]}_{part}", **attributes(node))


def _doubled(graph: Graph, name: str) -> str | None:
    """What a tensor repeats: the input of a Resize to twice the height and width by nearest value."""
    node = graph.producer(name)
    if node is None or node.op_type != "Resize" or len(node.input) < 3:
        return None
    scales = graph.weight(node.input[2])
    exact = {"mode": b"nearest", "nearest_mode": b"floor", "coordinate_transformation_mode": b"asymmetric"}
    repeats = all(attribute(node, key) == value for key, value in exact.items())
    return node.input[0] if repeats and scales is not None and scales.tolist() == [1, 1, 2, 2] else None


def on_doubled(weight: np.ndarray) -> np.ndarray:
    """The transposed convolution (stride 2, padding 1) that equals a 3×3 convolution (padding 1) of doubled features.

    Row 2·i of the result meets rows i − 1 (weight row 0) and i (rows 1 and 2) of the features, row 2·i + 1 meets rows i
    (weight rows 0 and 1) and i + 1 (row 2); columns likewise. Sums are made in float64.

    Args:
        weight: float32 [out, in, 3, 3].

    Returns:
        float32 [in, out, 4, 4].
    """
    fold = np.zeros((4, 3))
    for taps in TAPS.values():
        for tap, sources in taps:
            fold[tap, list(sources)] = 1
    kernel: np.ndarray = np.einsum("rk,cl,oikl->iorc", fold, fold, weight.astype(np.float64))
    return kernel.astype(np.float32)
