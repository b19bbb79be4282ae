"""`disasym export`."""

from pathlib import Path

import click

EPILOG = """\b
Examples:
  disasym export runs/mias/model.safetensors --out exports/mias --pairs mias/manifest.csv
  disasym infer exams/ --model exports/mias --out report/
"""


@click.command("export", epilog=EPILOG)
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Export folder to make.")
@click.option(
    "--pairs",
    type=click.Path(exists=True, path_type=Path),
    help="Manifest or DICOM folder: real pairs, of which up to eight are compared with PyTorch.  [default: synthetic"
    " pairs]",
)
@click.option("--half-weights", is_flag=True, help="Store the weights as float16: half the size, rounded to 1 in 2048.")
def export_command(weights: Path, out: Path, pairs: Path | None, half_weights: bool) -> None:
    """Turn WEIGHTS of `disasym train` into an export that runs without PyTorch.

    OUT gets model.onnx, model.safetensors, README.md (the model card beside WEIGHTS, where there is one) and
    manifest.json with the SHA-256 of each file. The export is run against PyTorch; if they differ by more than
    1e-4 in a score or 1e-3 in an image, nothing is written. Needs PyTorch: pip install 'disasym[train]'.
    """
    from disasym.cli.extras import requires_train

    with requires_train("disasym export"):
        from disasym.checkpoint import read_config
        from disasym.export import export

    views = None
    if pairs is not None:
        from disasym.infer.stages import load_views

        config = read_config(weights)
        views = load_views(pairs, config.height, config.width)
    manifest = export(weights, out, parity_views=views, half_weights=half_weights)
    parity = manifest.parity
    click.echo(f"{out}: {', '.join(manifest.files)}; opset {manifest.opset}, {manifest.precision}")
    for engine, deltas in parity.measured.items():
        worst = ", ".join(f"{name} {delta:.1e}" for name, delta in deltas.items())
        click.echo(f"largest difference of {engine} to PyTorch on {parity.pairs} {parity.source} pairs: {worst}")
