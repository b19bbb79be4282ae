"""What the GPU alone takes: views and outputs stay in its memory, CUDA events around each run, contenders in turns.

Every process has eager PyTorch in float32 and autocast in fp16 beside what it is about, so that each ratio is one of
runs that lie milliseconds apart. What differs from eager PyTorch on the very views that are timed is not timed.
"""

import contextlib
import importlib
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_models import AOTI, RTX, needs_export, pairs
from benchmarks.gpu_parity import open_contender
from benchmarks.gpu_part import CUT, FAIL, INFO, NotHere, Part
from benchmarks.gpu_race import ROWS, common
from benchmarks.gpu_rtx import MODULE, OnTorch
from benchmarks.timing import append
from disasym.bench.contenders import REFERENCE, named
from disasym.bench.rows import FORMAT, figures
from disasym.engines import ENGINES
from disasym.engines.eager import settings
from disasym.export.manifest import read_manifest
from disasym.export.tolerances import tolerance
from disasym.spec import OUTPUTS

BATCHES = (32, 8, 1)  # the judged one first
ROUNDS, LEAST = 40, 5
PROFILE = "profile.txt"
KERNELS = 25  # lines of a profile
AUTOCAST = ("autocast fp16", "fp32")
GROUPS: dict[str, tuple[tuple[str, str], ...]] = {  # part → targets and the folders of their exports
    "fp16": (AUTOCAST, (RTX, "fp16"), (RTX, "fp16-scores"), (AOTI, f"{AOTI}-fp16"), (AOTI, f"{AOTI}-fp16-scores")),
    "bf16": (AUTOCAST, ("autocast bf16", "fp32"), (RTX, "bf16"), (AOTI, f"{AOTI}-bf16")),
    "fp32": (AUTOCAST, (RTX, "fp32"), (AOTI, AOTI)),
    "compile": (AUTOCAST, ("torch.compile", "fp32")),
}
Run = Callable[[Tensor], object]


@dataclass
class Runner:
    """One contender on the device, and what its runs took."""

    name: str
    engine: str
    precision: str
    outputs: tuple[str, ...]
    run: Run
    seconds: list[float] = field(default_factory=list)
    delta: dict[str, float] = field(default_factory=dict)

    @property
    def differs(self) -> tuple[str, ...]:
        return tuple(name for name, delta in self.delta.items() if not delta <= tolerance(self.precision, name))


def device(part: Part) -> None:
    """One group, by its name in GROUPS."""
    (group,) = part.arguments
    with _alone(part):
        runners = list(_runners(part, (("eager", "fp32"), *GROUPS[group])))
        if len(runners) < 2 or runners[0].name != REFERENCE:
            part.report("rows", INFO, "nothing to compare with eager PyTorch")
            return
        for batch in (2,) if part.dry else BATCHES:
            if part.left < 3 and not part.dry:
                part.report(f"batch {batch}", CUT, f"{max(part.left, 0):.0f} s were left")
                continue
            _batch(part, group, runners, batch)


@contextlib.contextmanager
def _alone(part: Part) -> Iterator[None]:
    """The settings of the eager engine, and a stream of its own: the default one cannot be captured into graphs."""
    stream = torch.cuda.stream(torch.cuda.Stream()) if part.device == "cuda" else contextlib.nullcontext()  # type: ignore[no-untyped-call]
    with torch.inference_mode(), settings(None), stream:
        yield


def _runners(part: Part, wanted: tuple[tuple[str, str], ...]) -> Iterator[Runner]:
    for target, name in wanted:
        try:
            yield _runner(part, needs_export(part.work, target, name), target)
        except NotHere as reason:
            part.report(f"{target} {name}", INFO, str(reason))
        except Exception as problem:  # this one does not run; the others do
            part.report(f"{target} {name}", FAIL, f"{type(problem).__name__}: {problem}"[:400])


def _runner(part: Part, folder: Path, target: str) -> Runner:
    manifest = read_manifest(folder)
    if target == RTX and part.dry:
        raise NotHere("needs a GPU")
    if target == RTX:
        outputs, precision = tuple(manifest.outputs), manifest.precision
        plan = (folder / manifest.targets[RTX].files[0]).read_bytes()
        stream = torch.cuda.current_stream().cuda_stream
        run: Run = OnTorch(importlib.import_module(MODULE), plan, part.device, stream)
        return Runner(named(RTX, precision, outputs), RTX, precision, outputs, run)
    engine = open_contender(folder, target, part.device)
    network: Any = getattr(engine, "_model", None)  # what the engine runs between its checks and copies
    if network is None:
        raise NotHere("it does not run on PyTorch's memory: raced end to end only")
    info, outputs = engine.info, tuple(manifest.outputs) if target == AOTI else OUTPUTS
    return Runner(named(engine.name, info.precision, outputs), engine.name, info.precision, outputs, network)


