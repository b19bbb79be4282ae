"""Sizes of views on the command line: 512x256."""

import re

import click


def size(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """HxW in pixels → (H, W); the callback of an option."""
    if value is None:
        return None
    if not (found := re.fullmatch(r"(\d+)[x×](\d+)", value)):
        raise click.BadParameter(f"{value!r} is no size: give height and width in pixels, such as 512x256")
    return int(found[1]), int(found[2])
