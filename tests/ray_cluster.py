"""A Ray cluster of two machines on this one, for tests, and the processes in it that a test may kill."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MARK = "DISASYM_TEST_CLUSTER"  # in the environment of every process of the cluster
STORE = 200 * 2**20  # bytes of each machine's object store


@contextlib.contextmanager
def two_machines() -> Iterator[Any]:
    """Each with one core to give; `address` is the cluster's. Nothing leaves this machine."""
    from ray.cluster_utils import Cluster

    os.environ[MARK] = f"{os.getpid()}-{time.monotonic_ns()}"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's name; on a busy computer the others would starve them
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE}
    )
    try:
        cluster.second = cluster.add_node(num_cpus=1, object_store_memory=STORE)
        yield cluster
    finally:
        cluster.shutdown()
        del os.environ[MARK]


def working(title: str) -> list[int]:
    """Workers of the cluster that run a task whose title holds this word."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if title.encode() in (process / "cmdline").read_bytes() and mark in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


class Killing(threading.Thread):
    """Kills one worker at each of these tasks as soon as it sees one, in turn, once a run has begun to give results."""

    def __init__(self, begun: Callable[[], bool], titles: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self._begun, self._titles = begun, titles
        self.killed: list[str] = []

    def run(self) -> None:
        while not self._begun():
            time.sleep(0.05)
        for title in self._titles:
            while not (pids := working(title)):
                time.sleep(0.005)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[0], signal.SIGKILL)
                self.killed.append(title)