def _batch(part: Part, group: str, runners: list[Runner], batch: int) -> None:
    views = _views(part, batch)
    alive = _right(part, runners, views)
    end = time.monotonic() + max(2.0, (part.left - 3) / 3)
    rounds = 0
    for rounds in range(1, (2 if part.dry else ROUNDS) + 1):
        for one in alive[rounds % len(alive) :] + alive[: rounds % len(alive)]:
            one.seconds.append(timed(lambda one=one: one.run(views), part.device))  # type: ignore[misc]
        if rounds >= LEAST and time.monotonic() > end:
            break
    beside = [[seconds] for seconds in alive[0].seconds]  # of the reference
    known = {"heat": group, "device": part.device, **common(part)}
    for one in alive:
        numbers = figures(batch, [[seconds] for seconds in one.seconds], beside)
        append(part.out / ROWS, {**device_row(one, batch, numbers), **known})
    medians = [f"{one.name} {1e3 * statistics.median(one.seconds):.2f} ms" for one in alive]
    part.report(f"batch {batch}", INFO, f"{rounds} rounds: {', '.join(medians)}")


def _views(part: Part, batch: int) -> Tensor:
    views = torch.from_numpy(pairs(part.work)[0])
    return views[torch.arange(batch) % len(views)].to(part.device).contiguous()


def _right(part: Part, runners: list[Runner], views: Tensor) -> list[Runner]:
    """Those that run and give what the reference gives, which is the first; a peer's difference is told and kept."""
    expected = outputs_of(runners[0].run(views), runners[0].outputs)
    alive = []
    for one in runners:
        one.seconds = []
        try:
            one.run(views)  # kernels are chosen or compiled, memory is there, graphs are recorded
            one.delta = deltas(outputs_of(one.run(views), one.outputs), expected)
        except Exception as problem:
            part.report(f"{one.name}, batch {len(views)}", INFO, f"{type(problem).__name__}: {problem}"[:400])
            continue
        if one.differs:
            told = ", ".join(f"|Δ {name}| {one.delta[name]:.1e}" for name in one.differs)
            part.report(f"{one.name}, batch {len(views)}", FAIL if one.engine in ENGINES else INFO, told)
        if not one.differs or one.engine not in ENGINES:
            alive.append(one)
    return alive


def outputs_of(found: Any, names: tuple[str, ...]) -> dict[str, Tensor]:
    """By name, of whatever a contender returns: a network's outputs, an engine's, or those of a package in order."""
    if hasattr(found, "_asdict"):
        found = found._asdict()
    return found if isinstance(found, dict) else dict(zip(names, found, strict=True))


def deltas(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Largest |Δ| of each output; NaN stays NaN."""
    return {name: float((value.float() - expected[name]).abs().max()) for name, value in found.items()}


def device_row(one: Runner, batch: int, numbers: dict[str, Any]) -> dict[str, Any]:
    """A line of bench.jsonl, with the names of a race's rows."""
    return {
        "format": FORMAT,
        "kind": "device",
        "contender": one.name,
        "engine": one.engine,
        "precision": one.precision,
        "outputs": one.outputs,
        "batch": batch,
        "delta": {name: delta if math.isfinite(delta) else None for name, delta in one.delta.items()},
        "differs": one.differs,
        **numbers,
    }


def timed(run: Callable[[], object], device: str) -> float:
    """Seconds of one run, by events of the current stream; on a CPU, by its clock."""
    if device != "cuda":
        before = time.perf_counter()
        run()
        return time.perf_counter() - before
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def profile(part: Part) -> None:
    """Where the time goes: the kernels of one batch of each contender, the slowest first."""
    wanted = (AUTOCAST,) if part.dry else (AUTOCAST, (AOTI, f"{AOTI}-fp16"), (RTX, "fp16"))
    with _alone(part):
        for one in _runners(part, wanted):
            part.check(one.name, lambda one=one: _profile(part, one), seconds=3)  # type: ignore[misc]


def _profile(part: Part, one: Runner) -> str:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    batch = 1 if part.dry else BATCHES[0]
    views = _views(part, batch)
    for _ in range(2):
        one.run(views)
    kind = ProfilerActivity.CPU if part.dry else ProfilerActivity.CUDA
    with watch(activities=[kind]) as seen:
        one.run(views)
        if part.device == "cuda":
            torch.cuda.synchronize()
    own = "self_cpu_time_total" if part.dry else "self_device_time_total"
    events = seen.key_averages()
    table = events.table(sort_by=own, row_limit=KERNELS, max_name_column_width=90)
    with (part.out / PROFILE).open("a", encoding="utf-8") as file:
        file.write(f"==== {one.name}, one batch of {batch} pairs on {part.device}\n{table}\n")
    total = sum(float(getattr(each, own)) for each in events)
    if not total:
        raise NotHere("the profiler saw no kernel")
    first = max(events, key=lambda each: float(getattr(each, own)))
    return f"{total / 1e3:.2f} ms, most in {first.key[:80]} ({float(getattr(first, own)) / total:.0%}): {PROFILE}"
