"""The ONNX operator `disasym::BilateralAttention`: the fused attention as one node, for a runtime that has a plugin.

    BilateralAttention(q, k, v; scale) → [SA; CA]        q, k, v [B, 2, N, h, d] → [B, 2, N, 2·h·d]

A portable graph has two `Attention` nodes instead; `disasym.export.to_onnx` makes either. The node of the same name
that `tensorrt_plugin_region` puts into a portable graph takes the packed projection alone.
"""

from collections.abc import Callable
from typing import Any

import onnx
import onnxscript
import torch
from onnx.defs import OpSchema

from disasym.errors import MissingExtraError
from disasym.kernels import HAS_TRITON

DOMAIN, NAME, VERSION = "disasym", "BilateralAttention", 1
DOCUMENT = "Self- and cross-attention of both breasts (arXiv 2307.02935, section 2.1), heads side by side."


def translation() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For torch.onnx.export's `custom_translation_table`: how PyTorch's operator becomes the ONNX node.

    Raises:
        MissingExtraError: Triton, without which PyTorch's operator is not registered, is not installed.
    """
    if not HAS_TRITON:
        raise MissingExtraError("an ONNX graph with the fused attention node", "triton", "gpu")
    from disasym.kernels.op import attend

    assert attend is not None  # noqa: S101 - imported for what it registers
    if not onnx.defs.has(NAME, DOMAIN):
        onnx.defs.register_schema(_schema())
    operators = onnxscript.values.Opset(DOMAIN, VERSION)

    def bilateral_attention(q: Any, k: Any, v: Any, scale: float) -> tuple[Any, Any]:
        # the second result, the log-sum-exp, is for training: nothing uses this node, and the optimiser drops it
        return operators.BilateralAttention(q, k, v, scale=scale), onnxscript.opset18.Identity(q)

    return {torch.ops.disasym.bilateral_attention.default: bilateral_attention}


def _schema() -> OpSchema:
    numbers = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
    schema = OpSchema(
        NAME,
        DOMAIN,
        VERSION,
        doc=DOCUMENT,
        inputs=[OpSchema.FormalParameter(name, "T", "[B, 2, N, h, d]") for name in ("q", "k", "v")],
        outputs=[OpSchema.FormalParameter("out", "T", "[B, 2, N, 2·h·d]: the h SA heads first, then the h CA heads")],
        type_constraints=[("T", numbers, "floating-point numbers")],
        attributes=[OpSchema.Attribute("scale", OpSchema.AttrType.FLOAT, "factor of the scores, above 0")],
    )
    schema.set_type_and_shape_inference_function(_infer)
    return schema


def _infer(context: Any) -> None:
    given = context.get_input_type(0)
    result = onnx.TypeProto()
    result.tensor_type.elem_type = given.tensor_type.elem_type
    batch, sides, tokens, heads, dim = given.tensor_type.shape.dim
    for size in (batch, sides, tokens):
        result.tensor_type.shape.dim.add().CopyFrom(size)
    result.tensor_type.shape.dim.add().dim_value = 2 * heads.dim_value * dim.dim_value
    context.set_output_type(0, result)
