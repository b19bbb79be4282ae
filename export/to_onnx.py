"""PyTorch → ONNX: one file, batch dynamic, BatchNorm folded into the convolutions, attention as `Attention` nodes.

A model whose `attention` is "triton" keeps it as one node of our own, which only a runtime with a plugin can run.

Opset 23 is the first with the `Attention` operator, which TensorRT imports as its fused attention. On onnxruntime's
CPU it cannot be told in time from the decomposed attention of opset 18 (docs/adr/0009).
"""

import dataclasses
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch

from disasym.errors import ExportError
from disasym.export.attention_node import translation
from disasym.export.manifest import symbolic_shapes
from disasym.export.prune import prune
from disasym.model import DisAsymNet, ModelConfig
from disasym.spec import OUTPUTS

OPSET = 23


def to_onnx(model: DisAsymNet, opset: int = OPSET, outputs: tuple[str, ...] = OUTPUTS, **metadata: str) -> bytes:
    """The network in evaluation mode as a serialised ONNX model: input `views`, `outputs` as in `disasym.spec`.

    The same weights and tools give the same bytes. What only other outputs need is not in the graph. `metadata` goes
    into the model's metadata_props, and so does its configuration.

    Raises:
        ExportError: the graph is invalid, or its inputs and outputs are not those of the model.
    """
    graph = _clean(_exported(model, opset))
    onnx.helper.set_model_props(graph, {"config": config_json(model.config), **metadata})
    if outputs != OUTPUTS:
        graph = prune(graph, outputs)
    _check(graph, model.config, outputs)
    return bytes(graph.SerializeToString(deterministic=True))


def config_json(config: ModelConfig) -> str:
    """A configuration as JSON text with its fields in order."""
    return json.dumps(dataclasses.asdict(config))


def _exported(model: DisAsymNet, opset: int) -> onnx.ModelProto:
    example = torch.zeros(2, 2, model.config.height, model.config.width)  # values do not matter, a batch of 1 would
    with _quiet_exporter():
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=["views"],
            output_names=list(OUTPUTS),
            dynamic_shapes={"views": {0: torch.export.Dim("batch")}},
            custom_translation_table=translation() if model.attention == "triton" else None,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned no program: use the torch version of constraints.txt")
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Drop what the exporter says about itself: torchvision is absent, a class it uses is deprecated."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _clean(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes: stack traces name paths of this machine, and would differ from run to run."""
    body = graph.graph
    parts: list[Any] = [graph, body, *body.node, *body.initializer, *body.input, *body.output, *body.value_info]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    return graph


def _check(graph: onnx.ModelProto, config: ModelConfig, names: tuple[str, ...]) -> None:
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from None
    inputs, outputs = symbolic_shapes(config.height, config.width, names)
    found = {value.name: _shape(value) for value in (*graph.graph.input, *graph.graph.output)}
    if found != {**inputs, **outputs}:
        raise ExportError(f"the exported graph has {found}, wanted {inputs} and {outputs}")


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim)
