"""Print docs/commands.md: the `--help` of every command, so that the page never disagrees with the program."""

import sys

import click
from click.testing import CliRunner

from disasym import cli

COLUMNS = 100  # fixed, so that the page does not depend on the terminal


def root_command() -> click.Group:
    """The one click group of `disasym.cli`, whatever its name."""
    groups = [value for value in vars(cli).values() if isinstance(value, click.Group)]
    (group,) = {id(value): value for value in groups}.values()
    return group


def help_text(group: click.Group, arguments: list[str]) -> str:
    result = CliRunner().invoke(group, [*arguments, "--help"], prog_name="disasym", terminal_width=COLUMNS)
    if result.exit_code != 0:
        raise SystemExit(f"disasym {' '.join(arguments)} --help: exit {result.exit_code}\n{result.output}")
    return result.output.rstrip()


def page() -> str:
    """The whole of docs/commands.md."""
    group = root_command()
    parts = ["# Commands", "Written by `make docs` from the commands' own help; do not edit."]
    parts.append(f"```text\n{help_text(group, [])}\n```")
    for name in group.list_commands(click.Context(group)):
        parts.append(f"## disasym {name}\n\n```text\n{help_text(group, [name])}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
