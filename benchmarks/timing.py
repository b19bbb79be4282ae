"""How fast something runs, and on what: timers, the ceilings of the machine, and the facts that every row carries."""

import hashlib
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
DRY_RUN = "cpu dry run"  # stands in place of the GPU's name: such a row measures nothing
QUANTILES = (0.5, 0.2, 0.8)


@dataclass(frozen=True)
class Milliseconds:
    """The median of many runs, and how far they spread."""

    ms: float
    ms_p20: float
    ms_p80: float


Timer = Callable[[Callable[[], object]], Milliseconds]


def device_time(run: Callable[[], object], milliseconds: int = 100) -> Milliseconds:
    """By device events, the L2 cache cleared before each run, after a warm-up; at least ten runs.

    A run too short to hide its own launch is measured with the launch: that is what its caller waits for.
    """
    from triton.testing import do_bench

    once = _elapsed(run)
    median, low, high = do_bench(
        run, warmup=max(25, int(2 * once)), rep=max(milliseconds, int(10 * once)), quantiles=list(QUANTILES)
    )
    return Milliseconds(median, low, high)


def _elapsed(run: Callable[[], object]) -> float:
    """Milliseconds of the second run; the first may compile."""
    run()
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3


def wall_clock(run: Callable[[], object]) -> Milliseconds:
    """For dry runs on a CPU: shows that the code runs, measures nothing worth keeping."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return Milliseconds(statistics.median(seconds) * 1e3, min(seconds) * 1e3, max(seconds) * 1e3)


def timer_for(device: str) -> Timer:
    return device_time if device == "cuda" else wall_clock


@dataclass(frozen=True)
class Ceilings:
    """What this device reaches at best, measured in the same process as what is compared with it."""

    gbs: float  # 10⁹ bytes read and written per second by a large device copy
    tflops: dict[str, float]  # 10¹² operations per second of a large matrix product of random numbers, by dtype


def ceilings(device: str, dtypes: tuple[torch.dtype, ...]) -> Ceilings:
    """A copy of 2 GiB and products of 8192 × 8192 matrices; tiny in a dry run."""
    timer = timer_for(device)
    count, side = (2**30, 8192) if device == "cuda" else (2**16, 64)
    source = torch.randn(count, device=device).to(torch.bfloat16)
    target = torch.empty_like(source)
    gbs = 2 * source.nbytes / timer(partial(target.copy_, source)).ms / 1e6
    del source, target
    tflops = {}
    for dtype in dtypes:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        tflops[name_of(dtype)] = 2 * side**3 / timer(partial(torch.matmul, a, b)).ms / 1e9
    return Ceilings(gbs, tflops)


@dataclass(frozen=True)
class Facts:
    """Where, with what and of which source a row was measured."""

    gpu: str
    driver: str
    torch: str
    triton: str
    cuda: str
    commit: str  # "unknown" outside a git checkout, unless it was given
    dirty: bool  # uncommitted changes, or not known
    kernel: str  # start of the SHA-256 over kernels/*.py and its table of tiles: says what ran where git cannot
    measured: str  # UTC


def facts(device: str, commit: str | None = None) -> Facts:
    import triton

    found, dirty = checkout(commit)
    return Facts(
        gpu=torch.cuda.get_device_name() if device == "cuda" else DRY_RUN,
        driver=_driver() if device == "cuda" else "none",
        torch=torch.__version__,
        triton=triton.__version__,
        cuda=torch.version.cuda or "none",
        commit=found,
        dirty=dirty,
        kernel=kernel_digest(),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def checkout(commit: str | None = None) -> tuple[str, bool]:
    """The commit that is measured, "unknown" outside a git checkout unless given; and whether there may be changes."""
    found = _ask("git", "-C", str(ROOT), "rev-parse", "HEAD")
    changes = _ask("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return commit or found or "unknown", bool(changes) or found is None


def kernel_digest() -> str:
    from disasym.kernels import tiles

    digest = hashlib.sha256()
    for path in (*sorted((ROOT / "kernels").glob("*.py")), tiles.TABLE):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _driver() -> str:
    answer = _ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return answer.splitlines()[0] if answer else "unknown"


def _ask(*command: str) -> str | None:
    """What a command prints; None where it is absent or fails."""
    if shutil.which(command[0]) is None:
        return None
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return result.stdout.strip() if result.returncode == 0 else None


def append(path: Path, row: object) -> None:
    """One JSON line more: what was measured before a crash stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row if isinstance(row, dict) else asdict(row)) + "\n")  # type: ignore[call-overload]


def name_of(dtype: torch.dtype) -> str:
    """fp16, bf16, fp32, fp64."""
    return {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp64"}[dtype]


def dtype_of(name: str) -> torch.dtype:
    return {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}[name]


def synchronize(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
