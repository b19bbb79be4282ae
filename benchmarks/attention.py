"""How fast is the fused attention between the breasts, beside everything else that PyTorch offers?

    python -m benchmarks.attention                          # on a machine with a CUDA GPU
    python -m benchmarks.attention --dims 32 128 --dtypes fp32 --tokens 512
    TRITON_INTERPRET=1 python -m benchmarks.attention --dry-run     # on a CPU: shows that the code runs

Every contender is checked against float64 before it is timed. One JSON line a measurement goes to
benchmarks/results/attention.jsonl, also for what refused, was wrong, or did not fit; then a table and the targets.
"""

import argparse
import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.attention_check import Check, check_for
from benchmarks.attention_peers import Contender, contenders
from benchmarks.attention_report import report
from benchmarks.attention_shapes import DIRECTIONS, PAPER, TINY, Shape, flops, traffic
from benchmarks.timing import Ceilings, Facts, Milliseconds, append, ceilings, dtype_of, facts, name_of, timer_for

RESULTS = Path(__file__).parent / "results" / "attention.jsonl"


@dataclass(frozen=True)
class Row:
    """One contender, shape and direction."""

    shape: Shape
    contender: str
    named: bool  # the target of the design names this peer
    direction: str  # "forward", "backward", "both"; "all" where nothing was timed
    status: str  # "timed", "refused", "wrong", "skipped"
    reason: str = ""  # why it was not timed
    time: Milliseconds | None = None
    tflops: float | None = None  # algorithmic operations; recomputation counts nothing
    gbs: float | None = None  # compulsory bytes
    error: float | None = None  # largest relative error of result and gradient against float64


def measure(
    shapes: Iterable[Shape],
    device: str,
    deadline: float,
    emit: Callable[[Row], None],
    *,
    tuned: bool = False,
    which: Callable[[Contender], bool] = lambda _: True,
) -> None:
    """Check and time every contender `which` is wanted for every shape, until `deadline` (time.monotonic)."""
    for shape in shapes:
        qkv, grad = shape.inputs(device)
        check = check_for(qkv, grad)
        for contender in contenders(device, tuned=tuned):
            if which(contender):
                for row in _rows(contender, shape, qkv, grad, check, deadline):
                    emit(row)
        del qkv, grad, check
        if device == "cuda":
            torch.cuda.empty_cache()


def _rows(
    contender: Contender, shape: Shape, qkv: Tensor, grad: Tensor, check: Check, deadline: float
) -> Iterable[Row]:
    def untimed(status: str, reason: str, error: float | None = None) -> list[Row]:
        return [Row(shape, contender.name, contender.named, "all", status, reason, error=error)]

    if (left := deadline - time.monotonic()) < contender.seconds and qkv.is_cuda:
        return untimed("skipped", f"{max(left, 0):.0f} s were left, it may need {contender.seconds:.0f} s")
    if contender.quadratic and (obstacle := _too_large(shape, qkv)):
        return untimed("skipped", obstacle)
    torch.compiler.reset()  # a compiled contender starts afresh for each shape
    with warnings.catch_warnings(record=True) as warned, contender.conditions():
        warnings.simplefilter("always")
        try:
            result = contender.run(qkv)
            (found,) = torch.autograd.grad(result, qkv, grad)
            error, wrong = check(result, found)
            del result, found
            if wrong:
                return untimed("wrong", wrong, error)
            times = list(_times(contender, qkv, grad))
        except torch.OutOfMemoryError as problem:
            return untimed("skipped", _sentence(problem))
        except Exception as problem:  # refusals have no type of their own, and one contender must not stop the rest
            return untimed("refused", "; ".join([_sentence(problem), *(str(each.message) for each in warned)])[:600])
    return [
        Row(
            shape, contender.name, contender.named, direction, "timed", time=found_time, error=error,
            tflops=flops(shape, direction) / found_time.ms / 1e9, gbs=traffic(shape, direction) / found_time.ms / 1e6,
        )
        for direction, found_time in zip(DIRECTIONS, times, strict=True)
    ]  # fmt: skip


