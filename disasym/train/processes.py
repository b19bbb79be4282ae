"""One training in several processes, one a GPU: who we are, and what the processes tell one another.

    torchrun --nproc-per-node 4 -m disasym train --device cuda …

torchrun starts the processes and says in the environment how many there are; without it there is one. What is shared
out and why the result is that of one process: docs/adr/0020.
"""

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from disasym.errors import InputError

T = TypeVar("T")
LONGEST_WAIT = datetime.timedelta(minutes=30)  # for another process, which may be reading its images for the first time
LOST = re.compile("closed by peer|reset by peer|broken pipe|timed out|timeout|aborted", re.IGNORECASE)


@dataclass(frozen=True)
class Processes:
    """This process among all of the training."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"  # of this process

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user; no other does, but for preprocessed pairs."""
        return self.rank == 0

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this process: neighbours, as many as any other has or one more or less."""
        start, end = (len(items) * rank // self.count for rank in (self.rank, self.rank + 1))
        return items[start:end]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same in each; without gradient."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """What every process has to say, in the order of their ranks. `value` is small and can be pickled."""
        if self.count == 1:
            return [value]
        found: list[T | None] = [None] * self.count
        dist.all_gather_object(found, value)
        return [each for each in found if each is not None]

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()


def is_first() -> bool:
    """`Processes.first`, asked before or after a training."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun has started, this one among them; without torchrun this one alone.

    Args:
        device: cpu, cuda or cuda:N. With several processes on GPUs, cuda: each takes the GPU of its local rank.

    Raises:
        InputError: a device that is not here, or another process was lost.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        check_device(device)
        yield Processes(device=device)
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        if device != "cuda":
            raise InputError(f"{count} processes cannot share {device}: give --device cuda, and each takes a GPU")
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    check_device(device)
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Processes(dist.get_rank(), count, device)
    except (RuntimeError, dist.DistError) as error:
        if isinstance(error, dist.DistError) or LOST.search(str(error)):
            raise InputError(
                f"process {dist.get_rank()} of {count} lost another one ({_first_line(error)}); whole epochs are kept:"
                " start again with --resume"
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def check_device(name: str) -> None:
    """Refuse a device that this torch does not have; nothing falls back to the CPU.

    Raises:
        InputError: unknown, or not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}: give cpu, cuda or cuda:N") from None
    present = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(device.type, 0)
    if (device.index or 0) >= present:
        raise InputError(f"device {name!r} is not here: torch {torch.__version__} sees {present} {device.type} devices")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
