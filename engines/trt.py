"""The TensorRT and TensorRT-RTX engines. Need pycuda; import neither torch nor onnx. README.md has the timeline."""

import importlib
import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from disasym.engines.base import Engine, EngineInfo
from disasym.engines.trt_buffers import SLOTS, Buffers, Slot
from disasym.engines.trt_cuda import Gpu, find_gpu
from disasym.engines.trt_plan import INPUT, Plan
from disasym.errors import DisasymError, EngineError, MissingExtraError
from disasym.export.manifest import Target
from disasym.spec import Array, output_shapes

CHUNK = 8  # pairs on the GPU at a time: 34 MB in and 67 MB out with the preset `paper`
MODULES = {"tensorrt-rtx": ("tensorrt_rtx_bindings", "rtx"), "tensorrt": ("tensorrt", "gpu")}  # engine → module, extra
PYCUDA_REMEDY = "install the CUDA toolkit, whose headers it is built with, then pip install 'disasym[cuda]'"


class TrtEngine(Engine):
    """Runs a `model.engine` on the first GPU."""

    def __init__(self, file: Path, info: EngineInfo, target: Target, chunk: int = CHUNK) -> None:
        """Open a file whose hash was checked.

        Args:
            chunk: pairs that are computed at a time; a larger batch passes through in chunks of this many, so that
                copies and computation overlap. Never more than the engine takes.

        Raises:
            MissingExtraError: TensorRT or pycuda is not installed.
            EngineError: no GPU, another version, compute capability or model, or TensorRT refuses the file.
            MemoryError: the GPU has no room for the weights.
        """
        super().__init__(info)
        self.name = target.engine
        if found := find_obstacle(target):
            raise found.error
        self._chunk = min(chunk, info.max_batch or chunk)
        # With a kernel that was compiled ahead of time, TensorRT 11.2 loses memory at each change of shape
        # (NVIDIA/TensorRT#4849): then every chunk is computed full, and what is beyond its pairs is left where it is.
        self._always_full = "plugin" in target.facts
        self._gpu = _gpu()
        self._driver = self._gpu.driver
        shapes: dict[str, tuple[int, ...]] = {INPUT: (2, info.height, info.width)}
        shapes |= {name: shape[1:] for name, shape in output_shapes(1, info.height, info.width, info.outputs).items()}
        with self._gpu.current():
            try:
                self._copies, self._computes = self._gpu.stream(), self._gpu.stream()
                self._buffers = Buffers(self._gpu, shapes)
                self._plan = Plan(_library(target), file, info, self._gpu, self._computes)
            except self._driver.Error as error:
                raise self._translated(error, f"{file} cannot be opened") from None

    def _infer(self, views: Array) -> dict[str, Array]:
        what = f"a batch of {len(views)} pairs"
        with self._gpu.current():
            try:
                if self._buffers.hold(self._chunk if self._always_full else min(self._chunk, len(views))):
                    self._plan.bind({name: int(memory) for name, memory in self._buffers.bound.items()})
                shapes = output_shapes(len(views), self.info.height, self.info.width, self.info.outputs)
                outputs = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
                self._pass_through(views, outputs)
            except BaseException as error:
                self._settle()
                if isinstance(error, self._driver.Error):
                    raise self._translated(error, what) from None
                if isinstance(error, MemoryError):
                    raise MemoryError(f"{what} does not fit into memory: {error}") from None
                raise
        return outputs

    def _pass_through(self, views: Array, outputs: dict[str, Array]) -> None:
        """All chunks, in order. While chunk i computes, chunk i + 1 is uploaded and chunk i - 1 is downloaded."""
        chunks = [slice(at, min(at + self._chunk, len(views))) for at in range(0, len(views), self._chunk)]
        slots = [self._buffers.slots[number % SLOTS] for number in range(len(chunks))]
        self._upload(slots[0], views[chunks[0]])
        for i, chunk in enumerate(chunks):
            self._compute(slots[i], chunk.stop - chunk.start)
            if i + 1 < len(chunks):
                self._upload(slots[i + 1], views[chunks[i + 1]])
            self._download(slots[i], chunk.stop - chunk.start)
            if i > 0:
                self._collect(slots[i - 1], outputs, chunks[i - 1])
        self._collect(slots[-1], outputs, chunks[-1])

    def _upload(self, slot: Slot, views: Array) -> None:
        slot.uploaded.synchronize()  # what was in the pinned memory before has left it
        staged = slot.host[INPUT][: len(views)]
        np.copyto(staged, views)
        self._copies.wait_for_event(slot.computed)  # … and what was in the device memory has been read
        self._driver.memcpy_htod_async(slot.device[INPUT], staged, self._copies)
        slot.uploaded.record(self._copies)

    def _compute(self, slot: Slot, pairs: int) -> None:
        bound = self._buffers.bound
        self._computes.wait_for_event(slot.uploaded)
        self._copy_on_device(bound[INPUT], slot.device[INPUT], INPUT, pairs)
        self._plan.enqueue(self._chunk if self._always_full else pairs)
        for name in self.info.outputs:  # into memory that was collected before: `_pass_through` is in that order
            self._copy_on_device(slot.device[name], bound[name], name, pairs)
        slot.computed.record(self._computes)

    def _copy_on_device(self, to: Any, of: Any, name: str, pairs: int) -> None:
        self._driver.memcpy_dtod_async(to, of, self._buffers.bytes_of(name, pairs), self._computes)

    def _download(self, slot: Slot, pairs: int) -> None:
        self._copies.wait_for_event(slot.computed)
        for name in self.info.outputs:
            self._driver.memcpy_dtoh_async(slot.host[name][:pairs], slot.device[name], self._copies)
        slot.downloaded.record(self._copies)

    def _collect(self, slot: Slot, outputs: dict[str, Array], chunk: slice) -> None:
        slot.downloaded.synchronize()
        for name, whole in outputs.items():
            np.copyto(whole[chunk], slot.host[name][: chunk.stop - chunk.start])

    def _settle(self) -> None:
        """After a failure: let what is under way end, so that the next run finds memory that nobody uses."""
        self._plan.forget()
        for stream in (self._computes, self._copies):
            with suppress(self._driver.Error):  # the failure again: its first report is the one to raise
                stream.synchronize()

    def _translated(self, error: Exception, what: str) -> Exception:
        if isinstance(error, self._driver.MemoryError):
            return MemoryError(f"{what} does not fit into memory: {error}")
        return EngineError(f"{what} failed on the GPU: {error}; if the next one fails too, start the program again")

    def _release(self) -> None:
        with self._gpu.current():
            self._settle()
            self._plan.free()
            self._buffers.free()
            del self._copies, self._computes  # destroyed here, where their context is current


