"""The option --engine."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

# Those of disasym.engines.ENGINES, in that order (tests/test_cli.py); it imports numpy, and --help is to be quick.
ENGINES = ("tensorrt", "tensorrt-rtx", "onnxruntime", "aotinductor", "eager")
AUTO = "or auto, the first of these that the model has for the device"
Command = TypeVar("Command", bound=Callable[..., Any])


def engine_option(purpose: str) -> Callable[[Command], Command]:
    """--engine NAME; `purpose` says what it is that the engine does."""
    told = f"{purpose}: {', '.join(ENGINES)}; {AUTO}."
    return click.option("--engine", default="auto", show_default=True, metavar="NAME", help=told)
