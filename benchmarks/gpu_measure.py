"""The parts of `benchmarks.gpu_kernel` that measure: ceilings, timings beside the peers, tuning, a profile."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from benchmarks.attention import Row, as_json, measure
from benchmarks.attention_check import check_for
from benchmarks.attention_peers import FUSED, Contender, contenders
from benchmarks.attention_report import Line, best_peer, verdicts
from benchmarks.attention_shapes import DIRECTIONS, LONG, PAPER, TINY, Shape
from benchmarks.gpu_part import CUT, FAIL, INFO, PASS, NotHere, Part, finish
from benchmarks.timing import ROOT, append, ceilings, dtype_of, facts, name_of

TIMED, RETIMED, TILES, PROFILE = "attention.jsonl", "attention_tuned.jsonl", "tiles.csv", "profile.txt"
SIXTEEN_BITS = (torch.bfloat16, torch.float16)
# what an ncu report needs to say where the time goes
SECTIONS = ("SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "SchedulerStats", "WarpStateStats",
            "LaunchStats", "Occupancy")  # fmt: skip


def judged(part: Part) -> list[Shape]:
    """The shape of the targets in both dtypes, then longer rows."""
    if part.dry:
        return [Shape(torch.float16, *TINY)]
    return [Shape(dtype, *size) for size in (PAPER, *LONG) for dtype in SIXTEEN_BITS]


def environment(part: Part) -> None:
    found = facts(part.device, part.commit)
    part.report("software", INFO, f"{found.gpu}, driver {found.driver}, torch {found.torch}, triton {found.triton}, "
                f"CUDA {found.cuda}, commit {found.commit[:12]}{' and changes' if found.dirty else ''}, "
                f"kernel {found.kernel}")  # fmt: skip
    if not part.dry:
        gpu = torch.cuda.get_device_properties(0)
        part.report("device", INFO, f"compute capability {gpu.major}.{gpu.minor}, {gpu.multi_processor_count} "
                    f"multiprocessors, {gpu.total_memory / 2**30:.0f} GiB")  # fmt: skip
    limits = ceilings(part.device, SIXTEEN_BITS)
    rates = ", ".join(f"{name} {rate:.0f} TFLOP/s" for name, rate in limits.tflops.items())
    part.report("ceilings", INFO, f"copy {limits.gbs:.0f} GB/s; matrix product {rates}")


def warm(part: Part) -> None:
    """Compile the peers for one shape: the timings find them in PyTorch's cache. Arguments: dtype, B, N, h, d."""
    dtype, *size = part.arguments
    shape = Shape(dtype_of(dtype), *(int(number) for number in size))
    qkv, grad = shape.inputs(part.device)
    begun = 0
    for contender in contenders(part.device, tuned=False):
        if contender.compiled and part.left > 20:
            begun += 1
            torch.compiler.reset()
            try:
                with torch.no_grad():
                    contender.run(qkv.detach())
                torch.autograd.grad(contender.run(qkv), qkv, grad)
            except Exception as problem:  # the timings will say so in its row
                part.report(contender.name, INFO, " ".join(str(problem).split())[:200])
    finish(part.device)
    part.report(str(shape), INFO, f"{begun} contenders compiled ahead")


def timings(part: Part) -> None:
    """What needs no compiler for every shape, then what does; the search of FlexAttention last, it takes longest."""
    shapes = judged(part)
    passes: list[tuple[list[Shape], Callable[[Contender], bool]]] = [
        (shapes, lambda one: not one.compiled),
        (shapes, lambda one: one.compiled and not one.searches),
        (shapes[:2], lambda one: one.searches),
    ]
    _time(part, TIMED, passes)


def retimed(part: Part) -> None:
    """The kernel with the tiles that were just chosen, beside the peers that were fastest before."""
    if not (part.out / TILES).exists():
        part.report("timings with the tuned tiles", CUT, "nothing was tuned")
        return
    earlier = read_lines(part.out / TIMED)
    best = (best_peer(earlier, direction, named=named) for direction in DIRECTIONS for named in (False, True))
    names = {FUSED, *(str(peer["contender"]) for peer in best if peer is not None)}
    _time(part, RETIMED, [(judged(part), lambda one: one.name in names)])


