"""An ONNX graph while it is rewritten: names → producers, consumers, weights and shapes, and one way to add nodes.

A rewrite reads one graph and writes another: nodes that nothing needs, and weights of theirs, are left out when the new
graph becomes a model. Names are made from the names they stand beside, never counted, so that the same rewrite of the
same graph gives the same bytes. For graphs without subgraphs (If, Loop, Scan), as the exporter writes them.
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from disasym.errors import ExportError

Shape = tuple[int | str, ...]  # a string is the name of a dynamic dimension


class Graph:
    """The nodes of a model in the order of execution, with the tables that rewrites ask for."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
        self.shapes: dict[str, Shape] = {value.name: _shape(value) for value in values}
        self.outputs = [value.name for value in model.graph.output]
        self._producers = {name: node for node in self.nodes for name in node.output}
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._consumers.setdefault(name, []).append(node)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that computes a tensor; None for inputs and weights."""
        return self._producers.get(name)

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return self._consumers.get(name, [])

    def only_consumer(self, name: str, op: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor, if it is an `op` and the tensor is no output of the graph."""
        found = self.consumers(name)
        alone = len(found) == 1 and found[0].op_type == op and name not in self.outputs
        return found[0] if alone else None

    def weight(self, name: str) -> np.ndarray | None:
        """The value of a weight; None if the tensor is computed."""
        return self.weights.get(name)

    def has(self, name: str) -> bool:
        """Whether the tensor exists: computed, a weight or an input."""
        return name in self._producers or name in self.weights or name in self.shapes


class Draft:
    """A graph being written. Starts with the weights of the one it is made from and no node."""

    def __init__(self, source: Graph) -> None:
        self._source = source
        self._nodes: list[onnx.NodeProto] = []
        self._weights = dict(source.weights)
        self._producers: dict[str, onnx.NodeProto] = {}

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node written so far that computes a tensor."""
        return self._producers.get(name)

    def copy(self, node: onnx.NodeProto) -> None:
        """Take a node as it is."""
        self._nodes.append(node)
        self._producers.update(dict.fromkeys(node.output, node))

    def node(self, op: str, inputs: list[str], output: str, name: str = "", **attributes: Any) -> str:
        """Write a node with one output, whose name is returned."""
        self.copy(helper.make_node(op, inputs, [self._free(output)], name=name or output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a weight. The same name with the same value may come again."""
        present = self._weights.get(name)
        if present is None:
            self._weights[name] = value
        elif present.dtype != value.dtype or not np.array_equal(present, value):
            raise ExportError(f"two weights would be named {name!r}: rename that tensor of the model")
        return name

    def shape(self, *sizes: int) -> str:
        """A constant for Reshape; 0 keeps a size, -1 is inferred."""
        return self.constant("shape_" + "_".join(map(str, sizes)).replace("-", "m"), np.array(sizes, np.int64))

    def model(self) -> onnx.ModelProto:
        """What was written, without what no output needs. Shapes inside are those that onnx infers.

        Raises:
            ExportError: the result is not valid ONNX.
        """
        made = onnx.ModelProto()
        made.CopyFrom(self._source.model)
        graph = made.graph
        for part in (graph.node, graph.initializer, graph.value_info):
            del part[:]
        needed, kept = set(self._source.outputs), []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        graph.node.extend(reversed(kept))
        graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self._weights.items() if name in needed
        )
        try:
            onnx.checker.check_model(made)
            return onnx.shape_inference.infer_shapes(made, strict_mode=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(f"the rewritten graph is not valid ONNX: {error}") from None

    def _free(self, output: str) -> str:
        if output in self._producers:
            raise ExportError(f"two nodes would compute {output!r}: rename that tensor of the model")
        return output


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    found = next((each for each in node.attribute if each.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """All attributes of a node."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim)
