"""Float graph in the form of `int8_shape` → QDQ: integer arithmetic spelt as float nodes between conversions.

onnxruntime fuses DequantizeLinear → node → QuantizeLinear into its integer kernels. Activations are uint8, weights
int8 with one scale a channel, biases int32: the form that VNNI multiplies. Between two convolutions nothing is float:
ReLU is the lower end of the uint8 range, and reordering, pooling and joining run on the integers themselves.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from disasym.export.graph import Draft, Graph, attribute, attributes
from disasym.export.int8_scale import NARROW, Integer, Range, Stored, span_of, step_and_zero, weight_scale
from disasym.export.int8_shape import group

MOVES = {"Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "MaxPool", "Concat", "Mul"}
FEWEST = 8  # a product with fewer columns is not worth quantising its input for


def to_qdq(model: onnx.ModelProto, ranges: Mapping[str, Range], keep: Collection[str] = ()) -> onnx.ModelProto:
    """Quantise every layer whose group is not in `keep`.

    Args:
        model: made by `shape_for_int8` with the same `keep`.
        ranges: smallest and largest value of each tensor of `quantised_tensors`; what lies beyond is clipped.
        keep: groups that stay float.
    """
    return _Writer(Graph(model), ranges, keep).write()


@dataclass(frozen=True)
class Plan:
    """What would be quantised if nothing stayed float."""

    tensors: tuple[str, ...]  # whose ranges `to_qdq` needs
    groups: tuple[str, ...]  # parts of the network, see `int8_shape.group`


def plan(model: onnx.ModelProto) -> Plan:
    """What `to_qdq` asks for and does, in the order of execution."""
    asked: dict[str, None] = {}

    class Recorder(dict[str, Range]):
        def __missing__(self, name: str) -> Range:
            asked[name] = None
            return 0.0, 1.0

    quantised = to_qdq(model, Recorder())
    return Plan(tuple(asked), tuple(dict.fromkeys(group(name) for name in integer_layers(quantised))))


def integer_layers(model: onnx.ModelProto) -> list[str]:
    """The convolutions and matrix products both of whose factors are integers."""
    integer = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    weighted = (node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul"))
    return [node.name for node in weighted if integer.issuperset(node.input[:2])]


class _Writer:
    """Reads the float graph node by node, writes the quantised one."""

    def __init__(self, graph: Graph, ranges: Mapping[str, Range], keep: Collection[str]) -> None:
        self.graph = graph
        self.draft = Draft(graph)
        self.ranges = ranges
        self.keep = keep
        self.stored: dict[tuple[str, type], Stored] = {}

    def write(self) -> onnx.ModelProto:
        for node in self.graph.nodes:
            if not self._is_stored(node.output[0]):
                self._write(node)
        for name in self.graph.outputs:
            if self._is_stored(name) and not self.draft.producer(name):
                self._dequantised(name, name)
        return self.draft.model()

    def _write(self, node: onnx.NodeProto) -> None:
        if node.op_type in ("Conv", "Gemm") and self._worth_it(node):
            self._weighted(node)
        elif node.op_type == "MatMul" and self._is_product(node):
            self._product(node)
        elif node.op_type == "Add" and any(self._is_convolved(name) for name in node.input):
            self._sum(node)
        elif node.op_type in MOVES and self._is_stored(node.input[0]) and self._moves(node):
            self._need(node.output[0], np.uint8, only=True)
        else:
            self._float(node)

    def _worth_it(self, node: onnx.NodeProto) -> bool:
        weight = self.graph.weight(node.input[1])
        if weight is None or group(node.name) in self.keep or attribute(node, "transB", 0):
            return False
        return node.op_type == "Conv" or weight.shape[1] >= FEWEST or self._is_stored(node.input[0])

    def _is_product(self, node: onnx.NodeProto) -> bool:
        return group(node.name) not in self.keep and not any(name in self.graph.weights for name in node.input)

    def _is_convolved(self, name: str) -> bool:
        """Whether a tensor is the output of an integer convolution: its sum with another ends a residual block."""
        node = self.graph.producer(name)
        return self._is_stored(name) and node is not None and node.op_type == "Conv"

    def _weighted(self, node: onnx.NodeProto) -> None:
        """Conv or Gemm with a weight: both inputs and the bias as integers."""
        x = self._need(node.input[0], np.uint8)
        axis = 0 if node.op_type == "Conv" else 1
        weight = self.graph.weights[node.input[1]]
        step = x.scale.reshape(-1)[0]
        if x.scale.size > 1:  # channels on scales of their own: their ratio goes into the weight
            ratio = x.scale / step
            weight = weight * (ratio[None, :, None, None] if axis == 0 else ratio[:, None])
        inputs = [self._read(x, step), self._weight(node.name, weight, axis)]
        if len(node.input) > 2:
            inputs.append(self._bias(node, weight, axis, step))
        out = self.draft.node(node.op_type, inputs, node.output[0], node.name, **attributes(node))
        if node.op_type == "Conv":
            self._close(out)

    def _weight(self, layer: str, weight: np.ndarray, axis: int) -> str:
        scale = weight_scale(weight, axis)
        along = scale.reshape([-1 if at == axis else 1 for at in range(weight.ndim)])
        integers = np.clip(np.rint(weight / along), -127, 127).astype(np.int8)
        names = (f"{layer}.int8", f"{layer}.int8.scale", f"{layer}.int8.zero")
        for name, value in zip(names, (integers, scale, np.zeros(len(scale), np.int8)), strict=True):
            self.draft.constant(name, value)
        return self.draft.node("DequantizeLinear", list(names), f"{layer}.weight.dequantised", axis=axis)

    def _bias(self, node: onnx.NodeProto, weight: np.ndarray, axis: int, step: np.floating) -> str:
        scale = (weight_scale(weight, axis) * step).astype(np.float32)
        most = 2.0**31 - 2**8  # the largest float32 below the limit of int32
        integers = np.clip(np.rint(self.graph.weights[node.input[2]] / scale), -most, most).astype(np.int32)
        names = (f"{node.name}.bias.int32", f"{node.name}.bias.scale")
        for name, value in zip(names, (integers, scale), strict=True):
            self.draft.constant(name, value)
        return self.draft.node("DequantizeLinear", list(names), f"{node.name}.bias.dequantised", axis=0)

    def _product(self, node: onnx.NodeProto) -> None:
        """MatMul of two activations: uint8 times int8."""
        left, right = self._need(node.input[0], np.uint8), self._need(node.input[1], np.int8)
        self.draft.node("MatMul", [self._read(left), self._read(right)], node.output[0], node.name)

    def _sum(self, node: onnx.NodeProto) -> None:
        """The sum at the end of a residual block of the encoder."""
        inputs = [self._read(self._need(name, np.uint8)) for name in node.input]
        self._close(self.draft.node("Add", inputs, node.output[0], node.name))

    def _close(self, name: str) -> None:
        """Quantise what an image kernel writes; a ReLU behind it becomes the lower end of the range."""
        relu = self.graph.only_consumer(name, "Relu")
        final = relu.output[0] if relu else name
        self.stored[final, np.uint8] = self._quantise(name, self.ranges[final], np.uint8, only=True)

    def _float(self, node: onnx.NodeProto) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for at, name in enumerate(node.input):
            if self._is_stored(name):
                out = f"{name}_float"
                copy.input[at] = out if self.draft.producer(out) else self._dequantised(name, out)
        self.draft.copy(copy)

    def _is_stored(self, name: str) -> bool:
        """Whether a tensor exists as integers only."""
        found = self.stored.get((name, np.uint8))
        return found is not None and found.only

    def _moves(self, node: onnx.NodeProto) -> bool:
        """Whether a node only moves numbers, or all of them by one factor, so that integers can take its way."""
        if node.op_type == "Mul":
            factor = self.graph.weight(node.input[1])
            return factor is not None and factor.size == 1 and factor.item() > 0
        return node.op_type in MOVES and (node.op_type != "Concat" or len(node.input) > 0)

    def _need(self, name: str, dtype: Integer, only: bool = False) -> Stored:
        """The integers of a tensor: those that exist, else moved from where they exist, else quantised here."""
        key = (name, dtype)
        if key not in self.stored:
            node = self.graph.producer(name)
            if node is not None and self._moves(node) and not self._must_stay_float(node, dtype):
                self.stored[key] = self._moved(node, dtype, only)
            else:
                source = f"{name}_float" if self._is_stored(name) else name
                if source != name and not self.draft.producer(source):
                    self._dequantised(name, source)
                self.stored[key] = self._quantise(source, self.ranges[name], dtype, only, stem=name)
        return self.stored[key]

    def _must_stay_float(self, node: onnx.NodeProto, dtype: Integer) -> bool:
        """onnxruntime fuses no Gemm from uint8 to int8: its output must be float up to the Reshape behind it."""
        made = self.graph.producer(node.input[0])
        return dtype is np.int8 and node.op_type == "Reshape" and made is not None and made.op_type == "Gemm"

    def _moved(self, node: onnx.NodeProto, dtype: Integer, only: bool) -> Stored:
        if node.op_type == "Concat":
            return self._joined(node, dtype, only)
        x = self._need(node.input[0], dtype)
        if node.op_type == "Mul":
            return Stored(x.name, x.scale * self.graph.weights[node.input[1]].reshape(()), x.zero, dtype, only)
        out = f"{node.output[0]}_{dtype.__name__}"
        self.draft.node(node.op_type, [x.name, *node.input[1:]], out, **attributes(node))
        return Stored(out, x.scale, x.zero, dtype, only)

    def _joined(self, node: onnx.NodeProto, dtype: Integer, only: bool) -> Stored:
        """Concat: of integers where the zeros agree; else each is read, joined and quantised again."""
        self._agree(node, dtype)
        parts = [self._need(name, dtype) for name in node.input]
        out = f"{node.output[0]}_{dtype.__name__}"
        options = attributes(node)
        if len({part.zero for part in parts}) == 1 and all(part.scale.ndim == 0 for part in parts):
            self.draft.node("Concat", [part.name for part in parts], out, **options)
            if len({part.scale.item() for part in parts}) == 1:
                return Stored(out, parts[0].scale, parts[0].zero, dtype, only)
            sizes = [int(self.graph.shapes[name][options["axis"]]) for name in node.input]
            scale = np.repeat(np.array([part.scale for part in parts], np.float32), sizes)
            return Stored(out, scale, parts[0].zero, dtype, only)
        joined = self.draft.node("Concat", [self._read(part) for part in parts], f"{node.output[0]}_joined", **options)
        spans = [span_of(part) for part in parts]
        whole = (min(low for low, _ in spans), max(high for _, high in spans))
        return self._quantise(joined, whole, dtype, only, stem=node.output[0])

    def _agree(self, node: onnx.NodeProto, dtype: Integer) -> None:
        """Give tensors that will be joined, and are not yet quantised, one range for all."""
        bases = list(dict.fromkeys(self._base(name) for name in node.input))
        if len(bases) < 2 or any((base, each) in self.stored for base in bases for each in (np.uint8, np.int8)):
            return
        spans = [self.ranges[base] for base in bases]
        span = (min(low for low, _ in spans), max(high for _, high in spans))
        for base in bases:
            self.stored[base, dtype] = self._quantise(base, span, dtype, only=False)

    def _base(self, name: str) -> str:
        """Where the numbers that are moved into a tensor come from."""
        node = self.graph.producer(name)
        return self._base(node.input[0]) if node is not None and self._moves(node) else name

    def _quantise(self, name: str, span: Range, dtype: Integer, only: bool, stem: str = "") -> Stored:
        scale, zero = step_and_zero(span, dtype)
        stem = f"{stem or name}_{dtype.__name__}"
        out = f"{stem}_q"
        self.draft.node("QuantizeLinear", [name, *self._parameters(out, scale, zero, dtype)], out)
        return Stored(self._narrow(out) if dtype is np.int8 else out, scale, zero, dtype, only)

    def _narrow(self, name: str) -> str:
        """int8 activations within ±NARROW, whatever they are.

        Processors without VNNI add two products of uint8 and int8 in 16 bits, which saturates. onnxruntime can avoid
        that for weights (`disasym.processor`), which it knows beforehand, not for K and V.
        """
        limits = [self.draft.constant(f"{name}.{end}", np.asarray(end, np.int8)) for end in (-NARROW, NARROW)]
        return self.draft.node("Clip", [name, *limits], f"{name}_narrow")

    def _read(self, x: Stored, step: np.floating | None = None) -> str:
        """The float value of integers, as the input of one kernel."""
        scale = np.asarray(x.scale if step is None else step, np.float32).reshape(())
        out = f"{x.name}_times_{scale.item().hex()}"
        if self.draft.producer(out):
            return out
        return self.draft.node("DequantizeLinear", [x.name, *self._parameters(out, scale, x.zero, x.dtype)], out)

    def _dequantised(self, name: str, out: str) -> str:
        x = self.stored[name, np.uint8]
        return self.draft.node("DequantizeLinear", [x.name, *self._parameters(out, x.scale, x.zero, x.dtype)], out)

    def _parameters(self, stem: str, scale: np.ndarray, zero: int, dtype: Integer) -> list[str]:
        return [
            self.draft.constant(f"{stem}.scale", np.asarray(scale, np.float32)),
            self.draft.constant(f"{stem}.zero", np.asarray(zero, dtype)),
        ]
