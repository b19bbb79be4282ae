"""The connection to a Ray cluster: refused at once where there is none, quiet, and closed again if it is ours."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from disasym.errors import InputError, MissingExtraError

STALLED = 900  # seconds without any progress after which a run is given up


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to the cluster, quiet, and closed again if it is ours."""
    _check(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of a run
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an exception
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise MissingExtraError("running on a cluster", "ray", "ray") from None
    ours = not ray.is_initialized()
    if ours:
        alone = {"include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **alone)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"no Ray cluster at {address} ({first_line(error)}): start one with `ray start`, or name its head as"
                " host:6379"
            ) from None
    try:
        with _quiet():
            yield
    finally:
        if ours:
            ray.shutdown()


def _check(address: str) -> None:
    """Refuse what Ray would try for a quarter of an hour."""
    if address.startswith("ray://"):
        raise InputError(f"{address} is for Ray's client: run this on a machine of the cluster, with --ray auto")
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster at {address} ({error}): start one with `ray start --head`, or name its head as host:6379"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data's own messages go to its log files alone, and this run's settings are no other's."""
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = STALLED
    handlers = [each for each in logging.getLogger("ray.data").handlers if isinstance(each, logging.StreamHandler)]
    levels = [handler.level for handler in handlers]
    try:
        for handler in handlers:
            handler.setLevel(logging.CRITICAL)
        with DataContext.current(context):
            yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


def patience() -> float:
    """Seconds without any progress after which this run is given up."""
    from ray.data import DataContext

    return float(DataContext.get_current().execution_no_progress_timeout_s)


def first_line(error: BaseException) -> str:
    """The sentence of ours in what Ray makes of an error, else its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("disasym.errors.")]
    return (ours or lines or [type(error).__name__])[-1 if ours else 0][:400]
