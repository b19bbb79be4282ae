"""The float32 twin of a mixed-precision graph: each tensor that would be half is rounded by a pair of Casts.

onnxruntime's CPU cannot show what half precision does. It has hardly any fp16 kernel: it computes convolutions, matrix
products, sums and ReLU in float32, and where such nodes follow one another it drops the rounding between them, so that
an fp16 model looks better than it is. A bf16 model it refuses (1.32: no kernel for Conv). What survives its optimiser
is float32 → half → float32, with overflow to infinity and denormal numbers as they should be.

So the twin computes in float32, as tensor cores accumulate, and rounds weights, inputs and outputs of every node that
is half. What it does not show: the rounding of attention's weights before they meet V, inside the node.
"""

from collections.abc import Collection, Iterator

import onnx
from onnx import TensorProto, helper, numpy_helper

from disasym.export.mixed import FORMATS, Format, Half, Typed


def rounded(graph: Typed, dtype: Half, floats: Collection[str]) -> bytes:
    """Serialise a float32 graph that rounds what `mixed` with these float32 nodes would keep in half precision.

    Args:
        graph: the float32 graph.
        dtype: the half-precision format.
        floats: names of the nodes in float32; all others round.
    """
    form = FORMATS[dtype]
    result = onnx.ModelProto()
    result.CopyFrom(graph.model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    constants: dict[str, TensorProto] = {}
    casts: set[str] = set()
    for node in graph.nodes:
        if node.name in floats or node.op_type == "Cast":
            result.graph.node.append(node)
            continue
        result.graph.node.extend(_rounding(graph, node, form, constants, casts))
    result.graph.initializer.extend([*graph.constants.values(), *constants.values()])
    return bytes(result.SerializeToString(deterministic=True))


def _rounding(
    graph: Typed, node: onnx.NodeProto, form: Format, constants: dict[str, TensorProto], casts: set[str]
) -> Iterator[onnx.NodeProto]:
    """The node with rounded inputs and outputs; a movement's output is rounded if its input was."""
    new = onnx.NodeProto()
    new.CopyFrom(node)
    for i in graph.reads(node):
        name = node.input[i]
        new.input[i] = f"{name}.rounded"
        if name in graph.constants:
            constants[name] = _rounded_constant(graph.constants[name], new.input[i], form)
        elif new.input[i] not in casts:
            casts.add(new.input[i])
            yield from round_trip(name, new.input[i], form)
    written = graph.writes(node)
    if graph.kind(node) == "movement":
        yield new
        return
    new.output[:] = [f"{name}.exact" if name in written else name for name in node.output]
    yield new
    for name in written:
        yield from round_trip(f"{name}.exact", name, form)


def round_trip(source: str, target: str, form: Format) -> list[onnx.NodeProto]:
    """Two Casts: float32 → half → float32."""
    between = f"{target}.half"
    return [
        helper.make_node("Cast", [source], [between], name=f"{target}/to_half", to=form.onnx),
        helper.make_node("Cast", [between], [target], name=f"{target}/to_float", to=TensorProto.FLOAT),
    ]


def _rounded_constant(tensor: TensorProto, name: str, form: Format) -> TensorProto:
    values = numpy_helper.to_array(tensor).astype(form.numpy).astype("float32")
    return numpy_helper.from_array(values, name)
