"""Attention between the two breasts, behind one function.

`bilateral_attention` is all that the rest of disasym imports from here. Its reference, in plain torch, has the same
signature and defines what every other backend must compute. README.md: how the Triton kernel works and what it costs.
"""

import importlib.util
import math

import torch
from torch import Tensor

from disasym.errors import InputError, MissingExtraError
from disasym.kernels import reference

BACKENDS = ("auto", "triton", "reference")
TRITON_DIMS = (32, 64, 128)  # of one head: what the tensor cores take without padding
TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HAS_TRITON = importlib.util.find_spec("triton") is not None  # found, not imported
LARGEST_OFFSET = 2**31 - 1  # within one pair: the kernel counts elements in 32 bits there


def bilateral_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, backend: str = "auto") -> Tensor:
    """Self- and cross-attention of both sides (paper section 2.1), heads side by side.

        SA = softmax(scale · q kᵀ) v        CA = softmax(scale · q k_otherᵀ) v_other

    Args:
        q, k, v: [B, 2, N, h, d], axis 1 = right, left; any strides, one dtype and device.
        scale: factor of the scores, above 0; None means 1/√d.
        backend: "triton", the fused kernel for CUDA tensors with d = 32, 64 or 128; "reference", plain torch, for all
            others; "auto", the first of the two that can run these tensors here.

    Returns:
        [B, 2, N, 2·h·d] in q's dtype: the h SA heads first, then the h CA heads. Differentiable.

    Raises:
        InputError: shapes, dtypes or devices disagree, the backend is not known, or it cannot run these tensors.
        MissingExtraError: backend "triton" without Triton.
    """
    _check(q, k, v)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if not 0 < scale < math.inf:
        raise InputError(f"scale must be finite and above 0, got {scale}")
    if backend not in BACKENDS:
        raise InputError(f"unknown attention backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend == "triton":
        _require_triton(q, k, v)
    elif backend == "reference" or not q.is_cuda or not HAS_TRITON or _obstacle(q, k, v):
        return reference.bilateral_attention(q, k, v, scale)
    from disasym.kernels.op import attend

    out: Tensor = attend(q, k, v, scale)[0]
    return out


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.ndim != 5 or q.shape[1] != 2 or 0 in q.shape:
        raise InputError(f"q must be a non-empty [B, 2, N, heads, dim], got {list(q.shape)}")
    for name, other in (("k", k), ("v", v)):
        if other.shape != q.shape or other.dtype != q.dtype or other.device != q.device:
            raise InputError(
                f"{name} must match q: {list(other.shape)} {other.dtype} on {other.device}"
                f" against {list(q.shape)} {q.dtype} on {q.device}"
            )


def _require_triton(q: Tensor, k: Tensor, v: Tensor) -> None:
    if not HAS_TRITON:
        raise MissingExtraError("attention backend 'triton'", "triton", "gpu")
    if obstacle := _obstacle(q, k, v):
        raise InputError(f"attention backend 'triton' {obstacle}; backend 'reference' takes it")
    from disasym.kernels.op import INTERPRETED

    # a graph that is exported names the operator, and is run elsewhere
    if not q.is_cuda and not INTERPRETED and not torch.compiler.is_exporting():
        raise InputError(
            f"attention backend 'triton' runs on CUDA tensors, these are on {q.device}: move them to a GPU, or ask"
            " for backend 'reference'"
        )


def _obstacle(q: Tensor, k: Tensor, v: Tensor) -> str:
    """Why the kernel cannot run these tensors on any GPU; empty if it can."""
    if q.shape[-1] not in TRITON_DIMS:
        return f"takes heads of dimension {', '.join(map(str, TRITON_DIMS))}, these have {q.shape[-1]}"
    if q.dtype not in TRITON_DTYPES:
        return f"takes {', '.join(str(dtype) for dtype in TRITON_DTYPES)}, these are {q.dtype}"
    for name, t in (("q", q), ("k", k), ("v", v)):
        reach = sum((size - 1) * stride for size, stride in zip(t.shape[1:], t.stride()[1:], strict=True))
        if reach > LARGEST_OFFSET:
            return f"takes pairs whose elements lie within {LARGEST_OFFSET}, those of {name} lie within {reach}"
    return ""
