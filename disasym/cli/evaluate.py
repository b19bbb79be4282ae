"""`disasym evaluate`."""

import sys
from pathlib import Path

import click

from disasym.cli.engines import engine_option

WIDTH = 140  # of a table that is not shown on a terminal
SHOWN = 10  # failed files that are listed

EPILOG = """\b
Examples:
  disasym evaluate --model exports/inbreast --manifest inbreast.csv --out evaluation/
  disasym evaluate --model runs/cesm/model.safetensors --manifest cesm/manifest.csv --splits runs/cesm/split.csv
  disasym evaluate --model exports/new --against exports/old --manifest inbreast.csv --by view,density

\b
Exit code:
  0  every pair of the split was scored
  1  some pairs could not be scored: left_out.csv says which and why
  2  the command was wrong, or nothing could be scored
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("evaluate", epilog=EPILOG)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Export folder, or weights (.safetensors, with PyTorch).  [default: $DISASYM_MODEL, else the bundled"
    " demonstration]",
)
@click.option("--manifest", type=_FILE, required=True, help="Table of images with labels (.csv or .parquet).")
@click.option("--out", type=click.Path(path_type=Path), default=Path("evaluation"), show_default=True, help="Folder.")
@click.option("--against", type=click.Path(path_type=Path), help="A second model: is its AUC smaller or larger?")
@click.option("--split", help="Part of the manifest, or all.  [default: test; all where the manifest has no splits]")
@click.option("--splits", type=_FILE, help="Table dataset, pair_id, split in place of the manifest's: RUN/split.csv.")
@click.option(
    "--by",
    metavar="LIST",
    help="Figures for each group too, by columns separated by commas: dataset, view, laterality, density, birads,"
    " finding, pathology.  [default: dataset where there are several]",
)
@engine_option("What runs the models")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Pairs in one run of the engine.")
@click.option("--workers", type=click.IntRange(1), help="Pairs decoded at a time.  [default: one a core]")
@click.option("--threads", type=click.IntRange(1), help="Threads of the engine on the CPU.  [default: one a core]")
@click.option("--bootstraps", type=click.IntRange(2), default=1000, show_default=True, help="Draws of women.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar and no tables.")
@click.pass_context
def evaluate_command(
    context: click.Context,
    model: Path | None,
    manifest: Path,
    out: Path,
    against: Path | None,
    split: str | None,
    splits: Path | None,
    by: str | None,
    engine: str,
    device: str,
    batch: int,
    workers: int | None,
    threads: int | None,
    bootstraps: int,
    seed: int,
    quiet: bool,
) -> None:
    """Measure how well a model tells abnormal breasts from normal ones.

    The pairs of one split of MANIFEST are scored. AUC, average precision and sensitivity at 90 and 95 % specificity,
    each with a 95 % interval over women, for single breasts, for pairs (asymmetry) and for women; whether scores are
    probabilities; and, where the manifest has lesions, how well heat maps show them. Where the figures are no
    evidence, because the model may know the women, the report begins with that.

    OUT gets report.md with ROC, reliability and FROC curves, metrics.csv, curves.csv, predictions.csv, left_out.csv,
    evaluation.json, and with --against comparison.csv. docs/evaluate.md says what each figure is. Needs scikit-learn
    and matplotlib: pip install 'disasym[evaluate]'.
    """
    from rich.console import Console

    from disasym.cli.extras import requires_evaluate

    with requires_evaluate():
        from disasym.evaluate import EvaluateOptions, evaluate
        from disasym.evaluate.report import paths, write
        from disasym.evaluate.screen import scoring, show
    from disasym.infer import default_model

    options = EvaluateOptions(
        model=model or default_model(),
        manifest=manifest,
        out=out,
        against=against,
        split=split,
        splits=splits,
        by=tuple(dict.fromkeys(name.strip() for name in (by or "").split(",") if name.strip())),
        engine=engine,
        device=device,
        batch=batch,
        workers=workers,
        threads=threads,
        bootstraps=bootstraps,
        seed=seed,
    )
    with scoring(quiet) as say:
        found = evaluate(options, say)
    written = write(found)
    if not quiet:
        show(found, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH))
        click.echo(f"\nresults  {paths(out, written)}")
    for path, reason in found.failed[:SHOWN]:
        click.echo(f"failed  {path}: {reason}", err=True)
    if len(found.failed) > SHOWN:
        click.echo(f"… and {len(found.failed) - SHOWN} more: see left_out.csv", err=True)
    context.exit(found.exit_code)
