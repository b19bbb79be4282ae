"""The attention of both breasts in a portable ONNX graph, found, proved and replaced by one node for a plugin.

A portable graph computes a block's attention in some twenty nodes, from the packed projection to the concatenation of
both `Attention` nodes' results. Cut out, that is one function of one tensor:

    BilateralAttention(packed) → [SA; CA]        [B, 2, N, 3·h·d] → [B, 2, N, 2·h·d]

What is cut out is run and compared with `disasym.kernels.reference` before it is replaced, so that nothing depends on
the way the exporter happens to write it. The attributes of the node are those by which TensorRT's ONNX parser finds a
plugin (https://github.com/onnx/onnx-tensorrt): namespace, version, and `aot` for one that is compiled ahead of time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

from disasym.errors import ExportError
from disasym.export.attention_node import DOMAIN, NAME
from disasym.export.mixed import MOVEMENT
from disasym.kernels import reference

VERSION = "1"
TYPES = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
AGREE = 1e-5  # softmax rows sum to 1, so results are means of values of order 1: float32 rounding of N terms


@dataclass(frozen=True)
class Region:
    """The nodes between one packed projection and the concatenation of SA and CA."""

    packed: str  # the tensor that it reads
    result: str
    nodes: tuple[onnx.NodeProto, ...]  # in order
    tokens: int
    heads: int
    dim: int
    dtype: str  # a value of TYPES


@dataclass(frozen=True)
class Rewritten:
    """A graph in which every attention is one node."""

    model: bytes
    regions: tuple[Region, ...]
    largest_difference: float  # of a region from the reference, in float32


def rewrite(model: bytes) -> Rewritten:
    """Replace every region.

    Raises:
        ExportError: an `Attention` node is in none, or a region computes something else.
    """
    graph = onnx.load_from_string(model)
    regions = find(graph)
    found = sum(node.op_type == "Attention" for region in regions for node in region.nodes)
    if (count := sum(node.op_type == "Attention" for node in graph.graph.node)) != found or not regions:
        raise ExportError(
            f"the plugin can replace {found} of the graph's {count} Attention nodes, the others stand in no pair that"
            " reads one packed projection: export without the plugin"
        )
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    differences = [difference(region, constants, graph) for region in regions]
    for region, distance in zip(regions, differences, strict=True):
        if not distance <= AGREE:
            raise ExportError(
                f"the nodes from {region.packed} to {region.result} are not bilateral attention, they differ from it by"
                f" {distance:.3g}, at most {AGREE:g} is accepted: export without the plugin"
            )
    _replace(graph, regions)
    return Rewritten(graph.SerializeToString(deterministic=True), regions, max(differences))


def find(graph: onnx.ModelProto) -> tuple[Region, ...]:
    """Each concatenation of two Attention nodes that, through movements alone, read one tensor."""
    typed = onnx.shape_inference.infer_shapes(graph).graph
    types = {value.name: value.type.tensor_type for value in (*typed.input, *typed.value_info, *typed.output)}
    constants = {tensor.name for tensor in graph.graph.initializer}
    producers = {name: node for node in graph.graph.node for name in node.output}
    found = []
    for node in graph.graph.node:
        if node.op_type == "Concat":
            names, roots = _behind(node, producers, constants)
            nodes = tuple(each for each in graph.graph.node if each.output[0] in names)
            attentions = [each for each in nodes if each.op_type == "Attention"]
            if len(attentions) == 2 and len(roots) == 1:
                (packed,) = roots
                heads, tokens, dim = (size.dim_value for size in types[attentions[0].input[0]].shape.dim[1:])
                dtype = TYPES[types[packed].elem_type]
                found.append(Region(packed, node.output[0], nodes, tokens, heads, dim, dtype))
    return tuple(found)


def _behind(
    last: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], constants: set[str]
) -> tuple[set[str], set[str]]:
    """First outputs of the nodes behind `last`, as far as they move or attend, and the tensors where that ends."""
    names, roots, waiting = {last.output[0]}, set[str](), list(last.input)
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if name in constants or not name:
            continue
        if node is None or node.op_type not in (*MOVEMENT, "Attention", "Constant") or len(node.output) > 1:
            roots.add(name)
        elif name not in names:
            names.add(name)
            waiting += node.input
    return names, roots


def difference(region: Region, constants: Mapping[str, TensorProto], graph: onnx.ModelProto) -> float:
    """Largest |Δ| of a region, run alone in float32, from the reference on random projections of two pairs.

    Its nodes move and attend: the same nodes are valid in any precision.
    """
    used = {name for node in region.nodes for name in node.input}
    width = region.heads * region.dim
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, region.tokens, parts * width])
        for name, parts in ((region.packed, 3), (region.result, 2))
    ]
    initial = [constants[name] for name in constants if name in used]
    cut = helper.make_graph(list(region.nodes), "region", ends[:1], ends[1:], initial)
    opset = [each for each in graph.opset_import if each.domain == ""]
    alone = helper.make_model(cut, opset_imports=opset, ir_version=graph.ir_version).SerializeToString()
    shape = (2, 2, region.tokens, 3 * width)
    packed = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    session = onnxruntime.InferenceSession(alone, providers=["CPUExecutionProvider"])
    (ours,) = session.run(None, {region.packed: packed})
    q, k, v = torch.from_numpy(packed.reshape(*shape[:3], 3, region.heads, region.dim)).unbind(3)
    return float(np.abs(ours - reference.bilateral_attention(q, k, v).numpy()).max())


def _replace(graph: onnx.ModelProto, regions: tuple[Region, ...]) -> None:
    """One node for each region, in its place; then drop what nobody reads any more."""
    by_result = {region.result: region for region in regions}
    nodes = []
    for node in graph.graph.node:
        region = by_result.get(node.output[0])
        nodes.append(_node(region, node.name) if region else node)
    needed = {output.name for output in graph.graph.output}
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    initial = [each for each in graph.graph.initializer if each.name in needed]
    kept_initial = [onnx.TensorProto.FromString(each.SerializeToString()) for each in initial]
    del graph.graph.node[:], graph.graph.initializer[:], graph.graph.value_info[:]
    graph.graph.node.extend(reversed(kept))
    graph.graph.initializer.extend(kept_initial)
    graph.opset_import.append(helper.make_opsetid(DOMAIN, int(VERSION)))


def _node(region: Region, name: str) -> onnx.NodeProto:
    return helper.make_node(
        NAME,
        [region.packed],
        [region.result],
        name=f"{name}/{NAME}",
        domain=DOMAIN,
        plugin_namespace=DOMAIN,
        plugin_version=VERSION,
        aot=1,
    )
