"""`disasym calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from disasym.evaluate.temperature import Fitted

EPILOG = """\b
Examples:
  disasym calibrate runs/cesm/model.safetensors --manifest cesm.csv --splits runs/cesm/split.csv
  disasym export runs/cesm/model-calibrated.safetensors --out exports/cesm --pairs cesm.csv

\b
Exit code:
  0  written
  1  written, but some pairs could not be scored: they are named
  2  the command was wrong, or these pairs allow no temperature
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("calibrate", epilog=EPILOG)
@click.argument("weights", type=_FILE)
@click.option("--manifest", type=_FILE, required=True, help="Table of images with labels (.csv or .parquet).")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Weights to write.  [default: WEIGHTS' name with -calibrated]",
)
@click.option("--split", default="validation", show_default=True, help="Part of the manifest, or all.")
@click.option("--splits", type=_FILE, help="Table dataset, pair_id, split in place of the manifest's: RUN/split.csv.")
@click.option("--anyway", is_flag=True, help="Even if the model may know the women: probabilities will be too sure.")
@click.option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Pairs in one run of the engine.")
@click.option("--workers", type=click.IntRange(1), help="Pairs decoded at a time.  [default: one a core]")
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch.  [default: its own choice]")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@click.pass_context
def calibrate_command(
    context: click.Context,
    weights: Path,
    manifest: Path,
    out: Path | None,
    split: str,
    splits: Path | None,
    anyway: bool,
    batch: int,
    workers: int | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Make a model's scores probabilities: one temperature for each of its two heads.

    They are fitted on labelled pairs of women whom the model was not trained on, and written with the weights into a
    new file. Networks and exports made from that file divide their logits by them, so every engine gives the same
    probabilities. The order of scores stays, and so does the side of 0.5 on which a score is.

    A temperature holds for women like those it was fitted on: where fewer are abnormal, as in screening, scores are
    still too high. Needs PyTorch and scikit-learn: pip install 'disasym[train,evaluate]'.
    """
    from disasym.cli.extras import requires_evaluate, requires_train

    with requires_train("disasym calibrate"), requires_evaluate("disasym calibrate"):
        from disasym.evaluate.screen import scoring
        from disasym.evaluate.temperature import CalibrateOptions, calibrate

    options = CalibrateOptions(
        weights=weights,
        manifest=manifest,
        out=out or weights.with_name(f"{weights.stem}-calibrated.safetensors"),
        split=split,
        splits=splits,
        anyway=anyway,
        batch=batch,
        workers=workers,
        threads=threads,
    )
    with scoring(quiet) as say:
        found = calibrate(options, say)
    for line in told(found):
        click.echo(line)
    click.echo(f"{options.out}: export it with disasym export; disasym evaluate on test pairs says how it holds")
    for path, reason in found.failed:
        click.echo(f"failed  {path}: {reason}", err=True)
    context.exit(1 if found.failed else 0)


def told(found: "Fitted") -> list[str]:
    """A line a head, and what speaks against them."""
    lines = []
    for name, (before, after) in found.ece.items():
        head = getattr(found.temperatures, name)
        counts = f"{head.entries} entries, {head.positives} positive, {head.women} women"
        losses = f"log loss {head.loss_before:.4f} → {head.loss_after:.4f}, ECE {before:.3f} → {after:.3f}"
        lines += [
            f"{name:<10} temperature {head.temperature:.3f} [{head.low:.3f}, {head.high:.3f}] ({counts})",
            f"{'':<10} {losses}, on these very pairs",
        ]
    return [*lines, *(f"doubtful: {doubt}" for doubt in found.doubts)]
