"""How the multiplications of a network are spread over its nodes: what a node would cost in a slower precision."""

import math

import onnx


def multiplications(model: onnx.ModelProto) -> dict[str, float]:
    """Node → its share of all multiplications, for convolutions, products and attention of a model with shapes.

    Every dynamic size counts as 1: only the batch is one here, and every node is proportional to it.
    """
    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: [size.dim_value or 1 for size in value.type.tensor_type.shape.dim] for value in values}
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    counts = {node.name: count for node in graph.node if (count := _count(node, shapes))}
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _count(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    made = math.prod(shapes.get(node.output[0], [0]))
    if node.op_type == "Conv":  # weight [out, in / groups, height, width]
        return made * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":  # […, n, k] · [k, m], or · [k]
        return made * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return made * shapes[node.input[0]][0 if transposed else 1]
    if node.op_type == "Attention" and len(shapes[node.input[1]]) == 4:  # [B, h, N, d]: scores and weighted sums
        return 2 * made * shapes[node.input[1]][2]
    return 0
