"""Triton's interpreter, mended for bfloat16, so that the kernels' values can be checked without a GPU.

The interpreter keeps bfloat16 as the 16 bits of a whole number. Up to Triton 3.9 its `dot` multiplies those whole
numbers, and its conversion from float32 cuts off bits where hardware rounds to nearest even. Nothing else is changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


@contextmanager
def faithful_bfloat16() -> Iterator[None]:
    """Within it, interpreted kernels multiply and round bfloat16 as a GPU does."""
    dot, cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def create_dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
        return dot(self, _widened(a), _widened(b), d, *options)

    def cast_impl(self: Any, value: Any, wanted: Any) -> Any:
        found = value.dtype.scalar, wanted.scalar
        if found == (tl.bfloat16, tl.float32):
            return _widened(value)
        if found == (tl.float32, tl.bfloat16):
            return TensorHandle(_rounded(value.data), tl.bfloat16)
        return cast(self, value, wanted)

    with mock.patch.multiple(InterpreterBuilder, create_dot=create_dot, cast_impl=cast_impl):
        yield


def _widened(value: Any) -> Any:
    if value.dtype.scalar != tl.bfloat16:
        return value
    bits = torch.from_numpy(np.ascontiguousarray(value.data).view(np.int16))
    return TensorHandle(bits.view(torch.bfloat16).float().numpy(), tl.float32)


def _rounded(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    rounded = torch.from_numpy(np.ascontiguousarray(numbers)).bfloat16()
    return rounded.view(torch.int16).numpy().view(np.uint16)
