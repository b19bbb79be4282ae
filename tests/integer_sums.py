"""Whether onnxruntime's integer kernels add exactly on this processor: each against the same sum in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

from disasym.engines.ort import session_options
from disasym.spec import Array

Doubles = npt.NDArray[np.float64]
NONE = 9
# Kernel → the inputs that are A, its scale and zero, B, its scale and zero, the bias, the output's scale and zero.
KERNELS = {
    "QLinearConv": (0, 1, 2, 3, 4, 5, 8, 6, 7),
    "QLinearMatMul": (0, 1, 2, 3, 4, 5, NONE, 6, 7),
    "QGemm": (0, 1, 2, 3, 4, 5, 6, 7, 8),
    "MatMulIntegerToFloat": (0, 2, 4, 1, 3, 5, 6, NONE, NONE),
}


def errors(model: bytes, views: Array, scratch: Path) -> dict[str, float]:
    """Integer kernel → its largest error: in steps of an integer output, ½ being rounding; of a float one, relative."""
    optimised = scratch / "optimised.onnx"
    options = session_options(1)
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(optimised)
    nodes = [node for node in graph.graph.node if node.op_type in KERNELS]
    known: dict[str, Any] = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    tapped = {name for node in nodes for name in (*node.input, *node.output)} - known.keys() - {""}
    del graph.graph.output[:]
    graph.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(tapped))
    options = session_options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # done already
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    known.update(zip(sorted(tapped), session.run(sorted(tapped), {"views": views}), strict=True))
    return {f"{node.op_type} {node.name}": _error(node, known) for node in nodes}


def _error(node: onnx.NodeProto, known: dict[str, Any]) -> float:
    names = [*node.input, *[""] * (NONE + 1 - len(node.input))]
    values: list[Any] = [known.get(names[place]) for place in KERNELS[node.op_type]]
    a, a_scale, a_zero, b, b_scale, b_zero, bias, step, zero = values
    options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    along = _along(options) if node.op_type == "QLinearConv" else (-1,)
    left, right = _doubles(a, a_zero), _doubles(b, b_zero)
    exact = _convolved(left, right, options) if node.op_type == "QLinearConv" else left @ right
    scale = np.float64(a_scale) * np.asarray(b_scale, np.float64)
    exact = exact * (scale.reshape(along) if scale.size > 1 else scale.reshape(()))
    if bias is not None:
        unit = 1.0 if node.op_type == "MatMulIntegerToFloat" else scale
        exact = exact + (bias * unit).reshape(along)
    found = known[node.output[0]].astype(np.float64)
    if step is None:
        return float(np.abs(found - exact).max() / max(np.abs(exact).max(), 1e-30))
    limits = np.iinfo(known[node.output[0]].dtype)
    return float(np.abs(found - np.clip(exact / np.float64(step) + zero, limits.min, limits.max)).max())


def _doubles(integers: Any, zero: Any) -> Doubles:
    """Zeros of several channels are one and the same here."""
    return np.asarray(integers, np.float64) - (0.0 if zero is None else float(np.unique(zero).item()))


def _along(options: dict[str, Any]) -> tuple[int, ...]:
    """The shape of one number a channel."""
    return (1, 1, 1, -1) if options.get("channels_last") else (1, -1, 1, 1)


def _convolved(image: Doubles, weight: Doubles, options: dict[str, Any]) -> Doubles:
    last = bool(options.get("channels_last"))
    top, left, bottom, right = options.get("pads", (0, 0, 0, 0))
    x = torch.from_numpy(image.transpose(0, 3, 1, 2) if last else image)
    x = torch.nn.functional.pad(x, (left, right, top, bottom))
    y = torch.nn.functional.conv2d(
        x, torch.from_numpy(weight), stride=options.get("strides", (1, 1)), groups=options.get("group", 1)
    ).numpy()
    result: Doubles = y.transpose(0, 2, 3, 1) if last else y
    return result
