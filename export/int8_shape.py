"""Float graph → the same arithmetic in the form that onnxruntime has int8 kernels for. Nothing is quantised here.

Each rule replaces one pattern by nodes that compute the same numbers up to float32 rounding. Why each is needed was
measured (docs/adr/0015): onnxruntime's `Resize` of uint8 in channels-last order takes 26 times as long as two `Concat`,
its convolution of 33 channels more than twice as long as that of 36, and its `Attention` knows float only.
"""

from collections.abc import Callable, Collection

import numpy as np
import onnx

from disasym.export.graph import Draft, Graph, attribute, attributes

TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
FEW = 4  # a 1×1 convolution to at most so many channels becomes one matrix product a channel


def shape_for_int8(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """Rewrite a float model; `Attention` nodes whose group (see `group`) is in `keep` stay whole.

    Convolutions, matrix products and attention are named after the layer whose weights they hold, e.g.
    `asyc.encoder.layer1.0.conv1`; what one layer became several of has a `#` and more behind it.
    """
    own = onnx.ModelProto()
    own.CopyFrom(model)  # names, and one input of a convolution, are changed in place
    graph = Graph(own)
    draft = Draft(graph)
    _name_layers(graph)
    for node in graph.nodes:
        if any(draft.producer(name) for name in node.output):
            continue  # a rule before has computed it already
        rule = RULES.get(node.op_type)
        whole = node.op_type == "Attention" and group(node.name) in keep
        if rule is None or whole or not rule(graph, draft, node):
            draft.copy(node)
    return draft.model()


def group(layer: str) -> str:
    """The part of the network that is quantised or left float as a whole: an encoder stage, the linear layers of a
    block, its attention, a decoder stage."""
    parts = layer.partition("#")[0].split(".")
    return ".".join(parts[:3]) + (".attention" if parts[-1] == "attention" else "")


def _name_layers(graph: Graph) -> None:
    """Name nodes after weights: folding and the exporter keep those of convolutions and the biases of linear layers."""
    parent = ""
    for node in graph.nodes:
        if node.op_type in ("Conv", "Gemm") and graph.weight(node.input[1]) is not None:
            node.name = node.input[1].removesuffix(".weight")
        elif node.op_type == "MatMul" and graph.weight(node.input[1]) is not None:
            bias = _bias(graph, node)
            node.name = bias[1].removesuffix(".bias") if bias else f"{parent}.{node.output[0]}".lstrip(".")
        elif node.op_type == "Attention":
            node.name = f"{parent}.attention#{node.output[0]}".lstrip(".")
        else:
            continue
        parent = node.name.rpartition(".")[0] if node.op_type != "Attention" else parent


def _bias(graph: Graph, node: onnx.NodeProto) -> tuple[onnx.NodeProto, str] | None:
    """The Add of a constant vector that alone reads a matrix product, and that vector's name."""
    add = graph.only_consumer(node.output[0], "Add")
    if add is None:
        return None
    name = add.input[1] if add.input[0] == node.output[0] else add.input[0]
    value = graph.weight(name)
    return (add, name) if value is not None and value.ndim == 1 else None


def _linear(graph: Graph, draft: Draft, node: onnx.NodeProto) -> bool:
    """MatMul with a weight and Add with a bias → Gemm on rows, for which onnxruntime has an int8 kernel with bias."""
    weight = graph.weight(node.input[1])
    if weight is None or weight.ndim != 2:
        return False
    bias = _bias(graph, node)
    output = bias[0].output[0] if bias else node.output[0]
    vector = graph.weights[bias[1]] if bias else np.zeros(weight.shape[1], np.float32)
    rows = draft.node("Reshape", [node.input[0], draft.shape(-1, weight.shape[0])], f"{node.output[0]}_rows")
    parts = _thirds(graph, output) or [(output, graph.shapes[output])]
    width = weight.shape[1] // len(parts)
    for at, (name, shape) in enumerate(parts):
        layer = f"{node.name}.{'qkv'[at]}" if len(parts) == 3 else node.name
        columns = slice(at * width, (at + 1) * width)
        inputs = [rows, f"{layer}.columns", f"{layer}.bias.float"]
        draft.constant(inputs[1], np.ascontiguousarray(weight[:, columns]))
        draft.constant(inputs[2], vector[columns])
        product = draft.node("Gemm", inputs, f"{name}_gemm", layer)
        draft.node("Reshape", [product, draft.shape(-1, *map(int, shape[1:]))], name)
    return True


def _thirds(graph: Graph, name: str) -> list[tuple[str, tuple[int | str, ...]]] | None:
    """Where a projection is only cut into Q, K and V: the names and shapes of these three.

    Three products then write them where they are needed: slicing would read and write them all once more.
    """
    view = graph.only_consumer(name, "Reshape")
    slices = graph.consumers(view.output[0]) if view else []
    found: dict[int, str] = {}
    for each in slices:
        squeeze = graph.only_consumer(each.output[0], "Squeeze") if each.op_type == "Slice" else None
        constants = [graph.weight(i) for i in (*each.input[1:4], squeeze.input[1])] if squeeze else [None]
        if squeeze is None or any(value is None or value.size != 1 for value in constants):
            return None
        start, end, axis, squeezed = (int(value.item()) for value in constants if value is not None)
        shape = graph.shapes[each.input[0]]
        if end - start != 1 or axis != squeezed or axis != len(shape) - 3 or shape[axis] != 3:
            return None
        found[start] = squeeze.output[0]
    if sorted(found) != [0, 1, 2]:
        return None
    return [(found[at], graph.shapes[found[at]]) for at in range(3)]


def _attention(graph: Graph, draft: Draft, node: onnx.NodeProto) -> bool:
    """Attention → MatMul, Softmax, MatMul. The scale goes to Q, where quantising it costs nothing."""
    odd = {"softcap", "is_causal", "qk_matmul_output_mode", "softmax_precision"}
    q, k, v = node.input[:3]
    shape = graph.shapes[q]
    if len(shape) != 4 or any(node.input[3:]) or any(node.output[1:]) or any(attribute(node, a, 0) for a in odd):
        return False
    scale, out = attribute(node, "scale", 1 / np.sqrt(int(shape[-1]))), node.output[0]
    scaled = draft.node("Mul", [q, draft.constant(f"{out}_scale", np.asarray(scale, np.float32))], f"{out}_q")
    turned = draft.node("Transpose", [k], f"{out}_k", perm=[0, 1, 3, 2])
    logits = draft.node("MatMul", [scaled, turned], f"{out}_logits", f"{node.name}.qk")
    weights = draft.node("Softmax", [logits], f"{out}_weights", axis=-1)
    draft.node("MatMul", [weights, v], out, f"{node.name}.v")
    return True


def _upsample(graph: Graph, draft: Draft, node: onnx.NodeProto) -> bool:
    """Resize to twice the height and width, nearest → every column twice, every row twice, by Concat."""
    scales = graph.weight(node.input[2]) if len(node.input) > 2 else None
    shape = graph.shapes[node.input[0]]
    nearest = (attribute(node, "mode"), attribute(node, "nearest_mode")) == (b"nearest", b"floor")
    doubles = scales is not None and scales.tolist() == [1, 1, 2, 2]
    if not (nearest and doubles and attribute(node, "coordinate_transformation_mode") == b"asymmetric"):
        return False
    channels, height, width = map(int, shape[1:])
    out = node.output[0]
    y = _nhwc(graph, draft, node.input[0])
    y = draft.node("Concat", [y, y], f"{out}_columns", axis=3)  # [n, h, w, 2·C] is [n, h, 2·w, C]
    y = draft.node("Reshape", [y, draft.shape(0, height, 1, 2 * width * channels)], f"{out}_row")
    y = draft.node("Concat", [y, y], f"{out}_rows", axis=2)
    y = draft.node("Reshape", [y, draft.shape(0, 2 * height, 2 * width, channels)], f"{out}_nhwc")
    draft.node("Transpose", [y], out, perm=TO_NCHW)
    return True


def _concat(graph: Graph, draft: Draft, node: onnx.NodeProto) -> bool:
    """Concat of channels → in channels-last order; a single last channel is repeated until four divide the total."""
    conv = graph.only_consumer(node.output[0], "Conv")
    if conv is None or attribute(node, "axis") != 1 or attribute(conv, "group", 1) != 1:
        return False
    weight = graph.weight(conv.input[1])
    if weight is None or weight.ndim != 4:
        return False
    parts, missing = list(node.input), -weight.shape[1] % 4
    if missing and graph.shapes[parts[-1]][1] == 1:
        parts += [parts[-1]] * missing
        nothing = np.zeros((weight.shape[0], missing, *weight.shape[2:]), np.float32)
        conv.input[1] = draft.constant(f"{conv.input[1]}.padded", np.concatenate([weight, nothing], 1))
    out = node.output[0]
    joined = draft.node("Concat", [_nhwc(graph, draft, part) for part in parts], f"{out}_nhwc", axis=3)
    draft.node("Transpose", [joined], out, perm=TO_NCHW)
    return True


def _conv(graph: Graph, draft: Draft, node: onnx.NodeProto) -> bool:
    """A 1×1 convolution to few channels that are then split → a matrix product for each, in full float precision.

    An int8 convolution could only write int8, too coarse for an image.
    """
    weight = graph.weight(node.input[1])
    split = graph.only_consumer(node.output[0], "Split")
    if weight is None or split is None or len(node.input) != 3:
        return False
    plain = {"group": 1, "kernel_shape": [1, 1], "strides": [1, 1], "pads": [0, 0, 0, 0]}
    given = attributes(node)
    if weight.shape[0] > FEW or any(given.get(key, value) != value for key, value in plain.items()):
        return False
    if weight.shape[2:] != (1, 1) or len(split.output) != weight.shape[0] or attribute(split, "axis") != 1:
        return False
    height, width = map(int, graph.shapes[node.output[0]][2:])
    rows = draft.node(
        "Reshape", [_nhwc(graph, draft, node.input[0]), draft.shape(-1, weight.shape[1])], f"{node.output[0]}_rows"
    )
    for at, out in enumerate(split.output):
        column = draft.constant(f"{node.name}#{at}.column", weight[at].reshape(-1, 1))
        bias = draft.constant(f"{node.name}#{at}.bias", graph.weights[node.input[2]][at : at + 1])
        product = draft.node("Gemm", [rows, column, bias], f"{out}_gemm", f"{node.name}#{at}")
        draft.node("Reshape", [product, draft.shape(-1, 1, height, width)], out)
    return True


def _nhwc(graph: Graph, draft: Draft, name: str) -> str:
    """A tensor [n, C, H, W] as [n, H, W, C]; one that was just brought into the other order is taken from before."""
    made, shape, out = draft.producer(name), graph.shapes[name], f"{name}_as_nhwc"
    if made is not None and made.op_type == "Transpose" and attribute(made, "perm") == TO_NCHW:
        return str(made.input[0])
    if draft.producer(out):
        return out
    if shape[1] == 1:  # nothing moves; a Transpose would make onnxruntime transpose its larger neighbours too
        return draft.node("Reshape", [name, draft.shape(0, *map(int, shape[2:]), 1)], out)
    return draft.node("Transpose", [name], out, perm=TO_NHWC)


RULES: dict[str, Callable[[Graph, Draft, onnx.NodeProto], bool]] = {
    "MatMul": _linear,
    "Attention": _attention,
    "Resize": _upsample,
    "Concat": _concat,
    "Conv": _conv,
}
