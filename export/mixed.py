"""fp32 ONNX → strongly typed mixed precision: half-precision weights and activations, float32 islands, explicit Casts.

Strongly typed means that the graph alone says which precision each node computes in: TensorRT 11 knows no other way.
Inputs and outputs stay float32. Three kinds of node:

- heavy (convolutions, matrix products, attention, LayerNorm, GELU, unknown ones): half, unless they are an island;
- movement (reshape, slice, ReLU, maximum…): exact in any precision, so they go wherever fewer Casts are needed;
- pointwise (add, sigmoid, a classifier's product with one column…): likewise, and float32 where that costs no Cast.

`place` finds the smallest number of Casts exactly, as a minimum cut. LayerNormalization keeps float32 statistics in
half precision too (its attribute stash_type = 1).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from disasym.errors import ExportError
from disasym.export.placement import Kind, Node, place

Half = Literal["fp16", "bf16"]


@dataclass(frozen=True)
class Format:
    """A half-precision number format."""

    onnx: int  # TensorProto.DataType
    numpy: Any
    unit: float  # largest relative error of rounding a number of its normal range
    smallest: float  # smallest normal number
    largest: float


FORMATS: dict[str, Format] = {
    "fp16": Format(TensorProto.FLOAT16, np.float16, 2.0**-11, 2.0**-14, 65504.0),
    "bf16": Format(TensorProto.BFLOAT16, ml_dtypes.bfloat16, 2.0**-8, 2.0**-126, 3.3895313892515355e38),
}
# These commute with rounding: they pick or move numbers, or change their sign.
MOVEMENT = frozenset(
    (
        *("Abs", "Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "ReduceMax", "ReduceMin", "Relu"),
        *("Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    )
)
POINTWISE = frozenset(("Add", "Clip", "Mul", "ReduceMean", "Sigmoid", "Sub"))
# Whatever pairs were measured, others may come closer to the singular points of these; and a comparison turns a
# rounding into a whole step.
ALWAYS_FLOAT = frozenset(
    ("Div", "Equal", "Exp", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Log", "Pow", "Reciprocal", "Sqrt")
)


def mixed(model: bytes, dtype: Half, islands: Collection[str] = ()) -> bytes:
    """The same network in mixed precision; the same arguments give the same bytes.

    Args:
        model: float32 ONNX with one flat graph.
        dtype: the half-precision format.
        islands: names of nodes that compute in float32 (`disasym.export.sensitivity` measures which). Nodes of
            ALWAYS_FLOAT, and nodes with a constant that does not survive rounding (`survives`), are added.

    Raises:
        ExportError: an island is not a node of the graph, or the graph is not float32 and flat.
    """
    graph = Typed(model)
    if unknown := sorted(set(islands) - graph.names):
        raise ExportError(
            f"the float32 islands name {unknown[0]!r}, which is no node of this graph of {len(graph.names)}:"
            " measure the sensitivity again, on this graph"
        )
    return graph.in_half(FORMATS[dtype], graph.floats(FORMATS[dtype], islands))


def survives(values: npt.NDArray[Any], form: Format) -> bool:
    """Whether rounding moves no entry by more than half a unit of the largest one: no overflow, no denormal scale."""
    exact = np.asarray(values, np.float32)
    if not exact.size:
        return True
    if not np.isfinite(exact).all():
        return False
    with np.errstate(over="ignore"):
        error = np.abs(exact.astype(form.numpy).astype(np.float32) - exact).max()
    return bool(error <= form.unit * np.abs(exact).max())


class Typed:
    """A float32 graph, and which inputs and outputs of its nodes may change their precision."""

    def __init__(self, model: bytes) -> None:
        self.model = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
        self.nodes: list[onnx.NodeProto] = list(self.model.graph.node)
        self.names = {node.name for node in self.nodes}
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.outputs = {value.name for value in self.model.graph.output}
        values = (*self.model.graph.input, *self.model.graph.value_info, *self.model.graph.output)
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.types |= {name: tensor.data_type for name, tensor in self.constants.items()}
        self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        if len(self.names) != len(self.nodes) or "" in self.names:
            raise ExportError("nodes of the graph share a name or have none: export it again with disasym export")
        for node in self.nodes:
            if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
                raise ExportError(
                    f"node {node.name} ({node.op_type}) holds a graph of its own: only flat graphs convert"
                )
        for name, kind in self.types.items():
            if kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8, TensorProto.UINT8):
                found = TensorProto.DataType.Name(kind)
                raise ExportError(f"tensor {name} is {found} already: mixed precision starts from the float32 graph")

    def kind(self, node: onnx.NodeProto) -> Kind:
        """Which of the three kinds a node is, or "float" for one that has to stay in float32."""
        if node.op_type in ALWAYS_FLOAT or (node.op_type == "Cast" and self.reads(node)):
            return "float"
        nearest = any(a.name == "mode" and a.s == b"nearest" for a in node.attribute)
        if node.op_type in MOVEMENT or node.op_type == "Cast" or (node.op_type == "Resize" and nearest):
            return "movement"
        return "pointwise" if node.op_type in POINTWISE or self._classifies(node) else "heavy"

    def _classifies(self, node: onnx.NodeProto) -> bool:
        """A product with one column is a sum: no tensor core would speed it up."""
        if node.op_type not in ("MatMul", "Gemm") or len(node.input) < 2 or node.input[1] not in self.constants:
            return False
        dims = self.constants[node.input[1]].dims
        return len(dims) == 1 or 1 in dims

    def reads(self, node: onnx.NodeProto) -> list[int]:
        """Places of the inputs whose precision follows the node's."""
        bound = _bound_inputs(node, self.opset(node.domain))
        return [i for i, name in enumerate(node.input) if i not in bound and self.types.get(name) == TensorProto.FLOAT]

    def writes(self, node: onnx.NodeProto) -> list[str]:
        """The float outputs; those of an operator that onnx does not know are taken for float."""
        return [name for name in node.output if name and self.types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT]

    def opset(self, domain: str) -> int:
        return next((entry.version for entry in self.model.opset_import if entry.domain == domain), 1)

    def floats(self, form: Format, islands: Collection[str]) -> frozenset[str]:
        """The names of the nodes that compute in float32: the islands, and what has to or costs no Cast."""
        nodes = []
        for node in self.nodes:
            kind: Kind = "float" if node.name in islands or self._has_tender_constant(node, form) else self.kind(node)
            tensors = tuple(node.input[i] for i in self.reads(node) if node.input[i] not in self.constants)
            nodes.append(Node(node.name, kind, tensors, tuple(self.writes(node))))
        inputs = {value.name for value in self.model.graph.input}
        return place(nodes, inputs, self.outputs)

    def _has_tender_constant(self, node: onnx.NodeProto, form: Format) -> bool:
        constants = [self.constants[node.input[i]] for i in self.reads(node) if node.input[i] in self.constants]
        return any(not survives(numpy_helper.to_array(constant), form) for constant in constants)

    def in_half(self, form: Format, floats: Collection[str]) -> bytes:
        """Serialise with every node outside `floats` in half precision and Casts where precisions meet."""
        graph = onnx.GraphProto()
        graph.CopyFrom(self.model.graph)
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        writer = _Writer(self, form, floats)
        graph.node.extend(writer.nodes())
        graph.initializer.extend(writer.initializers())
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        result.graph.CopyFrom(graph)
        result = onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True)
        onnx.checker.check_model(result, full_check=True)
        return bytes(result.SerializeToString(deterministic=True))


