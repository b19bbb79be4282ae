"""`disasym prepare`."""

from pathlib import Path
from typing import Any

import click

from disasym.data.datasets.catalogue import DATASETS

EPILOG = "\n".join(
    [
        "\b",
        "Data sets (what each needs on disk and calls abnormal: docs/datasets.md):",
        *(f"  {name:<12} {source.licence:<24} {source.url}" for name, source in DATASETS.items()),
        "",
        "\b",
        "Examples:",
        "  disasym prepare mini-mias data/mias --out data/mias.csv",
        "  disasym prepare cdd-cesm data/cesm --seed 7 --out data/cesm.parquet",
        "  disasym prepare csv archive --column laterality=Side --out archive/manifest.csv",
    ]
)


@click.command("prepare", epilog=EPILOG)
@click.argument("dataset", type=click.Choice(list(DATASETS)), metavar="DATASET")
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Manifest to write, .csv or .parquet, in ROOT or a folder above it.",
)
@click.option(
    "--split",
    type=click.Choice(["ratios", "none"]),
    default="ratios",
    show_default=True,
    help="Share women out by the paper's ratios (INbreast 6:2:2, others 8:1:1), or leave that to train.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split.")
@click.option("--keep-unlabelled", is_flag=True, help="Keep pairs with a side of unknown label: for infer, not train.")
@click.option("--check-images", is_flag=True, help="Open every header; otherwise it is enough that files exist.")
@click.option(
    "--column", "columns", multiple=True, metavar="OURS=THEIRS", help="Name of a column, for csv alone. Repeatable."
)
def prepare_command(columns: tuple[str, ...], **options: Any) -> None:
    """Write the manifest of a data set that lies in ROOT.

    The manifest has one row an image, with pairs, labels, lesions and the part of the split, and is what train and
    infer read. Everything that is wrong is listed in OUT's .problems.csv and counted on the screen.
    """
    from disasym.data.datasets.prepare import PrepareOptions, prepare

    if any("=" not in text for text in columns) or (columns and options["dataset"] != "csv"):
        raise click.UsageError("--column takes OURS=THEIRS, and only for the data set csv")
    result = prepare(PrepareOptions(columns=dict(text.split("=", 1) for text in columns), **options))
    labels = [pair.labels for pair in result.pairs if None not in (pair.right.abnormal, pair.left.abnormal)]
    symmetric = sum(label[0] == 0 for label in labels)
    women = len({pair.patient_id for pair in result.pairs})
    click.echo(f"{len(result.pairs)} pairs of {women} women, {symmetric} symmetric, in {result.manifest}")
    parts = [pair.right.split or "no split" for pair in result.pairs]
    for name in sorted(set(parts)):
        click.echo(f"  {name:<12}{parts.count(name)} pairs")
    click.echo(f"{len(result.problems)} problems in {result.problem_list}")
    for kind, count in sorted(result.counts().items()):
        click.echo(f"  {kind:<24}{count}")
