"""Other programs, run with a time limit that holds even where they hang, leave children behind or print nonsense."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_running: set[subprocess.Popen[bytes]] = set()  # their sessions are their own: Ctrl-C reaches them by `stop_all`
GRACE = 1.0  # seconds that a killed program gets to go away; one that waits for a broken driver may never


@dataclass(frozen=True)
class Ended:
    """How a program ended. `code` is None if it did not start or had to be stopped; then `problem` says so."""

    code: int | None
    output: str
    errors: str
    problem: str = ""


def run_limited(command: Sequence[str], seconds: float) -> Ended:
    """Run a program for at most `seconds`; its output is decoded as UTF-8, whatever it holds."""
    program = shutil.which(command[0])
    if program is None:
        return Ended(None, "", "", f"{command[0]} is not on the PATH")
    name = os.path.basename(program)  # noqa: PTH119 - only the name: a folder is nobody's business here
    try:
        process = subprocess.Popen(  # noqa: S603 - our own programs and NVIDIA's, found on the PATH
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that children which hold the pipes open can be stopped with it
        )
    except OSError as error:
        return Ended(None, "", "", f"{name} cannot be started: {error.strerror or type(error).__name__}")
    _running.add(process)
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        output, errors = _stopped(process)
        return Ended(None, _text(output), _text(errors), f"{name} gave no answer within {seconds:g} s and was stopped")
    finally:
        _running.discard(process)
    return Ended(process.returncode, _text(output), _text(errors))


def stop_all() -> None:
    """Kill every program that other threads are waiting for."""
    for process in tuple(_running):
        _kill(process)


def _stopped(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Kill it and its children; what it had written. Never waits longer than GRACE."""
    _kill(process)
    try:
        return process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        return b"", b""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _text(data: bytes) -> str:
    """Readable text: control characters, which could move the cursor of a terminal, become spaces."""
    decoded = data.decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() or c == "\n" else " " for c in decoded)
