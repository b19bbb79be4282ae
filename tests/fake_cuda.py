"""CUDA without a GPU: `pycuda.driver` with host memory in the place of the device's, and a TensorRT that runs ONNX.

Streams do their work as late as they may: when somebody waits for it. What was not waited for is therefore not there,
or was overwritten before it was read, and shows in the numbers. Names and arguments are those of pycuda 2026.1
(src/wrapper/wrap_cudadrv.cpp) and of tensorrt_rtx 1.7.1.
"""

import ctypes
import sys
import threading
from collections.abc import Callable
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

VERSION = "9.9.9"


class Error(Exception):
    """pycuda's, which is no RuntimeError."""


class OutOfMemoryError(Error):
    """`pycuda.driver.MemoryError`, which is not Python's."""


class Machine:
    """What the fakes share: memory in use, the room there is, and the contexts of each thread."""

    def __init__(self) -> None:
        self.room = 1 << 40
        self.device: dict[int, Any] = {}
        self.pinned: list[Any] = []
        self.stacks = threading.local()
        self.streams: dict[int, Stream] = {}
        self.allocations = 0
        self.captured: list[tuple[int, ...]] = []
        self.refuse = ""  # what TensorRT says instead of running

    def depth(self) -> int:
        return int(getattr(self.stacks, "depth", 0))

    def used(self) -> int:
        return sum(len(block) for block in self.device.values())

    def require_context(self) -> None:
        if not self.depth():
            raise Error("no currently active context?")


class Context:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def push(self) -> None:
        self.machine.stacks.depth = self.machine.depth() + 1

    def pop(self) -> None:
        self.machine.require_context()
        self.machine.stacks.depth -= 1


class Stream:
    def __init__(self, machine: Machine, flags: int = 0) -> None:
        machine.require_context()
        self.machine, self.handle, self.flags = machine, id(self), flags
        self.work: list[Callable[[], None]] = []
        machine.streams[self.handle] = self

    def run_until(self, count: int) -> None:
        while self.work and self.done < count:
            self.done += 1
            self.work.pop(0)()

    done = 0

    def enqueued(self) -> int:
        return self.done + len(self.work)

    def synchronize(self) -> None:
        self.machine.require_context()
        self.run_until(self.enqueued())

    def wait_for_event(self, event: "Event") -> None:
        recorded = event.recorded
        if recorded is not None:
            self.work.append(lambda: recorded[0].run_until(recorded[1]))


class Event:
    def __init__(self, machine: Machine, flags: int = 0) -> None:
        machine.require_context()
        self.recorded: tuple[Stream, int] | None = None

    def record(self, stream: Stream) -> "Event":
        self.recorded = stream, stream.enqueued()
        return self

    def synchronize(self) -> "Event":
        if self.recorded:
            self.recorded[0].run_until(self.recorded[1])
        return self


class Allocation:
    def __init__(self, machine: Machine, size: int) -> None:
        machine.require_context()
        if machine.used() + size > machine.room:
            raise OutOfMemoryError("cuMemAlloc failed: out of memory")
        self.machine, self.block = machine, ctypes.create_string_buffer(b"\xff" * size, size)
        machine.allocations += 1
        machine.device[int(self)] = self.block

    def __int__(self) -> int:
        return ctypes.addressof(self.block)

    def free(self) -> None:
        self.machine.require_context()
        del self.machine.device[int(self)]


class Pinned:
    def __init__(self, machine: Machine, shape: tuple[int, ...], dtype: Any) -> None:
        machine.require_context()
        self.machine, self.array = machine, np.full(shape, np.nan, dtype)
        self.__array_interface__ = self.array.__array_interface__
        machine.pinned.append(self)

    def free(self) -> None:
        self.machine.require_context()
        self.machine.pinned.remove(self)


def copy(machine: Machine, to: int, of: int, size: int) -> None:
    for address in {to, of} & set(machine.device):
        assert size <= len(machine.device[address]), "a copy beyond the end of an allocation"
    ctypes.memmove(to, of, size)


def driver(machine: Machine) -> ModuleType:
    def host_to_device(dest: Allocation, src: np.ndarray, stream: Stream) -> None:
        stream.work.append(lambda: copy(machine, int(dest), src.ctypes.data, src.nbytes))

    def device_to_host(dest: np.ndarray, src: Allocation, stream: Stream) -> None:
        stream.work.append(lambda: copy(machine, dest.ctypes.data, int(src), dest.nbytes))

    def device_to_device(dest: Allocation, src: Allocation, size: int, stream: Stream) -> None:
        stream.work.append(lambda: copy(machine, int(dest), int(src), size))

    module = ModuleType("pycuda.driver")
    module.__dict__.update(
        init=lambda: None,
        Error=Error,
        MemoryError=OutOfMemoryError,
        Device=lambda ordinal: SimpleNamespace(retain_primary_context=lambda: Context(machine)),
        Stream=lambda flags=0: Stream(machine, flags),
        Event=lambda flags=0: Event(machine, flags),
        event_flags=SimpleNamespace(DISABLE_TIMING=2),
        mem_alloc=lambda size: Allocation(machine, size),
        pagelocked_empty=lambda shape, dtype: np.asarray(Pinned(machine, shape, dtype)),
        memcpy_htod_async=host_to_device,
        memcpy_dtoh_async=device_to_host,
        memcpy_dtod_async=device_to_device,
    )
    return module


