"""Exams a second, end to end, on a machine with a GPU and many cores: one command, under nine minutes, no network.

    python -m benchmarks.gpu_pipeline --out DIR --films FILE     # on a machine with a CUDA GPU
    python -m benchmarks.gpu_pipeline --out DIR --dry-run        # on a CPU: the same code, tiny films, `small` preset

Makes exams of the films in FILE (as benchmarks.gpu_carry writes it; without it of synthetic ones) in four transfer
syntaxes, exports `paper` with random weights, and for each engine and syntax measures the stages alone and then
`disasym infer` itself, as benchmarks/pipeline.py does on a CPU. The target is a screening day of the US, 110,000 exams,
in an hour on 16 cores and one GPU: 31 exams a second. The status is 0 only if each pair of each run had its row and all
engines agree; speed does not change it. DIR receives records.jsonl, pipeline.jsonl, log.txt, summary.txt.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.gpu_run import Program, Stage, parser, prepare, run, with_work, without_gpu, work_folder
from benchmarks.gpu_summary import summary

MODULE = "benchmarks.gpu_pipeline"
SECONDS = 515.0  # of the whole run: under nine minutes with what the last kills take
OWN = ("records.jsonl", "pipeline.jsonl", "log.txt", "summary.txt")
EXPORTS = ("weights", "fp16", "fp16-scores", "aotinductor", "aotinductor-fp16", "aotinductor-fp16-scores")
SYNTAXES = ("htj2k", "j2k", "jpeg-lossless", "explicit")
RUNS = (  # engine, export, syntax; the first is what the target is judged by in its syntax
    *(f"tensorrt-rtx fp16 {syntax}" for syntax in SYNTAXES),
    *(f"aotinductor aotinductor-fp16 {syntax}" for syntax in SYNTAXES[:2]),
    "tensorrt-rtx fp16-scores htj2k",
    "aotinductor aotinductor-fp16-scores htj2k",
    "aotinductor aotinductor htj2k",
    "eager weights htj2k",  # slow, and runs on any GPU
)
DRY_RUNS = ("onnxruntime fp32 htj2k", "eager fp32 explicit")

ENVIRONMENT = partial(without_gpu, kinds=("export", "films"))


def stages(*, dry: bool) -> list[Stage]:
    """In this order; what a stage leaves over goes to those after it."""
    exports = ("fp32",) if dry else EXPORTS
    syntaxes = ("htj2k", "explicit") if dry else SYNTAXES
    films = tuple(f"films {syntax}" for syntax in syntaxes)
    runs = DRY_RUNS if dry else RUNS
    return [
        Stage(("environment", "models", *(() if dry else ("probe default",))), weight=35, least=10, correctness=True),
        Stage((*(f"export {name}" for name in exports), *films), weight=150, least=40, correctness=True),
        *(Stage((f"run {name}",), weight=_weight(name), least=20, correctness=True) for name in runs),
        Stage(("agree",), weight=5, least=2, correctness=True),
    ]


def _weight(run: str) -> float:
    """Seconds: on an H200 eager PyTorch in float32 took 44 s for the exams of a syntax."""
    return 65 if run.startswith("eager ") else 30


def main() -> None:
    arguments = _arguments()
    if arguments.part:
        run_part(arguments)
        return
    prepare(arguments.out, OWN, dry=arguments.dry_run)
    from benchmarks.gpu_exams import targets

    program = Program(MODULE, ("work", "films", "weights"), ("probe",), ENVIRONMENT, partial(summary, targets))
    with work_folder(arguments, "films", "weights"):
        raise SystemExit(0 if run(program, stages(dry=arguments.dry_run), arguments) else 1)


def _arguments() -> argparse.Namespace:
    options = parser(MODULE, (__doc__ or "").split("\n")[0], SECONDS)
    options.add_argument("--films", type=Path, metavar="FILE", help="pictures, as benchmarks.gpu_carry writes them")
    options.add_argument("--weights", type=Path, metavar="FILE", help="weights of the preset `paper`; else random ones")
    with_work(options, 55)
    return options.parse_args()


def run_part(arguments: argparse.Namespace) -> None:
    """In the part's own process."""
    from benchmarks import gpu_exams, gpu_measure, gpu_models, gpu_rtx
    from benchmarks.gpu_part import Part, perform

    functions: dict[str, Callable[[Part], None]] = {
        "environment": gpu_measure.environment,
        "models": gpu_models.models,
        "export": gpu_models.make,
        "films": partial(gpu_exams.films, arguments.films),
        "probe": gpu_rtx.probe,
        "run": gpu_exams.run,
        "agree": gpu_exams.agree,
    }
    perform(functions, arguments, work=arguments.work, weights=arguments.weights)


if __name__ == "__main__":
    main()
