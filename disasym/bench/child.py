"""A contender in a process of its own: it does what the parent says, one line of JSON for each command, and waits.

Commands are the methods of `Contestant`; the answer holds what the method returned, or why it could not.
"""

import contextlib
import dataclasses
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from disasym.bench.peers import PEERS, open_peer
from disasym.engines import EAGER, Engine, open_target
from disasym.export.manifest import read_manifest, symbolic_shapes
from disasym.spec import OUTPUT_SETS, Array

SCORES = OUTPUT_SETS["scores"]


def serve() -> None:
    """Answer commands from standard input until it ends; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(OSError):  # where memory runs out, this process is to be ended, not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    contestant = Contestant()
    for line in sys.stdin:
        answers.write(json.dumps(answered(contestant, json.loads(line))) + "\n")
        answers.flush()


def answered(contestant: "Contestant", command: dict[str, Any]) -> dict[str, Any]:
    """Any failure of a framework is an answer; "memory" says that the batch did not fit."""
    try:
        found: dict[str, Any] = getattr(contestant, command.pop("do"))(**command)
    except MemoryError as error:
        return {"error": " ".join(str(error).split()) or "out of memory", "memory": True}
    except Exception as error:
        from disasym.doctor.child import sentence

        return {"error": sentence(error), "memory": False}
    return found


class Contestant:
    """One engine, the distinct pairs that it runs on, and what the reference made of them."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._pairs: Array = np.zeros((0, 2, 1, 1), np.float32)
        self._pool = self._pairs
        self._at = 0

    def open(
        self, folder: str, target: str, outputs: list[str], device: str, threads: int, pairs: str, began: float
    ) -> dict[str, Any]:
        """Open the engine and run one pair. `began`: when this process was asked for, seconds since the epoch."""
        ready = time.time()
        self._engine = opened(Path(folder), target, tuple(outputs), device, threads)
        open_at, held = time.time(), memory("VmRSS")
        self._pairs = np.load(pairs, mmap_mode="r")  # [n, 2, H, W]
        self._engine.run(np.array(self._pairs[:1]))
        done = time.time()
        return {
            "start": {
                "seconds": done - began,
                "process": ready - began,
                "open": open_at - ready,
                "run": done - open_at,
            },
            "open_bytes": held,
            "max_batch": self._engine.info.max_batch,
        }

    def refer(self, folder: str) -> dict[str, Any]:
        """Run each distinct pair alone and keep the outputs as the reference of all."""
        results = [self._run(np.array(self._pairs[at : at + 1])).named() for at in range(len(self._pairs))]
        for name in results[0]:
            np.save(Path(folder) / f"{name}.npy", np.concatenate([result[name] for result in results]))
        return {}

    def prepare(self, batch: int, reference: str | None = None) -> dict[str, Any]:
        """Make batches of this size ready and run one. With a reference, run all distinct pairs and compare.

        Returns the seconds of the last run, the most memory ever held (before anything was compared), and the largest
        |Δ| of each output, not a number where a value is none.
        """
        count = len(self._pairs)
        self._pool = np.resize(self._pairs, (batch + count, *self._pairs.shape[1:]))  # a batch is a slice of it
        self._at = 0
        worst: dict[str, float] = {}
        peak = 0
        for start in range(0, count if reference else 1, batch):
            began = time.perf_counter()
            outputs = self._run(self._pool[start % count :][:batch])
            seconds = time.perf_counter() - began
            peak = max(peak, memory("VmHWM") or 0)
            for name, value in outputs.named().items() if reference else ():
                expected = np.load(Path(reference or "") / f"{name}.npy", mmap_mode="r")
                for place, found in enumerate(value):  # pair by pair: no array of the batch's size beside it
                    delta = np.abs(found - expected[(start + place) % count]).max()
                    worst[name] = float(np.maximum(worst.get(name, 0.0), delta))  # maximum keeps NaN
        return {"seconds": seconds, "peak_bytes": peak or None, "delta": worst}

    def turn(self, seconds: float, most: int = 10**9) -> dict[str, Any]:
        """Run batches for `seconds`, at least one and at most `most`; the seconds of each, and of all with the gaps."""
        runs: list[float] = []
        batch = len(self._pool) - len(self._pairs)
        began = now = time.perf_counter()
        while not runs or (len(runs) < most and now - began < seconds):
            views = self._pool[self._at : self._at + batch]
            before = time.perf_counter()
            self._run(views)
            now = time.perf_counter()
            runs.append(now - before)
            self._at = (self._at + 1) % len(self._pairs)
        return {"runs": runs, "elapsed": now - began, "bytes": memory("VmRSS"), "peak_bytes": memory("VmHWM")}

    def batch(self, views: str) -> dict[str, Any]:
        """Run one batch, a .npy file; its seconds and its scores."""
        loaded = np.load(views)
        began = time.perf_counter()
        outputs = self._run(loaded)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "scores": {name: getattr(outputs, name).tolist() for name in SCORES}}

    def _run(self, views: Array) -> Any:
        assert self._engine is not None  # noqa: S101 - the parent opens first
        return self._engine.run(views)


def opened(folder: Path, target: str, outputs: tuple[str, ...], device: str, threads: int) -> Engine:
    """The engine of a target of an export, of eager PyTorch ("eager"), or of another way to run PyTorch (PEERS)."""
    manifest = read_manifest(folder)
    if target in PEERS:
        return open_peer(folder, manifest, target, device, threads)
    if target == EAGER.engine:
        shapes = symbolic_shapes(manifest.height, manifest.width, outputs)[1]
        return open_target(folder, dataclasses.replace(manifest, outputs=shapes), EAGER, device, threads)
    return open_target(folder, manifest, manifest.targets[target], device, threads)


def memory(what: str) -> int | None:
    """Bytes of this process: VmRSS, held now, or VmHWM, the most ever held. None where the system does not say.

    Not getrusage: its figure begins with that of the process which started this one.
    """
    status = Path("/proc/self/status")
    found = re.search(rf"{what}:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) * 1024 if found else None