def _times(contender: Contender, qkv: Tensor, grad: Tensor) -> Iterable[Milliseconds]:
    """In the order of DIRECTIONS."""
    timer = timer_for(qkv.device.type)
    plain = qkv.detach()
    with torch.no_grad():
        yield timer(lambda: contender.run(plain))
    yield timer(partial(torch.autograd.grad, contender.run(qkv), qkv, grad, retain_graph=True))
    yield timer(lambda: torch.autograd.grad(contender.run(qkv), qkv, grad))


def _too_large(shape: Shape, qkv: Tensor) -> str:
    """Why all scores do not fit into this GPU's memory; empty if they do."""
    if not qkv.is_cuda:
        return ""
    free = torch.cuda.mem_get_info()[0]
    needed = 4 * shape.batch * shape.heads * shape.tokens**2 * 4 * 4  # 4 attentions; scores, weights, gradients in fp32
    return "" if needed < free else f"its scores need about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"


def _sentence(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text[:300]}"


def as_json(row: Row, found: Facts, ceiling: Ceilings) -> dict[str, object]:
    """A line of the results: flat, with the facts and the ceilings of its run."""
    shape = {**asdict(row.shape), "dtype": name_of(row.shape.dtype)}
    rest = {key: value for key, value in asdict(row).items() if key not in ("shape", "time")}
    times = asdict(row.time) if row.time else {"ms": None, "ms_p20": None, "ms_p80": None}
    limits = {"ceiling_gbs": ceiling.gbs, "ceiling_tflops": ceiling.tflops.get(name_of(row.shape.dtype))}
    return {"benchmark": "attention", **asdict(found), **shape, **rest, **times, **limits}


def main() -> None:
    arguments = _parser().parse_args()
    if not arguments.dry_run and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU here: run this on a machine that has one, or add --dry-run")
    device = "cpu" if arguments.dry_run else "cuda"
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise SystemExit("a dry run interprets the kernels: set TRITON_INTERPRET=1")
    out: Path | None = arguments.out or (None if arguments.dry_run else RESULTS)
    if arguments.dry_run and out and RESULTS.parent in out.resolve().parents:
        raise SystemExit(f"a dry run measures nothing: {out} lies in {RESULTS.parent}")
    dtypes = tuple(dtype_of(name) for name in arguments.dtypes)
    limits, found = ceilings(device, dtypes), facts(device, arguments.commit)
    lines: list[dict[str, object]] = []

    def emit(row: Row) -> None:
        line = as_json(row, found, limits)
        lines.append(line)
        if out:
            append(out, line)
        shown = f"{row.time.ms:.3f} ms" if row.time else f"{row.status}: {row.reason[:80]}"
        print(f"{row.shape}  {row.contender}  {row.direction}  {shown}", flush=True)

    measure(_shapes(arguments, dtypes), device, time.monotonic() + arguments.seconds, emit, tuned=arguments.tuned)
    print(report(lines))


def _shapes(arguments: argparse.Namespace, dtypes: tuple[torch.dtype, ...]) -> list[Shape]:
    """The shape that is judged first, then from small to large."""
    if arguments.dry_run:
        return [Shape(torch.float16, *TINY)]
    grid = itertools.product(dtypes, arguments.batches, arguments.tokens, arguments.dims)
    shapes = [Shape(dtype, batch, tokens, arguments.heads, dim) for dtype, batch, tokens, dim in grid]
    return sorted(shapes, key=lambda shape: (shape.size != PAPER, shape.tokens**2 * shape.batch))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dtypes", nargs="+", choices=("fp16", "bf16", "fp32"), default=["bf16", "fp16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32], metavar="B")
    parser.add_argument("--tokens", nargs="+", type=int, default=[128, 512, 2048, 8192], metavar="N")
    parser.add_argument("--dims", nargs="+", type=int, choices=(32, 64, 128), default=[64], help="of one head")
    parser.add_argument("--heads", type=int, default=8, metavar="h")
    parser.add_argument("--seconds", type=float, default=1500, help="after these, what is left is skipped and said so")
    parser.add_argument("--tuned", action="store_true", help="also FlexAttention with its own search, slow to compile")
    parser.add_argument("--out", type=Path, help="file of JSON lines, instead of benchmarks/results/attention.jsonl")
    parser.add_argument("--commit", help="what is measured, where git cannot say")
    parser.add_argument("--dry-run", action="store_true", help="tiny and interpreted on a CPU; measures nothing")
    return parser


if __name__ == "__main__":
    main()