Mode = Enum("Mode", ["INPUT", "OUTPUT"])
Kind = Enum("Kind", ["FLOAT", "HALF"])
Location = Enum("Location", ["DEVICE", "HOST"])
Layout = Enum("Layout", ["LINEAR", "CHW2"])
Strategy = Enum("Strategy", ["STATIC", "USER_MANAGED", "WHOLE_GRAPH_CAPTURE", "EAGER"])


class Engine:
    """An ONNX model in the place of a plan."""

    def __init__(self, machine: Machine, logger: Any, plan: bytes, largest: int) -> None:
        self.machine, self.logger, self.largest = machine, logger, largest
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.inputs = self.session.get_inputs()
        self.nodes = {node.name: node for node in (*self.inputs, *self.session.get_outputs())}
        self.num_io_tensors = len(self.nodes)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.nodes)[index])

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == self.inputs[0].name else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Kind:
        return Kind.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.nodes[name].shape[1:])

    def get_tensor_location(self, name: str) -> Location:
        return Location.DEVICE

    def get_tensor_format(self, name: str) -> Layout:
        return Layout.LINEAR

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(count, *self.nodes[name].shape[1:]) for count in (1, self.largest, self.largest)]

    def create_runtime_config(self) -> Any:
        return RuntimeConfig()

    def create_execution_context(self, _: Any) -> "Execution":
        return Execution(self)


class RuntimeConfig:
    """Takes what it knows and nothing else."""

    __slots__ = ("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy")

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        pass


class Execution:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.machine = engine, engine.machine
        self.addresses: dict[str, int] = {}
        self.memory = (0, 0)
        self.pairs = 0

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        return profile_index == 0

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return memory in self.machine.device

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.pairs = shape[0]
        return self.pairs <= self.engine.largest

    def update_device_memory_size_for_shapes(self) -> int:
        return 1000 * self.pairs

    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = memory, size

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.pairs, *self.engine.nodes[name].shape[1:])

    def execute_async_v3(self, stream_handle: int) -> bool:
        self.machine.require_context()
        if self.machine.refuse:
            self.engine.logger.log(SimpleNamespace(name="ERROR"), self.machine.refuse)
            return False
        assert self.memory[0] in self.machine.device
        assert self.memory[1] >= 1000 * self.pairs
        addresses, pairs = dict(self.addresses), self.pairs
        if (key := (pairs, *addresses.values())) not in self.machine.captured:
            self.machine.captured.append(key)
        self.machine.streams[stream_handle].work.append(lambda: self._run(addresses, pairs))
        return True

    def _run(self, addresses: dict[str, int], pairs: int) -> None:
        (views,) = self.engine.inputs
        shape = (pairs, *views.shape[1:])
        given = np.empty(shape, np.float32)
        copy(self.machine, given.ctypes.data, addresses[views.name], given.nbytes)
        outputs = self.engine.session.run(None, {views.name: given})
        for node, value in zip(self.engine.session.get_outputs(), outputs, strict=True):
            copy(self.machine, addresses[node.name], value.ctypes.data, value.nbytes)


def library(machine: Machine, name: str, largest: int) -> ModuleType:
    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            machine.require_context()
            try:
                onnx.load_from_string(plan)
                return Engine(machine, self.logger, plan, largest)
            except Exception:
                self.logger.log(SimpleNamespace(name="ERROR"), "Serialization assertion failed.")
                self.logger.log(SimpleNamespace(name="ERROR"), "and what follows from it")
                return None

    module = ModuleType(name)
    module.__dict__.update(
        __version__=VERSION,
        ILogger=type("ILogger", (), {}),
        Runtime=Runtime,
        TensorLocation=Location,
        TensorFormat=Layout,
        ExecutionContextAllocationStrategy=Strategy,
    )
    if name != "tensorrt":
        module.__dict__.update(CudaGraphStrategy=Strategy, DynamicShapesKernelSpecializationStrategy=Strategy)
    return module


def install(patch: pytest.MonkeyPatch, engine: str, largest: int) -> Machine:
    """Put the fakes where the engine looks for pycuda, TensorRT and the GPU."""
    from disasym.engines import trt

    machine = Machine()
    name = trt.MODULES[engine][0]
    modules = {
        "pycuda": ModuleType("pycuda"),
        "pycuda.driver": driver(machine),
        name: library(machine, name, largest),
    }
    for key, module in modules.items():
        module.__spec__ = ModuleSpec(key, None)
        patch.setitem(sys.modules, key, module)
    patch.setattr(trt, "find_gpu", lambda: (8, 9))
    return machine
