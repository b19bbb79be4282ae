"""`disasym tumours`."""

from collections import Counter
from pathlib import Path

import click

EPILOG = """\b
Examples:
  disasym tumours --manifest mias/manifest.csv --out mias.npz
  disasym tumours --manifest cesm/manifest.csv --enhancing --out cesm.npz
"""


@click.command("tumours", epilog=EPILOG)
@click.option(
    "--manifest",
    "manifests",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="Table of images with a column lesions (circles, boxes) or mask. Repeatable.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Bank to write (.npz).")
@click.option(
    "--enhancing",
    is_flag=True,
    help="Also look for the lesion of contrast-enhanced images (CDD-CESM) whose finding names a mass: a heuristic,"
    " for images without annotation.",
)
def tumours_command(manifests: tuple[Path, ...], out: Path, enhancing: bool) -> None:
    """Cut tumours out of annotated mammograms, for the synthesis of `disasym train`.

    Use the bank of one data set to train on another: then no annotation of the training set is used.
    """
    from disasym.data.manifest import read_manifest
    from disasym.data.tumours import build_bank

    tables = [read_manifest(path) for path in manifests]
    build = build_bank([pair for table in tables for pair in table.pairs], enhancing)
    build.bank.save(out)
    click.echo(f"{len(build.bank)} tumours in {out}")
    reasons = Counter(reason for _, reason in build.skipped)
    reasons.update(f"row of the manifest: {reason}" for table in tables for _, reason in table.skipped)
    for reason, count in reasons.most_common():
        click.echo(f"  {count} not used: {reason}")
