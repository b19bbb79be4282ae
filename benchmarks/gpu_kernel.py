"""Every check and benchmark of the fused attention on a GPU, in one command and under eight minutes.

    python -m benchmarks.gpu_kernel --out DIR               # on a machine with a CUDA GPU
    python -m benchmarks.gpu_kernel --out DIR --dry-run     # on a CPU: the same code, tiny and interpreted

Each part runs in a process of its own, those that only check side by side, those that time alone. A part that crashes
or outlives its share of the time is reported, and the rest goes on. The status is 0 only if every check of correctness
ran and passed; targets of speed are printed and do not change it. DIR receives records.jsonl (every check),
attention.jsonl and attention_tuned.jsonl (timings), tiles.csv (as tuned here), profile.txt, log.txt, summary.txt.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_summary import summary
from benchmarks.timing import ROOT

SECONDS = 450.0  # of the whole run: under eight minutes with what the last kills take
GRACE = 3.0  # seconds that a part may run over before it is killed
OWN = (
    "records.jsonl",
    "attention.jsonl",
    "attention_tuned.jsonl",
    "tiles.csv",
    "profile.txt",
    "log.txt",
    "summary.txt",
)


@dataclass(frozen=True)
class Stage:
    """Parts that run side by side."""

    parts: tuple[str, ...]  # a name in FUNCTIONS, then its arguments
    weight: float  # seconds of SECONDS; what earlier stages leave over is shared out in proportion
    least: float  # seconds under which it is not begun
    correctness: bool  # whether the exit status depends on it


@dataclass
class Running:
    """A part's process."""

    part: str
    process: subprocess.Popen[bytes]
    log: Path


def stages(*, dry: bool) -> list[Stage]:
    values = ("values fp32 32", "layouts fp16 32") if dry else tuple(
        f"{part} {dtype} {dim}" for part, dims in (("values", (128, 64, 32)), ("layouts", (64,)))
        for dim in dims for dtype in ("fp32", "fp16", "bf16")
    )  # fmt: skip
    warm = () if dry else tuple(
        f"warm {dtype} {size}" for size in ("32 512 8 64", "8 2048 8 64", "2 8192 8 64") for dtype in ("bf16", "fp16")
    )  # fmt: skip
    checks = (*values, "behaviour", "operator", "export", "training", "judged", "sanitizer")
    return [
        Stage(("environment",), weight=25, least=10, correctness=False),
        Stage((*checks, *warm), weight=155, least=40, correctness=True),
        Stage(("timings",), weight=120, least=25, correctness=False),
        Stage(("tune",), weight=75, least=30, correctness=False),
        Stage(("retimed",), weight=40, least=20, correctness=False),
        Stage(("profile",), weight=45, least=30, correctness=False),
    ]


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.part:
        run_part(arguments)
        return
    if not arguments.dry_run and not _has_gpu():
        raise SystemExit("no CUDA GPU here: run this on a machine that has one, or add --dry-run")
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if foreign := [path.name for path in out.iterdir() if path.name not in OWN]:
        raise SystemExit(f"{out} holds other files ({', '.join(sorted(foreign)[:3])}): name an empty folder")
    for path in out.iterdir():
        path.unlink()
    passed = run(arguments)
    raise SystemExit(0 if passed else 1)


def run(arguments: argparse.Namespace) -> bool:
    """All stages in turn; whether all correctness passed."""
    begun = time.monotonic()
    wanted = [_only(stage, arguments.only) for stage in stages(dry=arguments.dry_run)]
    todo = [stage for stage in wanted if stage.parts]
    for place, stage in enumerate(todo):
        left = arguments.seconds - (time.monotonic() - begun)
        share = left * stage.weight / sum(later.weight for later in todo[place:])
        least = 1.0 if arguments.dry_run else stage.least
        if share < least:
            for part in stage.parts:
                _cut(arguments, part, f"not begun: its share was {max(share, 0):.0f} s, it needs {least:.0f} s")
        else:
            _run_stage(stage, share, arguments)
    correctness = {part for stage in todo if stage.correctness for part in stage.parts if not part.startswith("warm")}
    parts = [part for stage in todo for part in stage.parts]
    text, passed = summary(arguments.out, parts, correctness, time.monotonic() - begun)
    (arguments.out / "summary.txt").write_text(text + "\n", encoding="utf-8")
    print(text, flush=True)
    return passed


def _only(stage: Stage, wanted: list[str] | None) -> Stage:
    parts = tuple(part for part in stage.parts if not wanted or part.split()[0] in wanted)
    return Stage(parts, stage.weight, stage.least, stage.correctness)


