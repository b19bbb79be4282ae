"""How the kernel behaves beside computing the right numbers: bits, memory, addresses, streams."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.attention_check import check_for
from benchmarks.gpu_part import NotHere, Part, Prevented, finish, require
from benchmarks.timing import ROOT


def behaviour(part: Part) -> None:
    if part.sabotage == "hang":
        import time

        part.report("before the planted hang", "info", "what follows must be killed")
        time.sleep(3600)
    torch.manual_seed(0)
    part.check("ten runs give the same bits", lambda: _same_bits(part))
    part.check("every element is written", lambda: _poisoned(part))
    part.check("a stream of its own", lambda: _stream(part))
    part.check("tensors of more than 2^31 elements", lambda: _large(part), seconds=20)


def _qkv(part: Part, batch: int, tokens: int, dim: int, heads: int = 2) -> tuple[Tensor, Tensor]:
    dtype = torch.float16
    qkv = torch.randn(batch, 2, tokens, 3, heads, dim, device=part.device, dtype=dtype).requires_grad_()
    return qkv, torch.randn(batch, 2, tokens, 2 * heads * dim, device=part.device, dtype=dtype)


def _run(part: Part, qkv: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = qkv.unbind(3)
    out = part.attention(q, k, v)
    return out.detach(), torch.autograd.grad(out, qkv, grad)[0]


def _same_bits(part: Part) -> str:
    runs = 2 if part.dry else 10
    for tokens, dim in ((17, 32),) if part.dry else ((513, 64), (1500, 128), (64, 32)):
        qkv, grad = _qkv(part, 1 if part.dry else 8, tokens, dim, 1 if part.dry else 8)
        first = _run(part, qkv, grad)
        for _ in range(runs - 1):
            again = _run(part, qkv, grad)
            require(torch.equal(first[0], again[0]), f"N={tokens} d={dim}: the result changed")
            require(torch.equal(first[1], again[1]), f"N={tokens} d={dim}: the gradient changed")
    return f"{runs} runs, result and gradient"


def _poisoned(part: Part) -> str:
    """Fresh memory holds NaN: what is not written, or read before it is written, shows."""
    from disasym.kernels.op import attend

    for tokens in (17,) if part.dry else (1, 17, 127, 513):
        qkv, grad = _qkv(part, 1 if part.dry else 3, tokens, 32 if part.dry else 64)
        with _nan_in_fresh_memory():
            require(bool(torch.empty(64, device=part.device).isnan().all()), "PyTorch did not poison fresh memory")
            out, gradient = _run(part, qkv, grad)
            q, k, v = qkv.detach().unbind(3)
            lse = attend(q, k, v, q.shape[-1] ** -0.5)[1]
        for name, found in (("result", out), ("log-sum-exp", lse), ("gradient", gradient)):
            require(bool(found.isfinite().all()), f"N={tokens}: {int((~found.isfinite()).sum())} not finite in {name}")
    return "result, log-sum-exp and gradient are finite in memory that was NaN"


@contextmanager
def _nan_in_fresh_memory() -> Iterator[None]:
    """As `torch.utils.deterministic.fill_uninitialized_memory`, on by default, does for deterministic algorithms."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _stream(part: Part) -> str:
    """The kernel waits for its inputs' stream: launched on another, it would read NaN."""
    if part.dry:
        raise NotHere("a CPU has no streams")
    source, grad = _qkv(part, 8, 512, 64, 8)
    expected = _run(part, source, grad)
    qkv = torch.full_like(source, float("nan")).requires_grad_()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # type: ignore[no-untyped-call]  # about a tenth of a second
        with torch.no_grad():
            qkv.copy_(source)
        found = _run(part, qkv, grad)
    stream.synchronize()
    require(torch.equal(found[0], expected[0]), "the result differs from that on the default stream")
    require(torch.equal(found[1], expected[1]), "the gradient differs from that on the default stream")
    return "same bits as on the default stream, inputs arriving late"


def _large(part: Part) -> str:
    """Offsets beyond 32 bits: the first and the last pair are right, and the last is as if it were alone."""
    tokens, heads, dim = (17, 1, 32) if part.dry else (512, 8, 64)
    batch = 3 if part.dry else 2**31 // (6 * tokens * heads * dim) + 32
    if not part.dry and (free := torch.cuda.mem_get_info()[0]) < 40e9:
        raise Prevented(f"needs 40 GB of GPU memory, {free / 1e9:.0f} GB are free")
    qkv, grad = _qkv(part, batch, tokens, dim, heads)
    out, gradient = _run(part, qkv, grad)
    _, wrong = check_for(qkv, grad)(out, gradient)
    require(not wrong, wrong)
    alone = _run(part, qkv.detach()[-1:].clone().requires_grad_(), grad[-1:].clone())
    require(torch.equal(alone[0], out[-1:]), "the last pair's result is not what it is alone")
    require(torch.equal(alone[1], gradient[-1:]), "the last pair's gradient is not what it is alone")
    finish(part.device)
    return f"{qkv.numel() / 2**31:.3f} · 2^31 elements in qkv" + (" (dry run: small)" if part.dry else "")


def launches(part: Part) -> None:
    """Nothing but the three kernels, once: what a profiler or a memory checker is pointed at. Arguments: B, N, h, d."""
    batch, tokens, heads, dim = (int(size) for size in part.arguments)
    qkv, grad = _qkv(part, batch, tokens, dim, heads)
    _run(part, qkv, grad)
    finish(part.device)


def sanitizer(part: Part) -> None:
    """compute-sanitizer's memory checker over launches whose tiles all stick out over the edge."""
    part.check("no access out of bounds", lambda: _sanitize(part), seconds=60)


def _sanitize(part: Part) -> str:
    program = shutil.which("compute-sanitizer")
    if part.dry or program is None:
        raise NotHere("needs a GPU" if part.dry else "compute-sanitizer is not installed")
    # --error-exitcode alone tells found errors from a checker that could not start
    command = [program, "--tool", "memcheck", "--error-exitcode", "86", sys.executable, "-m", "benchmarks.gpu_kernel",
               "--part", "launches 1 77 2 64", "--out", str(part.out), "--seconds", "600"]  # fmt: skip
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # else all tensors lie in one allocation
    try:
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=max(part.left - 5, 1),
            env=_with(environment),
        )  # fmt: skip
    except subprocess.TimeoutExpired as problem:
        raise NotHere(f"compute-sanitizer took more than {problem.timeout:.0f} s and was stopped") from None
    print(result.stdout, result.stderr)
    last = " ".join((result.stdout + result.stderr).split())[-300:]
    require(result.returncode != 86, last)
    if result.returncode or "ERROR SUMMARY: 0 errors" not in result.stdout + result.stderr:
        raise NotHere(f"compute-sanitizer ended with {result.returncode}: {last}")
    return "compute-sanitizer memcheck, B=1 N=77 h=2 d=64"


def _with(more: dict[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **more}