# What TensorRT-RTX 1.7.1 named when an H200, which has 9.0, refused its engines (docs/log.md).
RTX_RUNS_ON, RTX_AND_FROM = ((8, 0), (8, 6), (8, 9)), (12, 0)


@dataclass(frozen=True)
class Obstacle:
    """Why an engine cannot run on this machine."""

    clause: str  # as in "not run (no GPU)"
    error: DisasymError  # what `load` raises: one sentence with the next step


def find_obstacle(target: Target) -> Obstacle | None:
    """What keeps an engine from running here, the GPU first: without one nothing else matters."""
    engine, (module, extra) = target.engine, MODULES[target.engine]
    gpu = find_gpu()
    if isinstance(gpu, str):
        return _refusal(engine, gpu, "run it on a machine with an NVIDIA GPU, or ask for another engine")
    wanted = target.facts.get("compute_capabilities")  # a list only if some were named when it was built
    has = f"SM{gpu[0]}{gpu[1]}"
    if isinstance(wanted, list) and has not in wanted and "CURRENT" not in wanted:
        clause = f"built for compute capability {', '.join(map(str, wanted))}, this GPU has {has}"
        return _refusal(engine, clause, "export the model again for this GPU")
    if engine == "tensorrt-rtx" and not isinstance(wanted, list) and not (gpu in RTX_RUNS_ON or gpu >= RTX_AND_FROM):
        clause = f"TensorRT-RTX does not support compute capability {gpu[0]}.{gpu[1]}, which this GPU has"
        return _refusal(engine, clause, "ask for another engine: aotinductor, onnxruntime or tensorrt")
    for package, name, remedy in ((module, extra, ""), ("pycuda", "cuda", PYCUDA_REMEDY)):
        if importlib.util.find_spec(package) is None:
            absent = MissingExtraError(f"the {engine} engine", package, name, remedy)
            return Obstacle(f"{package} is not installed", absent)
    try:
        library = _library(target)
    except (ImportError, OSError) as error:
        return _refusal(engine, f"{module} cannot be imported: {error}", f"pip install --force-reinstall {module}")
    built = target.versions.get(module)
    if library.__version__ != built:
        remedy = f"install {module} {built}, for an engine runs with that version alone, or export the model again"
        return _refusal(engine, f"built by {module} {built}, this is {library.__version__}", remedy)
    return None


def problem(target: Target, _: str) -> str:
    """Why a target cannot run on this machine, "" if it can."""
    found = find_obstacle(target)
    return found.clause if found else ""


def _refusal(engine: str, clause: str, remedy: str) -> Obstacle:
    return Obstacle(clause, EngineError(f"the {engine} engine cannot run here, {clause}: {remedy}"))


def _library(target: Target) -> Any:
    return importlib.import_module(MODULES[target.engine][0])


def _gpu() -> Gpu:
    try:
        return Gpu()
    except ImportError as error:
        raise EngineError(
            f"pycuda cannot be imported: {error}; build it again with this machine's CUDA toolkit: pip install"
            " --force-reinstall --no-cache-dir pycuda"
        ) from None
