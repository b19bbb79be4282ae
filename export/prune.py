"""Cut an ONNX graph down to some of its outputs, so that nobody pays for what nobody reads."""

from typing import Any

import onnx


def prune(model: onnx.ModelProto, outputs: tuple[str, ...]) -> onnx.ModelProto:
    """A copy that computes `outputs` and nothing else: nodes and weights that only others need are gone.

    What is left is untouched, so these outputs keep their arithmetic. For graphs without subgraphs (If, Loop, Scan),
    as the exporter writes them.
    """
    pruned = onnx.ModelProto()
    pruned.CopyFrom(model)
    graph = pruned.graph
    needed = set(outputs)
    for place in reversed(range(len(graph.node))):  # nodes stand in the order of execution
        if needed.intersection(graph.node[place].output):
            needed.update(graph.node[place].input)
        else:
            del graph.node[place]
    produced = {name for node in graph.node for name in node.output}
    _keep(graph.output, set(outputs))
    _keep(graph.initializer, needed)
    _keep(graph.value_info, needed | produced)
    return pruned


def _keep(parts: Any, names: set[str]) -> None:
    for place in reversed(range(len(parts))):
        if parts[place].name not in names:
            del parts[place]
