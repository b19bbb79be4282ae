"""The command line. A command parses, calls one function and prints; what it needs is imported when it runs."""

import click

from disasym import __version__
from disasym.cli.bench import bench_command
from disasym.cli.calibrate import calibrate_command
from disasym.cli.demo import demo_command
from disasym.cli.doctor import doctor_command
from disasym.cli.evaluate import evaluate_command
from disasym.cli.export import export_command
from disasym.cli.infer import infer_command
from disasym.cli.listen import listen_command
from disasym.cli.prepare import prepare_command
from disasym.cli.reproduce import reproduce_command
from disasym.cli.train import train_command
from disasym.cli.tumours import tumours_command
from disasym.cli.verify import verify_command
from disasym.errors import DisasymError

__all__ = ["main"]

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class _Refused(click.ClickException):
    """A DisasymError as one line on standard error."""

    exit_code = 2


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DisasymError as error:
            raise _Refused(" ".join(str(error).split())) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=_Commands,
    commands=[
        demo_command,
        infer_command,
        listen_command,
        prepare_command,
        tumours_command,
        train_command,
        evaluate_command,
        calibrate_command,
        reproduce_command,
        export_command,
        verify_command,
        bench_command,
        doctor_command,
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="disasym")
def main() -> None:
    """Read screening mammograms and compare the two breasts with DisAsymNet.

    For research. disasym is not a medical device.
    """
