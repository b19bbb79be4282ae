"""Every check and benchmark of the engines on a GPU, in one command and under nine minutes.

    python -m benchmarks.gpu_engines --out DIR               # on a machine with a CUDA GPU
    python -m benchmarks.gpu_engines --out DIR --dry-run     # on a CPU: the same code on the `small` preset

Needs no network. Weights are random and made here, always the same, or those of --weights; pairs are synthetic, or real
with --pairs.
Each part runs in a process of its own, those that only check side by side, those that time alone. A part that crashes
or outlives its share of the time is reported, and the rest goes on. The status is 0 only if every check of correctness
ran and passed; targets of speed are printed and do not change it. DIR receives records.jsonl (every check), bench.jsonl
(every timing), bench.png, profile.txt, log.txt, summary.txt.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.gpu_run import Program, Stage, parser, prepare, run, with_work, without_gpu, work_folder
from benchmarks.gpu_summary import summary

MODULE = "benchmarks.gpu_engines"
SECONDS = 515.0  # of the whole run: under nine minutes with what the last kills take
OWN = ("records.jsonl", "bench.jsonl", "bench.png", "profile.txt", "log.txt", "summary.txt")
EXPORTS = (
    "fp32", "fp16", "fp16-scores", "bf16",
    "aotinductor", "aotinductor-fp16", "aotinductor-fp16-scores", "aotinductor-bf16", "weights",
)  # fmt: skip
PROBES = ("default", "int8")
ENGINES = (  # targets and the folders of their exports: each must be the model
    "eager fp32",
    "tensorrt-rtx fp32",
    "tensorrt-rtx fp16",
    "tensorrt-rtx fp16-scores",
    "tensorrt-rtx bf16",
    "aotinductor aotinductor",
    "aotinductor aotinductor-fp16",
    "aotinductor aotinductor-fp16-scores",
    "aotinductor aotinductor-bf16",
    "onnx fp32",
    "onnx fp16",
)
PEERS = ("autocast fp16 fp32", "autocast bf16 fp32", "torch.compile fp32")  # how far they are is told
DEVICE = ("fp16", "bf16", "fp32", "compile")

ENVIRONMENT = partial(without_gpu, kinds=("export",))


def stages(*, dry: bool) -> list[Stage]:
    """In this order; what a stage leaves over goes to those after it."""
    exports = tuple(f"export {name}" for name in (("fp32",) if dry else EXPORTS))
    probes = tuple(f"probe {name}" for name in (("default",) if dry else PROBES))  # neither right nor wrong
    checks = ("eager fp32", "tensorrt-rtx fp32", "onnx fp32") if dry else ENGINES
    peers = () if dry else PEERS
    groups = ("fp32",) if dry else DEVICE
    return [
        Stage(("environment", "models", *probes), weight=40, least=10, correctness=True),
        Stage(exports, weight=200, least=40, correctness=True),
        Stage(tuple(f"parity {name}" for name in checks), weight=40, least=20, correctness=True),
        Stage(tuple(f"parity {name}" for name in peers), weight=25, least=20, correctness=False),
        *(Stage((f"device {name}",), weight=20, least=20, correctness=False) for name in groups),
        Stage(("profile",), weight=15, least=10, correctness=False),
        Stage(("training",), weight=15, least=15, correctness=True),
        Stage(() if dry else ("race fp16",), weight=60, least=50, correctness=False),
        Stage(("race others",), weight=50, least=50, correctness=False),
        Stage(("picture",), weight=5, least=2, correctness=False),
    ]


def main() -> None:
    arguments = _arguments()
    if arguments.part:
        run_part(arguments)
        return
    prepare(arguments.out, OWN, dry=arguments.dry_run)
    from benchmarks.gpu_targets import targets

    program = Program(MODULE, ("work", "pairs", "weights"), ("probe",), ENVIRONMENT, partial(summary, targets))
    with work_folder(arguments, "pairs", "weights"):
        raise SystemExit(0 if run(program, stages(dry=arguments.dry_run), arguments) else 1)


def _arguments() -> argparse.Namespace:
    options = parser(MODULE, (__doc__ or "").split("\n")[0], SECONDS)
    options.add_argument("--pairs", type=Path, metavar="FILE", help="real pairs, as benchmarks.gpu_carry writes them")
    options.add_argument("--weights", type=Path, metavar="FILE", help="weights of the preset `paper`; else random ones")
    with_work(options, 2)
    return options.parse_args()


def run_part(arguments: argparse.Namespace) -> None:
    """In the part's own process."""
    from benchmarks import gpu_device, gpu_measure, gpu_models, gpu_parity, gpu_race, gpu_rtx, gpu_training
    from benchmarks.gpu_part import Part, perform

    functions: dict[str, Callable[[Part], None]] = {
        "environment": gpu_measure.environment,
        "models": gpu_models.models,
        "export": gpu_models.make,
        "probe": gpu_rtx.probe,
        "parity": gpu_parity.parity,
        "device": gpu_device.device,
        "profile": gpu_device.profile,
        "training": gpu_training.training,
        "race": gpu_race.race,
        "picture": gpu_race.picture,
    }
    perform(functions, arguments, work=arguments.work, pairs=arguments.pairs, weights=arguments.weights)


if __name__ == "__main__":
    main()