def _time(part: Part, name: str, passes: Iterable[tuple[list[Shape], Callable[[Contender], bool]]]) -> None:
    limits, found = ceilings(part.device, SIXTEEN_BITS), facts(part.device, part.commit)
    counts = {"timed": 0, "refused": 0, "wrong": 0, "skipped": 0}

    def emit(row: Row) -> None:
        append(part.out / name, as_json(row, found, limits))
        counts[row.status] += 1
        if row.contender == FUSED and row.status != "timed":
            part.report(f"{row.contender}, {row.shape}", CUT if row.status == "skipped" else FAIL, row.reason)
        elif row.status in ("wrong", "skipped"):
            part.report(f"{row.contender}, {row.shape}", CUT, f"{row.status}: {row.reason}")

    for shapes, which in passes:
        measure(shapes, part.device, part.deadline - 3, emit, tuned=True, which=which)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    part.report("rows", PASS if counts["timed"] else CUT, f"{summary}: {name}")


def tune(part: Part) -> None:
    """Both 16-bit dtypes share their tiles, so fp16 is tuned; first the head dimension that is judged."""
    from disasym.kernels import tiles
    from disasym.kernels.tune import tune as search

    table = tiles.stored()
    if part.dry:
        tiles.store(table, part.out / TILES)
        part.report("tiles", INFO, "needs a GPU: the stored tiles as they are")
        return
    for dtype, dim in ((torch.float16, 64), (torch.float16, 128), (torch.float16, 32), (torch.float32, 64)):
        what = f"tiles for {name_of(dtype)} d={dim}"
        if part.left < 20:
            part.report(what, CUT, f"{max(part.left, 0):.0f} s were left")
            continue
        found = search((dtype,), (dim,), part.left - 10, _log)
        changed = sum(table[key].tile != choice.tile for key, choice in found.items())
        table = table | found
        tiles.store(table, part.out / TILES)  # after each: what is chosen survives a kill
        part.report(what, PASS, f"{len(found)} of 6 keys measured, {changed} changed")


def _log(line: str) -> None:
    print(line, flush=True)


def profile(part: Part) -> None:
    part.check("ncu", lambda: _profile(part), seconds=25)


def _profile(part: Part) -> str:
    """One launch of each kernel at the judged shape, read by the hardware counters. Its failure is not ours."""
    program = shutil.which("ncu")
    if part.dry or program is None:
        raise NotHere("needs a GPU" if part.dry else "ncu is not installed")
    sections = [word for section in SECTIONS for word in ("--section", section)]
    launches = "launches " + " ".join(map(str, PAPER))
    command = [program, "--clock-control", "none", "--target-processes", "all", *sections,
               "--kernel-name", "regex:attention_(forward|backward_queries|backward_keys)",
               sys.executable, "-m", "benchmarks.gpu_kernel", "--part", launches, "--out", str(part.out),
               "--seconds", "600"]  # fmt: skip
    started = time.monotonic()
    try:
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=max(part.left - 5, 1)
        )
    except subprocess.TimeoutExpired as problem:
        raise NotHere(f"ncu took more than {problem.timeout:.0f} s and was stopped") from None
    text = result.stdout + result.stderr
    (part.out / PROFILE).write_text(text, encoding="utf-8")
    kernels = sum(line.strip().startswith("attention_") for line in result.stdout.splitlines())
    if result.returncode or not kernels:
        raise NotHere(f"ncu ended with {result.returncode}: {' '.join(text.split())[-200:]}")
    return f"{kernels} kernels in {time.monotonic() - started:.0f} s: {PROFILE}"


def kernel_is_right(part: Part) -> None:
    """The judged shapes themselves, before anything is timed at them."""
    for shape in judged(part):
        part.check(str(shape), lambda shape=shape: _right(part, shape), seconds=10)  # type: ignore[misc]


def _right(part: Part, shape: Shape) -> str:
    qkv, grad = shape.inputs(part.device)
    q, k, v = qkv.unbind(3)
    out = part.attention(q, k, v)
    (gradient,) = torch.autograd.grad(out, qkv, grad)
    error, wrong = check_for(qkv, grad)(out, gradient)
    if wrong:
        raise AssertionError(wrong)
    return f"relative error {error:.1e}"


def read_lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def targets(out: Path) -> list[str]:
    """The judged shapes first; others only where the tiles are those that were tuned here, to stay short."""
    found = []
    for name, title in ((TIMED, "targets"), (RETIMED, "targets, with the tiles tuned here")):
        lines = verdicts(read_lines(out / name))
        if lines:
            found += [title, *(f"  {one}" for one in lines if one.judged or name == TIMED)]
    return found or ["targets", "  NOT MEASURED: no timings"]
