"""Memory of the TensorRT engines: pinned and device arrays, allocated once, grown when needed, reused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from disasym.engines.trt_cuda import Gpu
from disasym.spec import Array

FLOAT32 = 4  # bytes
SLOTS = 2  # chunks under way at a time: one computes while the other is copied
Shapes = Mapping[str, tuple[int, ...]]  # tensor → shape of one pair


class Memory:
    """Allocations that are freed together. Everything here is called within `Gpu.current()`."""

    def __init__(self, gpu: Gpu) -> None:
        self._driver = gpu.driver
        self._held: list[Any] = []

    def on_device(self, size: int) -> Any:
        """`size` bytes of the GPU; `int()` of it is the address. pycuda's MemoryError if there is no room."""
        allocation = self._driver.mem_alloc(size)
        self._held.append(allocation)
        return allocation

    def pinned(self, shape: tuple[int, ...]) -> Array:
        """A float32 array that the GPU can copy from and to on its own. pycuda's MemoryError if there is no room."""
        array: Array = self._driver.pagelocked_empty(shape, np.float32)
        self._held.append(array.base)
        return array

    def free(self) -> None:
        """Free all of it. Nothing on the GPU may still use it."""
        while self._held:
            self._held.pop().free()


class Slot:
    """What one chunk passes through: pinned and device memory, and events that say how far it came."""

    def __init__(self, gpu: Gpu, memory: Memory, shapes: Shapes, pairs: int) -> None:
        self.host = {name: memory.pinned((pairs, *shape)) for name, shape in shapes.items()}
        self.device = {name: memory.on_device(_bytes(shape) * pairs) for name, shape in shapes.items()}
        self.uploaded, self.computed, self.downloaded = gpu.event(), gpu.event(), gpu.event()


class Buffers:
    """Two slots, and the device memory that the engine itself reads and writes, whose addresses stay.

    Addresses that stay let TensorRT-RTX replay its CUDA graph; copies between the slots and them are on the device.
    """

    def __init__(self, gpu: Gpu, shapes: Shapes) -> None:
        self._gpu, self._shapes = gpu, shapes
        self._memory = Memory(gpu)
        self.pairs = 0  # room for this many
        self.slots: tuple[Slot, ...] = ()
        self.bound: dict[str, Any] = {}

    def hold(self, pairs: int) -> bool:
        """Have room for `pairs`; whether that moved anything. On pycuda's MemoryError nothing is held."""
        if pairs <= self.pairs:
            return False
        self.free()
        with _all_or_nothing(self):
            self.bound = {name: self._memory.on_device(_bytes(shape) * pairs) for name, shape in self._shapes.items()}
            self.slots = tuple(Slot(self._gpu, self._memory, self._shapes, pairs) for _ in range(SLOTS))
            self.pairs = pairs
        return True

    def bytes_of(self, name: str, pairs: int) -> int:
        """What `pairs` take of a tensor."""
        return _bytes(self._shapes[name]) * pairs

    def free(self) -> None:
        """Free all of it. Nothing on the GPU may still use it."""
        self.pairs, self.slots, self.bound = 0, (), {}
        self._memory.free()


class Scratch:
    """The engine's activations: one block of device memory, as large as the largest chunk so far needed."""

    def __init__(self, gpu: Gpu) -> None:
        self._memory = Memory(gpu)
        self.size = 0
        self.address = 0

    def hold(self, size: int) -> None:
        """Have `size` bytes. Nothing on the GPU may use the old ones. On pycuda's MemoryError nothing is held."""
        if size > self.size:
            self.free()
            self.address = int(self._memory.on_device(size))
            self.size = size

    def free(self) -> None:
        """Free it."""
        self.size = self.address = 0
        self._memory.free()


@contextmanager
def _all_or_nothing(buffers: Buffers) -> Iterator[None]:
    try:
        yield
    except BaseException:
        buffers.free()
        raise


def _bytes(shape: tuple[int, ...]) -> int:
    return FLOAT32 * int(np.prod(shape, dtype=np.int64))
