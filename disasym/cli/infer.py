"""`disasym infer`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from disasym.cli.engines import engine_option

if TYPE_CHECKING:
    from disasym.infer import InferOptions, Summary

SHOWN = 10  # failed files that are listed without --verbose

EPILOG = """\b
Examples:
  disasym infer exams/ --out report/
  disasym infer exams/ --out report/ --model exports/inbreast --device cuda --batch 32
  disasym infer manifest.csv --out report/ --write scores
  disasym infer exams/ --out report/ --write html,sr,seg
  disasym infer exams/ --out report/ --model exports/inbreast --fresh
  disasym infer exams/ --out report/ --benchmark
  disasym infer exams/ --out report/ --ray auto --device cuda --batch 32

\b
Exit code:
  0  every file was used, or skipped with a reason (see files.csv)
  1  some files failed, all others were read; or --benchmark found other scores, or could not compare
  2  the command was wrong: no such folder or model, no PyTorch for --benchmark; nothing was read
"""


@click.command("infer", epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Export folder, or weights (.safetensors, with PyTorch).  [default: $DISASYM_MODEL, else the bundled"
    " demonstration]",
)
@engine_option("What runs the model")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Pairs in one run of the engine.")
@click.option("--workers", type=click.IntRange(1), help="Pairs decoded at a time.  [default: one a core]")
@click.option("--threads", type=click.IntRange(1), help="Threads of the engine on the CPU.  [default: one a core]")
@click.option(
    "--write",
    metavar="LIST",
    help="What to write, separated by commas: scores (always written), html (report.html), panels (one PNG a pair), and"
    " of DICOM films only: sr (a structured report a pair), seg (a segmentation of the lesions of a film), capture (the"
    " panel as a Secondary Capture).  [default: scores,html,panels; no panels if the model makes no images]",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Run on a Ray cluster: host:port of its head, auto for the one this machine is part of, local for this machine"
    " alone. --workers then is for the whole cluster. Needs disasym[ray].",
)
@click.option("--include-processing", is_flag=True, help="Also read images FOR PROCESSING, which are raw.")
@click.option(
    "--fresh",
    is_flag=True,
    help="Forget what earlier runs have done in OUT and remove their pictures and objects: needed to score the films"
    " with another model or other settings.",
)
@click.option(
    "--benchmark",
    is_flag=True,
    help="When the run is over, run its batches again in turns with eager PyTorch, and say how long a pair takes in"
    " each and how far the scores differ. Needs disasym[train].",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress bar and no summary.")
@click.option(
    "--verbose",
    "-v",
    is_flag=True,
    help="List every skipped and failed file with its reason, and say where the time went.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for a trace of all stages, which ui.perfetto.dev and chrome://tracing show.",
)
@click.pass_context
def infer_command(
    context: click.Context,
    folder: Path,
    out: Path,
    model: Path | None,
    engine: str,
    device: str,
    batch: int,
    workers: int | None,
    threads: int | None,
    write: str | None,
    ray: str | None,
    include_processing: bool,
    fresh: bool,
    benchmark: bool,
    quiet: bool,
    verbose: bool,
    trace: Path | None,
) -> None:
    """Score every pair of mammograms in FOLDER.

    FOLDER is searched in depth for DICOM files, whatever they are called. It may also be one DICOM file, or a manifest
    (.csv or .parquet) of PNG, PGM or TIFF images. Right and left of one view of one examination are compared.

    OUT gets results.csv and results.jsonl (one row a pair), exams.csv (one row an examination), boxes.csv (one row a
    lesion box, in the pixels of its file), files.csv (what became of every file, and why), report.html (all of it to
    look at in a browser, worst examination first; layers/ holds its images) and images/ (original, heat map, normal and
    abnormality of both breasts).
    A run that was killed or interrupted goes on where it stopped when the same command is given again, and one that
    ended does only what is new: what is done stands in ledger.sqlite. Films that are gone leave the tables.
    No name, identifier or birth date of a patient is written, but into the DICOM objects that --write asks for: those
    in dicom/ belong to the patient and the study of their films.
    """
    from disasym.infer import InferOptions, infer

    options = InferOptions(
        source=folder,
        out=out,
        model=model,
        engine=engine,
        device=device,
        batch=batch,
        workers=workers,
        threads=threads,
        write=None if write is None else tuple(name.strip() for name in write.split(",") if name.strip()),
        include_processing=include_processing,
        fresh=fresh,
        quiet=quiet,
        trace=trace,
    )
    if ray and (benchmark or trace):
        raise click.UsageError("--benchmark and --trace are of one machine: leave them or --ray out")
    if benchmark:
        context.exit(benchmarked(options, verbose))
    if ray:
        from disasym.infer.on_ray import infer_on_ray

        context.exit(shown(infer_on_ray(options, ray), quiet, verbose))
    context.exit(shown(infer(options), quiet, verbose))


def benchmarked(options: "InferOptions", verbose: bool) -> int:
    """Run, show what was done, compare with eager PyTorch, show that too; the exit code."""
    from rich.console import Console

    from disasym.bench import beside

    with beside.recorded(options) as recording:
        code = shown(recording.summary, options.quiet, verbose)
        with Console(stderr=True, quiet=options.quiet).status("") as status:
            found = beside.compare(recording, status.update)
    failed = beside.exit_code(found)
    if failed or not options.quiet:
        click.echo(table(beside.told(found, recording.problem)), err=bool(failed))
    return code or failed


def shown(summary: "Summary", quiet: bool, verbose: bool) -> int:
    """Print what a run did; its exit code."""
    if not quiet:
        click.echo(described(summary))
        if verbose and summary.stages:
            click.echo(timed(summary))
    listed(summary, verbose)
    return summary.exit_code


def timed(summary: "Summary") -> str:
    """Where the time went, a stage a line. A stage of several threads may be busy for longer than the run took."""
    lines = [f"{'stage':<9}{'done':>8}{'busy s':>10}{'of run':>8}{'a second':>10}   waited for input, output"]
    for stage in summary.stages:
        share = stage.busy / summary.seconds if summary.seconds else 0.0
        waited = f"   {stage.waited_for_input:.1f} s, {stage.waited_for_output:.1f} s" if stage.name == "engine" else ""
        lines.append(f"{stage.name:<9}{stage.count:>8}{stage.busy:>10.2f}{share:>8.0%}{stage.rate:>10.1f}{waited}")
    return "\n".join(lines)


def described(summary: "Summary") -> str:
    """What a run did, one fact a line."""
    counts = ", ".join(f"{summary.count(fate)} {fate}" for fate in ("used", "skipped", "failed"))
    rate = f", {summary.scored / summary.seconds:.2f} pairs/s" if summary.scored else ""
    already = f"; {summary.already} already done" if summary.already else ""
    gone = (
        f"; {summary.gone} of earlier runs are not in the source any more and left the tables" if summary.gone else ""
    )
    facts = {
        "pairs": f"{summary.scored} scored in {summary.seconds:.1f} s{rate}{already}{gone}",
        "files": counts,
        "model": f"{summary.model_sha256[:12]} on {summary.engine}",
        "results": f"{printable(summary.out)} (results.csv, exams.csv, boxes.csv, files.csv)",
    }
    if summary.report is not None:
        facts["report"] = f"open {printable(summary.report)} in a browser"
    if summary.left_out:
        facts["left out"] = summary.left_out
    if not summary.scored and not summary.already:
        facts["pairs"] = f"no mammogram pairs found: files.csv says why each file was not used{gone}"
    if summary.notes:
        facts["note"] = "; ".join(summary.notes)
    return table(facts)


def table(facts: dict[str, str]) -> str:
    """One fact a line, behind its name."""
    return "\n".join(f"{name:<9}{value}" for name, value in facts.items())


def listed(summary: "Summary", verbose: bool) -> None:
    """Print failed files to standard error; with `verbose` all of them, and the skipped ones."""
    failed = [fate for fate in summary.fates if fate.fate == "failed"]
    for fate in summary.fates if verbose else failed[:SHOWN]:
        if fate.fate != "used":
            click.echo(f"{fate.fate}  {printable(fate.path)}: {fate.reason}", err=True)
    if not verbose and len(failed) > SHOWN:
        click.echo(f"… and {len(failed) - SHOWN} more: see files.csv", err=True)


def printable(path: Path) -> str:
    """A path that a terminal can show: what is not printable or not text is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(path))
