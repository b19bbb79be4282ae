"""What every engine is: views in, outputs out, the same checks around each."""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from disasym.errors import EngineError, InputError
from disasym.spec import OUTPUTS, Array, Outputs, all_finite, check_views, output_shapes


@dataclass(frozen=True)
class EngineInfo:
    """Which model an engine runs, and within which bounds."""

    preset: str
    height: int
    width: int
    precision: str  # "fp32", "fp16", "bf16" or "int8"
    model_sha256: str  # of the weights file: one model has one identity in every engine
    device: str  # "cpu" or "cuda"
    max_batch: int | None  # None: as memory allows
    outputs: tuple[str, ...] = OUTPUTS  # what it returns; the others are None in `Outputs`
    calibrated: bool = False  # its probabilities went through temperatures: see `disasym.temperature`


class Engine(ABC):
    """A loaded model. Made by `disasym.engines.load`; a context manager; calls from several threads take turns.

    A backend implements `_infer` and `_release`; `name` is what `load(engine=...)` and the result rows call it.
    """

    name: str

    def __init__(self, info: EngineInfo) -> None:
        self.info = info
        self._lock = threading.Lock()
        self._closed = False

    def run(self, views: Array) -> Outputs:
        """Run one batch; nothing is split or padded.

        Args:
            views: float32 [B, 2, H, W] as in `disasym.spec`; left unchanged.

        Returns:
            Outputs of fresh float32 arrays that the caller owns.

        Raises:
            InputError: `views` breaks its contract, or is larger than `info.max_batch`.
            EngineError: the engine is closed, failed, or returned wrong shapes, NaN or infinity.
            MemoryError: the batch does not fit into memory; the engine stays usable for a smaller one.
        """
        check_views(views, self.info.height, self.info.width)
        if self.info.max_batch is not None and len(views) > self.info.max_batch:
            raise InputError(
                f"a batch of {len(views)} pairs is above the {self.info.max_batch} that this {self.name} engine takes:"
                " give it fewer at a time"
            )
        with self._lock:
            if self._closed:
                raise EngineError(f"this {self.name} engine is closed: load the model again")
            raw = self._infer(np.ascontiguousarray(views))
        return self._checked(raw, len(views))

    def close(self) -> None:
        """Free what the engine holds; a second call does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._release()

    @abstractmethod
    def _infer(self, views: Array) -> Mapping[str, Array]:
        """The outputs by name, fresh, for a contiguous batch that was checked; one thread at a time."""

    @abstractmethod
    def _release(self) -> None:
        """Free everything; called once."""

    def _checked(self, raw: Mapping[str, Array], batch: int) -> Outputs:
        for name, shape in output_shapes(batch, self.info.height, self.info.width, self.info.outputs).items():
            value = raw[name]
            if value.shape != shape or value.dtype != np.float32:
                raise EngineError(
                    f"the {self.name} engine returned {name} as {value.dtype} {list(value.shape)},"
                    f" wanted float32 {list(shape)}: export the model again"
                )
            if not all_finite(value):
                raise EngineError(
                    f"the {self.name} engine returned NaN or infinity in {name}; its input was finite, so weights or"
                    " arithmetic overflowed: no result is given for this batch"
                )
        return Outputs(**{name: raw[name] for name in self.info.outputs})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def usable_cores() -> int:
    """Processor cores that this process may use (a container or `taskset` may allow fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
