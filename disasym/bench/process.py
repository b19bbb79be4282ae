"""The parent's hold on a contender: started, asked, and reported when it fails, hangs or dies."""

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from disasym.bench.contenders import Contender
from disasym.subprocesses import described, python

START = "from disasym.bench.child import serve; serve()"
LONGEST = 600.0  # seconds for one command: an engine that compiles itself takes its time, one that hangs is stopped


class ContenderError(Exception):
    """A contender could not do what it was told; the text is a clause. `alive`: its process still answers."""

    def __init__(self, reason: str, alive: bool) -> None:
        super().__init__(reason)
        self.alive = alive


class Running:
    """One contender's process; a context manager, which ends it."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self._began = time.time()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - this Python, this package
            python(START),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is the parent's: it ends the contenders when it has kept their rows
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()  # "" at the end
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, pairs: Path, threads: int) -> dict[str, Any]:
        """Open the engine and run the first of `pairs`; see `Contestant.open`."""
        fields = asdict(self.contender)
        told = {name: fields[name] for name in ("target", "outputs", "device")}
        folder = str(self.contender.folder)
        return self.ask("open", **told, folder=folder, threads=threads, pairs=str(pairs), began=self._began)

    def ask(self, do: str, limit: float = LONGEST, **arguments: Any) -> dict[str, Any]:
        """One command and its answer. ContenderError when there is none within `limit` seconds, or it says why not."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=limit)
        except (OSError, ValueError):
            line = ""
        except queue.Empty:
            self.close()
            raise ContenderError(f"gave no answer within {limit:g} s and was stopped", alive=False) from None
        if not line:
            raise ContenderError(self._last_words(), alive=False)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderError(answer["error"], alive=True)
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing; a second call does nothing."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # a command that it did not read any more
            self._process.stdin.close() if self._process.stdin else None
        self._errors.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with self._process.stdout as answers:
            for line in answers:
                self._lines.put(line)
        self._lines.put("")

    def _last_words(self) -> str:
        """How it ended, and the last line that it wrote to standard error."""
        self._process.wait()
        how = f"its process {described(self._process.returncode)}"
        if "SIGKILL" in how:
            how += ", as the system does where memory runs out"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{how}: {last}" if last else how

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