class _Writer:
    """Writes the nodes of a graph in their precisions."""

    def __init__(self, typed: Typed, form: Format, floats: Collection[str]) -> None:
        self.typed, self.form = typed, form
        self.is_half = {name: name not in floats for name in typed.names}
        # Precision in which each float tensor is made, and those in which it is read.
        self.made: dict[str, bool] = {value.name: False for value in typed.model.graph.input}
        self.read: dict[str, set[bool]] = {name: {False} for name in typed.outputs}
        for node in typed.nodes:
            half = self.is_half[node.name]
            self.made |= dict.fromkeys(typed.writes(node), half)
            reads = set(typed.reads(node))
            for place_, name in enumerate(node.input):
                if typed.types.get(name) == TensorProto.FLOAT or place_ in reads:
                    self.read.setdefault(name, set()).add(half and place_ in reads)

    def nodes(self) -> Iterator[onnx.NodeProto]:
        for value in self.typed.model.graph.input:
            yield from self._casts(value.name)
        for node in self.typed.nodes:
            half = self.is_half[node.name]
            new = onnx.NodeProto()
            new.CopyFrom(node)
            for i in self.typed.reads(node):
                new.input[i] = self._name(node.input[i], half)
            written = self.typed.writes(node)
            new.output[:] = [self._name(name, half) if name in written else name for name in node.output]
            if half and node.op_type == "Cast":
                del new.attribute[:]
                new.attribute.append(helper.make_attribute("to", self.form.onnx))
            yield new
            for name in written:
                yield from self._casts(name)

    def _casts(self, name: str) -> Iterator[onnx.NodeProto]:
        made = self.made.get(name)
        if made is not None and (not made) in self.read.get(name, set()):
            to = TensorProto.FLOAT if made else self.form.onnx
            source, target = self._name(name, made), self._name(name, not made)
            yield helper.make_node("Cast", [source], [target], name=f"cast/{target}", to=to)

    def _name(self, name: str, half: bool) -> str:
        """A tensor's name in one precision: as it was, unless both are there; outputs keep theirs in float32."""
        both = len(self.read.get(name, set()) | ({self.made[name]} if name in self.made else set())) > 1
        return f"{name}.half" if half and both else name

    def initializers(self) -> Iterator[TensorProto]:
        for name, tensor in self.typed.constants.items():
            if tensor.data_type != TensorProto.FLOAT:
                yield tensor
                continue
            for half in sorted(self.read.get(name, {False})):
                yield self._rounded(tensor, self._name(name, True)) if half else tensor

    def _rounded(self, tensor: TensorProto, name: str) -> TensorProto:
        values = numpy_helper.to_array(tensor).astype(self.form.numpy)
        return helper.make_tensor(name, self.form.onnx, tensor.dims, values.tobytes(), raw=True)


def _bound_inputs(node: onnx.NodeProto, opset: int) -> set[int]:
    """Places of inputs that the operator wants in float32 whatever the rest is (the scales of Resize)."""
    try:
        formal = onnx.defs.get_schema(node.op_type, opset, node.domain).inputs
    except onnx.defs.SchemaError:
        return set()
    named = [formal[min(i, len(formal) - 1)] for i in range(len(node.input))]  # the last one may repeat
    return {i for i, slot in enumerate(named) if slot.type_str == "tensor(float)"}


def count_casts(model: bytes) -> int:
    """Number of Cast nodes of a graph."""
    return sum(node.op_type == "Cast" for node in onnx.load_from_string(model).graph.node)


def precisions(model: bytes) -> Mapping[str, str]:
    """Node name → "fp32", "fp16" or "bf16" by its first floating-point output; other nodes are left out."""
    graph = onnx.load_from_string(model).graph
    names = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    found = {node.name: [names[types[out]] for out in node.output if types.get(out) in names] for node in graph.node}
    return {name: kinds[0] for name, kinds in found.items() if kinds}
