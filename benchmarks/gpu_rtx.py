"""TensorRT-RTX on PyTorch's memory, and the probe: whether it runs on this GPU at all.

NVIDIA documents compute capabilities 8.0, 8.6, 8.9, 12.0 "and later"; an H200, which has 9.0, refused every engine,
whatever it was built for (docs/log.md). An attempt builds a small engine, opens it, runs it and compares it with eager
PyTorch, in a process of its own.
"""

import importlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_part import INFO, PASS, Part, Record, require
from disasym.engines.eager import settings
from disasym.engines.trt_plan import INPUT, make_context, make_logger, named
from disasym.errors import ExportError
from disasym.export.tolerances import tolerance
from disasym.spec import Array

MODULE = "tensorrt_rtx_bindings"
PROBE, BUILD, RUN = "probe", "build", "run"
INT8 = "int8"  # an attempt with the int8 graph that an export holds
ATTEMPTS = ("default", INT8)
LARGEST = 4  # pairs


class RefusedError(Exception):
    """TensorRT-RTX would not; the message holds its own words."""


class OnTorch:
    """A deserialised engine that reads and writes PyTorch's tensors: no pycuda, and no copies to and from the host.

    The context is made as the engine of disasym makes it. Not for more than one thread.
    """

    def __init__(self, trt: Any, plan: bytes, device: str, stream: int) -> None:
        """Open a plan. `stream`: the handle of the CUDA stream that everything is put into.

        Raises:
            RefusedError: it cannot be opened or made ready.
        """
        self._logger = make_logger(trt)
        self._library, self._device, self._stream = named(trt), device, stream
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._refused("cannot open the engine")
        self._context = make_context(trt, self._engine)
        if self._context is None or not self._context.set_optimization_profile_async(0, stream):
            raise self._refused("cannot make the engine ready")
        self._outputs: dict[str, Tensor] = {}
        self._scratch = torch.empty(0)
        self._ready = (0, 0)  # the views' address, and how many pairs

    def __call__(self, views: Tensor) -> dict[str, Tensor]:
        """Put one run into the stream. Outputs lie in the same memory for every batch of this size.

        Args:
            views: float32 [B, 2, H, W], contiguous, on the device.

        Raises:
            RefusedError: the batch, or to run.
        """
        self._logger.errors.clear()
        if self._ready != (views.data_ptr(), len(views)):
            self._prepare(views)
        if not self._context.execute_async_v3(self._stream):
            raise self._refused(f"does not run {len(views)} pairs")
        return self._outputs

    def _prepare(self, views: Tensor) -> None:
        if not self._context.set_input_shape(INPUT, tuple(views.shape)):
            raise self._refused(f"refuses {len(views)} pairs")
        size = max(self._context.update_device_memory_size_for_shapes(), 256)
        if self._scratch.nbytes < size:
            self._scratch = torch.empty(size, dtype=torch.uint8, device=self._device)
        self._context.set_device_memory(self._scratch.data_ptr(), self._scratch.nbytes)
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in names if name != INPUT}
        self._outputs = {
            name: torch.full(shape, torch.nan, dtype=torch.float32, device=self._device)  # what is not written shows
            for name, shape in shapes.items()
        }
        for name, tensor in {INPUT: views, **self._outputs}.items():
            if self._engine.get_tensor_dtype(name).name != "FLOAT":
                raise RefusedError(f"{name} is {self._engine.get_tensor_dtype(name).name}, not FLOAT")
            if not self._context.set_tensor_address(name, tensor.data_ptr()):
                raise self._refused(f"refuses the memory of {name}")
        self._ready = (views.data_ptr(), len(views))

    def _refused(self, what: str) -> RefusedError:
        return RefusedError(f"{self._library} {what}: {'; '.join(self._logger.errors) or 'it gave no reason'}")