def _run_stage(stage: Stage, seconds: float, arguments: argparse.Namespace) -> None:
    """All parts of a stage, as many at a time as there are processors."""
    deadline = time.monotonic() + seconds
    waiting, running = list(stage.parts), list[Running]()
    most = max(2, len(os.sched_getaffinity(0)))
    while waiting or running:
        while waiting and len(running) < most and time.monotonic() < deadline:
            running.append(_start(waiting.pop(0), deadline - time.monotonic(), arguments))
        for one in [one for one in running if one.process.poll() is not None]:
            running.remove(one)
            _ended(one, arguments)
        if time.monotonic() > deadline:
            for part in waiting:
                _cut(arguments, part, f"not begun: the {seconds:.0f} s of its stage were up")
            waiting.clear()
        if time.monotonic() > deadline + GRACE:
            for one in running:
                os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait()
                _cut(arguments, one.part, f"killed after the {seconds:.0f} s of its stage")
                _keep_log(one, arguments.out)
            running.clear()
        time.sleep(0.05)


def _start(part: str, seconds: float, arguments: argparse.Namespace) -> Running:
    print(f"{part} ({seconds:.0f} s)", flush=True)
    command = [sys.executable, "-m", "benchmarks.gpu_kernel", "--part", part, "--out", str(arguments.out.resolve()),
               "--seconds", f"{seconds:.1f}"]  # fmt: skip
    for name in ("commit", "sabotage"):
        if getattr(arguments, name):
            command += [f"--{name}", getattr(arguments, name)]
    # parts run side by side: a pool of compilers for each would be too many
    environment = os.environ | ({"TORCHINDUCTOR_COMPILE_THREADS": "2"} if part.startswith("warm") else {})
    if arguments.dry_run:
        command.append("--dry-run")
        environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    log = arguments.out / f"{part.replace(' ', '_')}.log"
    with log.open("wb") as file:
        # a process group of its own: what it started dies with it
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Running(part, process, log)


def _ended(one: Running, arguments: argparse.Namespace) -> None:
    from benchmarks.gpu_part import FAIL, Record, record

    if status := one.process.returncode:
        lines = one.log.read_text(encoding="utf-8", errors="replace").splitlines() or ["it said nothing"]
        record(arguments.out, Record(one.part, "the process", FAIL, f"ended with {status}: {lines[-1][:300]}"))
    _keep_log(one, arguments.out)


def _keep_log(one: Running, out: Path) -> None:
    """All logs in one file, each complete, in the order in which they ended."""
    with (out / "log.txt").open("ab") as file:
        file.write(f"==== {one.part}\n".encode() + one.log.read_bytes())
    one.log.unlink()


def _cut(arguments: argparse.Namespace, part: str, why: str) -> None:
    from benchmarks.gpu_part import CUT, Record, record

    record(arguments.out, Record(part, "the part", CUT, why))


def run_part(arguments: argparse.Namespace) -> None:
    """In the part's own process."""
    from benchmarks import gpu_behaviour, gpu_integration, gpu_measure, gpu_values
    from benchmarks.gpu_part import Part
    from disasym.kernels import tiles

    functions: dict[str, Callable[[Part], None]] = {
        "environment": gpu_measure.environment,
        "values": gpu_values.values,
        "layouts": gpu_values.layouts,
        "behaviour": gpu_behaviour.behaviour,
        "operator": gpu_integration.operator,
        "export": gpu_integration.export,
        "training": gpu_integration.training,
        "judged": gpu_measure.kernel_is_right,
        "sanitizer": gpu_behaviour.sanitizer,
        "warm": gpu_measure.warm,
        "timings": gpu_measure.timings,
        "tune": gpu_measure.tune,
        "retimed": gpu_measure.retimed,
        "profile": gpu_measure.profile,
        "launches": gpu_behaviour.launches,
    }
    name, *rest = arguments.part.split()
    tuned = arguments.out / gpu_measure.TILES
    if name in ("retimed", "launches") and tuned.exists():
        tiles.TABLE = tuned
        tiles.stored.cache_clear()
    device = "cpu" if arguments.dry_run else "cuda"
    deadline = time.monotonic() + arguments.seconds
    functions[name](
        Part(arguments.part, tuple(rest), arguments.out, device, deadline, arguments.sabotage, arguments.commit)
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_kernel", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="empty folder for all results")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="what does not fit is cut, and said so")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts alone, by their first word")
    parser.add_argument("--commit", help="what is measured, where git cannot say")
    parser.add_argument("--dry-run", action="store_true", help="tiny and interpreted on a CPU; measures nothing")
    parser.add_argument("--sabotage", choices=("value", "hang"), help="break something, to see that it is noticed")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
