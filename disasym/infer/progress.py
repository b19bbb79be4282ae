"""What a person at a terminal sees of a run: files looked at, then a bar with rate and time left; elsewhere nothing."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    """Pairs a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} pairs/s", style="progress.data.speed")


class Display:
    """Shows how far a run is."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._looking = bar.add_task("looking for films", total=None)
        self._seen = self._guessed = 0

    def file(self, path: Path) -> None:
        """A file's header was read."""
        self._seen += 1
        scored = f", {self._guessed} pairs scored" if self._guessed else ""
        self._bar.update(self._looking, description=f"looking for films: {self._seen} files{scored}")

    def guessed(self, count: int) -> None:
        """`count` pairs were scored while the search goes on."""
        self._guessed += count

    def pairs(self, total: int, already: int) -> None:
        """The search is over; of `total` pairs, `already` were done by an earlier run."""
        self._bar.remove_task(self._looking)
        what = f"scoring ({already} done before)" if already else "scoring"
        self._scoring = self._bar.add_task(what, total=total, completed=already)

    def scored(self, count: int) -> None:
        """`count` more pairs are done, with a result or without."""
        self._bar.advance(self._scoring, count)


@contextmanager
def display(quiet: bool) -> Iterator[Display]:
    """A display on standard error, off when that is no terminal or `quiet`."""
    console = Console(stderr=True)
    columns: Iterable[ProgressColumn] = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        yield Display(bar)
