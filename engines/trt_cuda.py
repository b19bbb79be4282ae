"""The GPU for the TensorRT engines: the driver's word on whether there is one, and pycuda's primary context.

Imports pycuda when a GPU is used, and never torch: both meet in the primary context of the device, which the CUDA
runtime uses too, so that streams and memory of each are valid to the other.
"""

import ctypes
import functools
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from disasym.errors import EngineError

ORDINAL = 0  # the first GPU that CUDA_VISIBLE_DEVICES leaves
# From cuda.h; pycuda has no name for the second, and no other way to ask before it is imported for the others.
NO_DEVICE, STUB_LIBRARY = 100, 34
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no waiting for the default stream, which PyTorch works on
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…


def find_gpu() -> tuple[int, int] | str:
    """The compute capability of the GPU, or in words why there is none. Asks the driver itself: no package needed."""
    try:
        driver = _driver()
    except OSError:
        return "no GPU"
    number, device = ctypes.c_int(0), ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(number))
    if code in (NO_DEVICE, STUB_LIBRARY) or (code == 0 and number.value == 0):
        return "no GPU"
    if code == 0:
        code = driver.cuDeviceGet(ctypes.byref(device), ORDINAL)
    capability = []
    for attribute in (MAJOR, MINOR):
        code = code or driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        capability.append(number.value)
    return f"the NVIDIA driver answers with error {code}" if code else (capability[0], capability[1])


def gpu_facts() -> dict[str, str]:
    """What the driver says of the GPU that `find_gpu` found: name, compute capability ("SM90"), newest CUDA it runs.

    Raises:
        EngineError: there is no GPU.
    """
    if isinstance(capability := find_gpu(), str):
        raise EngineError(f"no GPU can be described, {capability}: run this on a machine with an NVIDIA GPU")
    driver = _driver()
    name, device, version = ctypes.create_string_buffer(256), ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGet(ctypes.byref(device), ORDINAL)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDriverGetVersion(ctypes.byref(version))
    return {
        "name": name.value.decode(errors="replace"),
        "compute_capability": f"SM{capability[0]}{capability[1]}",
        "cuda_of_driver": f"{version.value // 1000}.{version.value % 1000 // 10}",
    }


def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def import_pycuda() -> Any:
    """`pycuda.driver`, initialised.

    Raises:
        ImportError: pycuda is absent (ModuleNotFoundError), or was built for another CUDA or Python.
    """
    driver = importlib.import_module("pycuda.driver")
    driver.init()
    return driver


class Gpu:
    """pycuda, and the primary context of the GPU. `current()` goes around every call, in whichever thread it is."""

    def __init__(self) -> None:
        self.driver = import_pycuda()
        self._context = _primary_context(self.driver)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in this thread, and give the thread back what it had.

        pycuda's stack of contexts belongs to a thread, and ends the process if the thread ends before it is empty.
        """
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def stream(self) -> Any:
        """A stream of its own; call it within `current()`."""
        return self.driver.Stream(NON_BLOCKING)

    def event(self) -> Any:
        """An event that only orders; call it within `current()`."""
        return self.driver.Event(self.driver.event_flags.DISABLE_TIMING)


@functools.cache
def _primary_context(driver: Any) -> Any:
    """Retained once and kept until the process ends, as the CUDA runtime and PyTorch do.

    pycuda 2026.1 cannot release it cleanly: `detach` leaves a context that it released current in the thread
    (src/cpp/cuda.hpp, `context::detach`), and does nothing in any thread but the one that retained it.
    """
    return driver.Device(ORDINAL).retain_primary_context()
