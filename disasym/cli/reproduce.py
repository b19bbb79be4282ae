"""`disasym reproduce`."""

from pathlib import Path
from typing import Any

import click

from disasym.cli.training import FILE, training_options

EPILOG = """\b
Examples:
  disasym reproduce --manifest inbreast.csv --tumours ddsm.npz --epochs 50 --lr-step 20 --device cuda --out runs/paper
  disasym reproduce --manifest mias.csv --manifest cesm.csv --preset small --folds 5 --out runs/small --plan
  torchrun --nproc-per-node 4 -m disasym reproduce --manifest vindr.parquet --tumours ddsm.npz --device cuda \\
      --out runs/vindr

\b
Exit code:
  0  every run is finished
  1  some runs failed: report.md and plan.csv say which and why; the same command tries them again
  2  the command was wrong, or nothing could be run
"""


def _listed(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in (value or "").split(",") if name.strip()))


def _fractions(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(share) for share in value.split(",")}))
    except ValueError:
        raise click.BadParameter(f"{value!r}: give tenths separated by commas, such as 0.2,0.5,1") from None


@click.command("reproduce", epilog=EPILOG)
@click.option(
    "--manifest", "manifests", type=FILE, multiple=True, required=True, help="One for each data set. Repeatable."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of all results.")
@click.option(
    "--tumours",
    type=FILE,
    multiple=True,
    help="Bank of `disasym tumours` from another data set. Repeatable.  [default: with several manifests, the tumours"
    " of each serve the others]",
)
@click.option(
    "--parts",
    callback=_listed,
    default="table1,table2,figure2,figure3",
    show_default=True,
    metavar="LIST",
    help="Of the paper.",
)
@click.option("--methods", callback=_listed, metavar="LIST", help="Only these.  [default: all that the parts need]")
@click.option(
    "--frozen",
    type=FILE,
    help="ImageNet weights of EfficientNet-Lite0 as .safetensors: adds a row with its frozen features and a logistic"
    " regression, which every method should beat.",
)
@click.option(
    "--fractions",
    callback=_fractions,
    default="0.2,0.4,0.6,0.8,1",
    show_default=True,
    metavar="LIST",
    help="Of the training women in figure 2, in tenths.",
)
@click.option(
    "--folds",
    type=int,
    default=0,
    metavar="N",
    help="Cross-validation by woman.  [default: the manifests' own split]",
)
@click.option(
    "--scored",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="The epoch with the best AUC on validation women, or the last one, with no women held back.",
)
@click.option("--bootstraps", type=click.IntRange(2), default=1000, show_default=True, help="Draws of women.")
@click.option("--panels", type=click.IntRange(0), default=4, show_default=True, help="Pairs of figure 3.")
@click.option("--plan", "only_plan", is_flag=True, help="Train nothing: list every run and how long all will take.")
@training_options
@click.pass_context
def reproduce_command(
    context: click.Context,
    /,
    parts: tuple[str, ...],
    methods: tuple[str, ...],
    frozen: Path | None,
    fractions: tuple[float, ...],
    folds: int,
    scored: str,
    bootstraps: int,
    panels: int,
    only_plan: bool,
    no_synthesis: bool,
    tumours: tuple[Path, ...],
    **training: Any,
) -> None:
    """Repeat the paper on data of one's own: tables 1 and 2, figures 2 and 3.

    Every method is trained with the same budget and scored on women that it has never seen. OUT gets report.md,
    figures.csv with every number, figure2-….png, figure3-….png, plan.csv with the state of every run and the time
    left, left_out.csv, and runs/ with weights and scores of each. Kill it whenever you like: the same command goes on
    where it was, and repeats nothing that is finished. docs/reproduce.md says how long it takes on what.

    Needs PyTorch, scikit-learn and matplotlib: pip install 'disasym[train,evaluate]'.
    """
    from disasym.cli.extras import requires_evaluate, requires_train

    with requires_train("disasym reproduce"), requires_evaluate("disasym reproduce"):
        from disasym.losses import LossWeights
        from disasym.reproduce import ReproduceOptions, plan, reproduce
        from disasym.reproduce.banks import banks_of_each
        from disasym.reproduce.screen import show
        from disasym.train import TrainOptions
        from disasym.train.processes import is_first

    if not tumours and not no_synthesis and len(training["manifests"]) > 1:
        tumours = banks_of_each(training["manifests"], training["out"] / "tumours")
    losses = LossWeights(synthesis=0.0) if no_synthesis else LossWeights()
    options = ReproduceOptions(
        training=TrainOptions(losses=losses, tumours=tumours, **training),
        parts=parts,
        methods=methods,
        fractions=fractions,
        frozen=frozen,
        folds=folds,
        scored=scored,
        bootstraps=bootstraps,
        panels=panels,
    )

    def say(text: str) -> None:
        if is_first():
            click.echo(text, err=True)

    found = plan(options, say) if only_plan else reproduce(options, say)
    if is_first():
        show(found)
    context.exit(0 if only_plan else found.exit_code)
