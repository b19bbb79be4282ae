"""Sizes of views on the command line: 512x256."""

import re

import click


class Size(click.ParamType[tuple[int, int]]):
    """HxW in pixels → (H, W)."""

    name = "HxW"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        if not (found := re.fullmatch(r"(\d+)[x×](\d+)", value)):
            self.fail(f"{value!r} is no size: give height and width in pixels, such as 512x256", param, ctx)
        return int(found[1]), int(found[2])


SIZE = Size()
