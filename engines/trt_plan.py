"""One TensorRT engine file: opened, held against its manifest, and made ready to run batches.

TensorRT and TensorRT-RTX have one Python API; what only one of them has is asked for by name.
"""

from pathlib import Path
from typing import Any

from disasym.engines.base import EngineInfo
from disasym.engines.trt_buffers import Scratch
from disasym.engines.trt_cuda import Gpu
from disasym.errors import EngineError
from disasym.spec import output_shapes

INPUT = "views"
LEAST_SCRATCH = 256  # bytes: an engine that needs none is given some, for a null address is refused by some versions
ERRORS = ("ERROR", "INTERNAL_ERROR")
NO_ROOM = ("out of memory", "outofmemory", "out_of_memory")


class Plan:
    """A deserialised engine and the one context in which it runs. Everything is called within `Gpu.current()`."""

    def __init__(self, trt: Any, file: Path, info: EngineInfo, gpu: Gpu, stream: Any) -> None:
        """Open an engine file.

        Raises:
            EngineError: TensorRT refuses it, or it is not the model of its manifest.
            MemoryError: the GPU has no room for its weights.
        """
        self._file, self._info, self._stream = file, info, stream
        self._logger = make_logger(trt)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            raise self.failure(f"{named(trt)} cannot open {file}", "export the model again on this machine")
        check_engine(trt, self._engine, file, info)
        self._scratch = Scratch(gpu)
        self._context = make_context(trt, self._engine)
        if self._context is None or not self._context.set_optimization_profile_async(0, stream.handle):
            raise self.failure(f"{named(trt)} cannot make {file} ready to run", "see the message, or export it again")
        stream.synchronize()
        self._ready = 0  # pairs that shapes and memory are set for

    def bind(self, addresses: dict[str, int]) -> None:
        """Where views are read and outputs are written from now on.

        Raises:
            EngineError: TensorRT refuses an address.
        """
        self._ready = 0
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self.failure(f"TensorRT refuses the memory for {name}", "report this")

    def enqueue(self, pairs: int) -> None:
        """Put a run of `pairs` into the stream; returns before it is done.

        Raises:
            EngineError: TensorRT refuses the batch, or to run.
            MemoryError: TensorRT has no room for it. pycuda's own, if there is none for the activations.
        """
        self._logger.errors.clear()
        if pairs != self._ready:
            self._prepare(pairs)
        if not self._context.execute_async_v3(self._stream.handle):
            raise self.failure(f"TensorRT failed on {pairs} pairs", "close the engine and open it again")

    def forget(self) -> None:
        """After a failure: set shapes and memory anew before the next run."""
        self._ready = 0

    def free(self) -> None:
        """Free it; nothing may still run. The context goes before its engine, the engine before its runtime."""
        self._context = None
        self._scratch.free()
        self._engine = None
        self._runtime = None

    def failure(self, what: str, remedy: str) -> Exception:
        """What to raise, with TensorRT's own words: its first error, for those that follow are often only of it."""
        said = self._logger.errors[0] if self._logger.errors else "it gave no reason"
        if any(sign in said.lower() for sign in NO_ROOM):
            return MemoryError(f"{what}: {said}")
        return EngineError(f"{what}: {said}; {remedy}")

    def _prepare(self, pairs: int) -> None:
        self._ready = 0
        shape = (pairs, 2, self._info.height, self._info.width)
        if not self._context.set_input_shape(INPUT, shape):
            raise self.failure(f"TensorRT refuses {pairs} pairs for {self._file}", "export the model again")
        needed = max(self._context.update_device_memory_size_for_shapes(), LEAST_SCRATCH)
        if needed > self._scratch.size:
            self._stream.synchronize()  # the chunk before may still use it
            self._scratch.hold(needed)
        self._context.set_device_memory(self._scratch.address, self._scratch.size)
        for name, wanted in output_shapes(pairs, *shape[2:], self._info.outputs).items():
            found = tuple(self._context.get_tensor_shape(name))
            if found != wanted:
                raise EngineError(f"{self._file} makes {name} of {found} for {pairs} pairs, wanted {wanted}")
        self._ready = pairs


def check_engine(trt: Any, engine: Any, file: Path, info: EngineInfo) -> None:
    """The engine's tensors are those of `disasym.spec` at the manifest's size, its batches those of the manifest.

    Raises:
        EngineError: they are not.
    """
    inputs = {INPUT: ("INPUT", "FLOAT", (-1, 2, info.height, info.width))}
    shapes = output_shapes(1, info.height, info.width, info.outputs)
    wanted = inputs | {name: ("OUTPUT", "FLOAT", (-1, *shape[1:])) for name, shape in shapes.items()}
    found = {}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        mode, dtype = engine.get_tensor_mode(name), engine.get_tensor_dtype(name)
        found[name] = (mode.name, dtype.name, tuple(engine.get_tensor_shape(name)))
    if found != wanted:
        raise EngineError(f"{file} is not the model its manifest describes: it has {found}, wanted {wanted}")
    for name in found:
        where, layout = engine.get_tensor_location(name), engine.get_tensor_format(name)
        if where != trt.TensorLocation.DEVICE or layout != trt.TensorFormat.LINEAR:
            raise EngineError(f"{file} wants {name} as {layout.name} in {where.name} memory: export the model again")
    smallest, _, largest = (next(iter(shape)) for shape in engine.get_tensor_profile_shape(INPUT, 0))
    if (smallest, largest) != (1, info.max_batch):
        raise EngineError(
            f"{file} takes batches of {smallest} to {largest}, its manifest says 1 to {info.max_batch}: export the"
            " model again"
        )


def make_context(trt: Any, engine: Any) -> Any:
    """A context whose activations are in our memory; None if TensorRT refuses.

    TensorRT-RTX compiles for each size of batch: at once, before the first run of that size, rather than beside it,
    so that the same views give the same bits from the first run on. It replays a CUDA graph for each size.
    """
    ours = trt.ExecutionContextAllocationStrategy.USER_MANAGED
    if not hasattr(trt, "CudaGraphStrategy"):
        return engine.create_execution_context(ours)
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(ours)
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


def make_logger(trt: Any) -> Any:
    """A TensorRT logger that keeps the errors of a call and drops the rest."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity.name in ERRORS:
                self.errors.append(message.strip())

    return Logger()


def named(trt: Any) -> str:
    """The library with its version, as messages call it."""
    return f"{trt.__name__} {trt.__version__}"
