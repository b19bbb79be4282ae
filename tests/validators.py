"""Other people's judges of DICOM files: dicom3tools' `dciodvfy` and DCMTK's `dsrdump`, both Debian packages."""

import shutil
import subprocess
from pathlib import Path

import pytest

# What dciodvfy says of a good object: a private coding scheme is in no table of its; and what the film itself lacks.
ACCEPTED = (
    "Unrecognized defined term = <99DISASYM>",
    "that would be needed to build DICOMDIR",
    "Retired Person Name form",
)


def complaints(path: Path) -> list[str]:
    """Errors, and warnings that are not ACCEPTED, of the standard's rules for the object's kind."""
    said = _run("dciodvfy", "dicom3tools", "-new", str(path))
    return [
        line
        for line in said.stderr.splitlines()
        if line.startswith(("Error", "Warning")) and not any(known in line for known in ACCEPTED)
    ]


def report_text(path: Path) -> str:
    """A structured report as text: DCMTK checks its tree while reading it."""
    said = _run("dsrdump", "dcmtk", "+Pl", str(path))
    assert said.returncode == 0, said.stderr
    assert not said.stderr, said.stderr
    return said.stdout


def _run(program: str, package: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is absent: apt-get install {package}")
    return subprocess.run([found, *arguments], capture_output=True, text=True, errors="replace", check=False)
