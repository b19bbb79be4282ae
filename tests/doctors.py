"""Helpers of the tests of `disasym doctor`."""

import io
import stat
from pathlib import Path

from click.testing import CliRunner, Result
from rich.console import Console

from disasym.cli import main
from disasym.doctor import Examination
from disasym.doctor.screen import show


def doctor(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)], prog_name="disasym")


def screen(found: Examination, width: int = 110) -> str:
    with io.StringIO() as paper:
        show(found, Console(width=width, file=paper, highlight=False))
        return paper.getvalue()


def said(found: Examination, level: str) -> str:
    return "\n".join(finding.text for finding in found.findings if finding.level == level)


def program(folder: Path, name: str, script: str) -> None:
    """Put a shell script of this name first on the PATH's folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
