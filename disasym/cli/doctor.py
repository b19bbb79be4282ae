"""`disasym doctor`."""

from pathlib import Path

import click

from disasym.cli.engines import engine_option

EPILOG = """\b
Examples:
  disasym doctor
  disasym doctor --model exports/inbreast --engine onnxruntime
  disasym doctor --json > doctor.json

\b
Exit code:
  0  everything that disasym infer needs works; what is optional and absent is only said
  1  something that it needs does not work, or the engine asked for does not run
"""


@click.command("doctor", epilog=EPILOG)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Export folder, or weights (.safetensors, with PyTorch).  [default: $DISASYM_MODEL, else the bundled"
    " demonstration]",
)
@engine_option("The engine that must run the model")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--thorough", is_flag=True, help="Also start every other engine; this may import PyTorch, and takes longer."
)
@click.option("--json", "as_json", is_flag=True, help="Print the same facts as JSON; docs/doctor.md lists the keys.")
@click.pass_context
def doctor_command(
    context: click.Context, model: Path | None, engine: str, device: str, thorough: bool, as_json: bool
) -> None:
    """Say what is installed and what works here.

    Looks at the machine, the packages, the GPU, the DICOM decoders, the model and the engines. One synthetic pair is
    run. Nothing is changed and nothing is sent. No environment variable is shown but those named DISASYM_*.
    """
    import json

    from disasym.doctor import examine

    found = examine(model, engine, device, thorough)
    try:
        from disasym.doctor.screen import show
    except ModuleNotFoundError:  # rich is one of the packages that may be missing
        as_json = True
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        show(found)
    context.exit(0 if found.healthy else 1)