def probe(part: Part) -> None:
    """One attempt, by its name in ATTEMPTS. A refusal is what this is to find out: INFO with the exact words."""
    from disasym.export.to_tensorrt import build

    (name,) = part.arguments
    try:
        library: Any = importlib.import_module(MODULE)
    except (ImportError, OSError) as problem:
        part.report(BUILD, INFO, f"{MODULE} cannot be imported: {problem}")
        return
    graph, views, expected = _small(part, name)
    with TemporaryDirectory() as folder:
        try:
            built = build(graph, Path(folder), max_batch=LARGEST)
        except ExportError as problem:
            part.report(BUILD, INFO, f"refused: {problem}")
            return
        facts = built.facts
        part.report(BUILD, INFO, f"{facts['engine_bytes']} bytes in {facts['seconds']} s, {facts['attention']}")
        plan = built.engine.read_bytes()
    precision = INT8 if name == INT8 else "fp16"
    try:
        found = run_once(library, plan, views, part.device)
    except RefusedError as refusal:
        part.report(RUN, INFO, f"refused: {refusal}")
        return
    part.check(RUN, lambda: _close(found, expected, precision), seconds=0)


def _small(part: Part, attempt: str) -> tuple[bytes, Array, dict[str, Array]]:
    """The `small` network as a graph, pairs, and what eager PyTorch in float32 makes of them on this device."""
    from disasym.bench.lively import lively
    from disasym.export.mixed import mixed
    from disasym.export.parity import synthetic_pairs
    from disasym.export.quantise import quantise
    from disasym.export.to_onnx import to_onnx

    network = lively("small")
    views = synthetic_pairs(network.config.height, network.config.width, LARGEST)
    graph = to_onnx(network)
    graph = quantise(graph, views).model if attempt == INT8 else mixed(graph, "fp16")
    network.to(part.device)
    with torch.inference_mode(), settings(None):
        outputs = network(torch.from_numpy(views).to(part.device))
        return graph, views, {name: value.cpu().numpy() for name, value in outputs._asdict().items()}


def run_once(library: Any, plan: bytes, views: Array, device: str) -> dict[str, Array]:
    """Open a plan and run it, all pairs together and then the first one alone, which must come out alike."""
    stream = torch.cuda.Stream() if device == "cuda" else None  # type: ignore[no-untyped-call]
    engine = OnTorch(library, plan, device, 0 if stream is None else stream.cuda_stream)
    given = torch.from_numpy(views).to(device)
    found = []
    for batch in (given, given[:1]):
        if stream is not None:
            torch.cuda.synchronize()
        outputs = engine(batch)
        if stream is not None:
            stream.synchronize()
        found.append({name: value.cpu().numpy().copy() for name, value in outputs.items()})
    together, alone = found
    return {name: np.concatenate([together[name], alone[name]]) for name in together}


def _close(found: dict[str, Array], expected: dict[str, Array], precision: str) -> str:
    deltas = {}
    for name, value in expected.items():
        wanted = np.concatenate([value, value[:1]])
        deltas[name] = float(np.abs(found[name] - wanted).max())
    text = ", ".join(f"|Δ {name}| {delta:.1e}" for name, delta in deltas.items())
    beyond = [name for name, delta in deltas.items() if not delta <= tolerance(precision, name)]
    require(not beyond, f"runs, and {', '.join(beyond)} differ: {text}")
    return f"runs and agrees with eager: {text}"


def runs_here(records: list[Record]) -> bool:
    """Whether an engine of the probe ran and agreed."""
    return any((one.part, one.check, one.status) == (f"{PROBE} default", RUN, PASS) for one in records)


def told(records: list[Record]) -> list[str]:
    """What the probe found out: the answer, then how each attempt ended."""
    attempts = {one.part: one for one in records if one.part.split()[0] == PROBE}  # the last word of each
    answer = "runs" if runs_here(records) else "does not run" if attempts else "was not probed"
    ends = [f"  {name.split()[-1]}: {' '.join(one.detail.split())}" for name, one in attempts.items()]
    return [f"TensorRT-RTX on this GPU: {answer}", *ends]
