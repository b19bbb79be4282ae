"""Every check and benchmark of the fused attention on a GPU, in one command and under eight minutes.

    python -m benchmarks.gpu_kernel --out DIR               # on a machine with a CUDA GPU
    python -m benchmarks.gpu_kernel --out DIR --dry-run     # on a CPU: the same code, tiny and interpreted

Each part runs in a process of its own, those that only check side by side, those that time alone. A part that crashes
or outlives its share of the time is reported, and the rest goes on. The status is 0 only if every check of correctness
ran and passed; targets of speed are printed and do not change it. DIR receives records.jsonl (every check),
attention.jsonl and attention_tuned.jsonl (timings), tiles.csv (as tuned here), profile.txt, log.txt, summary.txt.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.gpu_run import Program, Stage, parser, prepare, run
from benchmarks.gpu_summary import summary

SECONDS = 450.0  # of the whole run: under eight minutes with what the last kills take
OWN = (
    "records.jsonl",
    "attention.jsonl",
    "attention_tuned.jsonl",
    "tiles.csv",
    "profile.txt",
    "log.txt",
    "summary.txt",
)


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
    options = parser("benchmarks.gpu_kernel", (__doc__ or "").split("\n")[0], SECONDS)
    options.add_argument("--sabotage", choices=("value", "hang"), help="break something, to see that it is noticed")
    arguments = options.parse_args()
    if arguments.part:
        run_part(arguments)
        return
    out: Path = arguments.out
    prepare(out, OWN, dry=arguments.dry_run)
    from benchmarks.gpu_measure import targets

    program = Program("benchmarks.gpu_kernel", ("sabotage",), ("warm",), _environment, partial(summary, targets))
    raise SystemExit(0 if run(program, stages(dry=arguments.dry_run), arguments) else 1)


def _environment(part: str) -> Mapping[str, str]:
    """Parts run side by side: a pool of compilers for each would be too many."""
    return {"TORCHINDUCTOR_COMPILE_THREADS": "2"} if part.startswith("warm") else {}


def run_part(arguments: argparse.Namespace) -> None:
    """In the part's own process."""
    from benchmarks import gpu_behaviour, gpu_integration, gpu_measure, gpu_values
    from benchmarks.gpu_part import Part, perform
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
    name = arguments.part.split()[0]
    tuned = arguments.out / gpu_measure.TILES
    if name in ("retimed", "launches") and tuned.exists():
        tiles.TABLE = tuned
        tiles.stored.cache_clear()
    perform(functions, arguments, sabotage=arguments.sabotage)


if __name__ == "__main__":
    main()
