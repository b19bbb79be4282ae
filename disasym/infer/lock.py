"""One run at a time in a folder of results: a second one would empty the tables of the first.

The lock is the operating system's and ends with the process that has it, however that ends: none has to be removed by
hand. A file beside it says who has it. The lock's own file stays, empty: removing it would let two runs have one each.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from disasym.errors import InputError

LOCK, RUNNING = ".lock", ".running"


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Have the folder `out`, made if it is not there, for this run alone.

    Raises:
        InputError: another run has it (which, where and since when), or it cannot be written.
    """
    lock = FileLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        (out / RUNNING).write_text(json.dumps(_us()))
    except Timeout:
        raise InputError(
            f"{out}: {_holder(out / RUNNING)} is writing its results here: wait for it, or name another folder"
        ) from None
    except OSError as error:
        lock.release()
        raise InputError(f"{out}: results cannot be written ({error.strerror}): name another folder") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone, or may not be written any more
            (out / RUNNING).unlink()
        lock.release()


def _us() -> dict[str, object]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat("T", "seconds")}


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_bytes())
        return f"process {who['pid']} on {who['host']}, since {who['since']},"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun, or has just ended
        return "another run"
