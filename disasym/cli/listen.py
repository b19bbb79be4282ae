"""`disasym listen`."""

import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from disasym.cli.engines import engine_option

if TYPE_CHECKING:
    from disasym.listen.options import Tls

EPILOG = """\b
Examples:
  disasym listen --out results/
  disasym listen --out results/ --bind 0.0.0.0 --allow ORTHANC --send-to ORTHANC@10.0.0.5:4242
  disasym listen --out results/ --bind 0.0.0.0 --allow PACS1 --allow PACS2 --keep-days 7

\b
Exit code:
  0  it was stopped by SIGTERM or SIGINT: what was in work is finished, what waits is in the spool
  2  it could not begin: no such model, the port or the folder is taken
"""


@click.command("listen", epilog=EPILOG)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results, record and spool.")
@click.option("--bind", "host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=11112, show_default=True)
@click.option("--ae-title", default="DISASYM", show_default=True, help="Our own AE title, in both directions.")
@click.option(
    "--allow",
    multiple=True,
    metavar="AE",
    help="Calling AE title that may send; can be repeated.  [default: all]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds without a new film after which an examination that lacks a breast is analysed as it is.",
)
@click.option(
    "--send-to",
    multiple=True,
    metavar="AE@HOST:PORT",
    help="Store the DICOM objects there; can be repeated.",
)
@click.option("--spool", type=click.Path(path_type=Path), help="Folder of received films.  [default: OUT/spool]")
@click.option(
    "--keep-days",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Remove films so long after their analysis, once all results are sent.  [default: keep them]",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Our certificate; then all associations are TLS.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key.")
@click.option("--tls-ca", type=click.Path(path_type=Path), help="Who signs the certificates of the other sides.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Export folder, or weights (.safetensors, with PyTorch).  [default: $DISASYM_MODEL, else the bundled"
    " demonstration]",
)
@engine_option("What runs the model")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--workers", type=click.IntRange(1), help="Films decoded at a time.  [default: one a core]")
@click.option("--threads", type=click.IntRange(1), help="Threads of the engine on the CPU.  [default: one a core]")
@click.option(
    "--write",
    metavar="LIST",
    help="As for `disasym infer`.  [default: as there, with --send-to also sr,seg]",
)
@click.option("--include-processing", is_flag=True, help="Also read images FOR PROCESSING, which are raw.")
@click.option("--quiet", "-q", is_flag=True, help="Only what goes wrong is logged.")
@click.option("--verbose", "-v", is_flag=True, help="A line in the log for each object too.")
def listen_command(
    out: Path,
    host: str,
    port: int,
    ae_title: str,
    allow: tuple[str, ...],
    timeout: float,
    send_to: tuple[str, ...],
    spool: Path | None,
    keep_days: float | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    model: Path | None,
    engine: str,
    device: str,
    workers: int | None,
    threads: int | None,
    write: str | None,
    include_processing: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Receive mammograms from a PACS, and analyse each examination as it comes.

    A DICOM Storage SCP. An examination is analysed as soon as every view is there of both breasts and the sender has
    hung up, else after --timeout seconds without a new film. OUT/exams/ gets a folder for each with what
    `disasym infer` writes, OUT/index.csv one row for each. With --send-to the structured reports and segmentations are
    stored in the study of the films, and offered again until they are taken.

    A film is acknowledged when it is on the disk: a kill at any moment loses nothing, and the next start goes on. It
    needs the package pynetdicom: pip install 'disasym[listen]'. How to set it up: docs/listen.md.
    """
    try:
        from disasym.listen import ListenOptions, listen
    except ModuleNotFoundError as error:
        from disasym.errors import MissingExtraError

        if (error.name or "").split(".")[0] != "pynetdicom":
            raise
        raise MissingExtraError("disasym listen", "pynetdicom", "listen") from None
    options = ListenOptions(
        out=out,
        spool=spool,
        host=host,
        port=port,
        ae_title=ae_title.strip(),
        allow=tuple(title.strip() for title in allow),
        timeout=timeout,
        send_to=send_to,
        keep_days=keep_days,
        tls=_tls(tls_cert, tls_key, tls_ca),
        model=model,
        engine=engine,
        device=device,
        workers=workers,
        threads=threads,
        write=None if write is None else tuple(name.strip() for name in write.split(",") if name.strip()),
        include_processing=include_processing,
    )
    _log_to_standard_error(quiet, verbose)
    listen(options, _stopped_by_signals())


def _tls(certificate: Path | None, key: Path | None, ca: Path | None) -> "Tls | None":
    """All three, or none."""
    from disasym.errors import InputError
    from disasym.listen.options import Tls

    if certificate is None and key is None and ca is None:
        return None
    if certificate is None or key is None or ca is None:
        raise InputError("TLS needs --tls-cert, --tls-key and --tls-ca, all three")
    return Tls(certificate, key, ca)


def _log_to_standard_error(quiet: bool, verbose: bool) -> None:
    import logging
    import time

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    handler.formatter.converter = time.gmtime  # type: ignore[union-attr]
    log = logging.getLogger("disasym.listen")
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def _stopped_by_signals() -> Callable[[], bool]:
    """A function that says whether SIGTERM or SIGINT came; the second one ends the program at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return lambda: bool(came)
