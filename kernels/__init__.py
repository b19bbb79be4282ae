"""Attention between the two breasts, behind one function.

`bilateral_attention` is all that the rest of disasym imports from here. Its reference, in plain torch, has the same
signature and defines what every other backend must compute.
"""

from torch import Tensor

from disasym.errors import InputError
from disasym.kernels import reference

BACKENDS = ("auto", "reference")


def bilateral_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, backend: str = "auto") -> Tensor:
    """Self- and cross-attention of both sides (paper section 2.1), heads side by side.

        SA = softmax(scale · q kᵀ) v        CA = softmax(scale · q k_otherᵀ) v_other

    Args:
        q, k, v: [B, 2, N, h, d], axis 1 = right, left; any strides, one dtype and device.
        scale: factor of the scores; None means 1/√d.
        backend: "auto" takes the fastest that is present, "reference" plain torch.

    Returns:
        [B, 2, N, 2·h·d] in q's dtype: the h SA heads first, then the h CA heads.

    Raises:
        InputError: shapes, dtypes or devices disagree, or the backend is not known.
    """
    _check(q, k, v)
    if backend not in BACKENDS:
        raise InputError(f"unknown attention backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    return reference.bilateral_attention(q, k, v, scale)


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.ndim != 5 or q.shape[1] != 2 or 0 in q.shape:
        raise InputError(f"q must be a non-empty [B, 2, N, heads, dim], got {list(q.shape)}")
    for name, other in (("k", k), ("v", v)):
        if other.shape != q.shape or other.dtype != q.dtype or other.device != q.device:
            raise InputError(
                f"{name} must match q: {list(other.shape)} {other.dtype} on {other.device}"
                f" against {list(q.shape)} {q.dtype} on {q.device}"
            )
