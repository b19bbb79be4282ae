"""`disasym average`."""

from pathlib import Path

import click

EPILOG = """\b
Examples:
  disasym train --manifest cesm.csv --preset lite --method asyc --init lite0.safetensors --seed 1 --out runs/1
  disasym train --manifest cesm.csv --preset lite --method asyc --init lite0.safetensors --seed 2 --out runs/2
  disasym average runs/1/model.safetensors runs/2/model.safetensors --out mean.safetensors
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("average", epilog=EPILOG)
@click.argument("weights", type=_FILE, nargs=-1, required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Weights to write.")
def average_command(weights: tuple[Path, ...], out: Path) -> None:
    """Make one network of several trainings of it: the mean of their weights.

    For trainings that began with the same weights (--init) and differ in their --seed. The mean is often better than
    each of them, and as fast as one. Evaluate it before you use it: means of trainings from random weights, which
    differ from seed to seed, are worth nothing. Temperatures of the files are left out: run `disasym calibrate` again.

    Needs PyTorch: pip install 'disasym[train]'.
    """
    from disasym.cli.extras import requires_train

    with requires_train("disasym average"):
        from disasym.average import average
        from disasym.checkpoint import read_metadata, save_model

    mean, first = average(weights), read_metadata(weights[0])
    save_model(out, mean, averaged=str(len(weights)), preset=first.get("preset", ""), method=first.get("method", ""))
    click.echo(f"{out}: the mean of {len(weights)} trainings")
