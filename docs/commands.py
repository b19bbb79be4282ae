"""Print docs/commands.md: the `--help` of every command, so that the page never disagrees with the program."""

import sys

import click
from click.testing import CliRunner

from disasym.cli import main

COLUMNS = 100  # fixed, so that the page does not depend on the terminal


def help_text(*arguments: str) -> str:
    result = CliRunner().invoke(main, [*arguments, "--help"], prog_name="disasym", terminal_width=COLUMNS)
    if result.exit_code != 0:
        raise SystemExit(f"disasym {' '.join(arguments)} --help: exit {result.exit_code}\n{result.output}")
    return result.output.rstrip()


def page() -> str:
    """The whole of docs/commands.md."""
    parts = ["# Commands", "Written by `make docs` from the commands' own help; do not edit."]
    parts.append(f"```text\n{help_text()}\n```")
    for name in main.list_commands(click.Context(main)):
        parts.append(f"## disasym {name}\n\n```text\n{help_text(name)}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
