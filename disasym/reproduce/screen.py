"""What is left, and where the results are, on a terminal."""

from collections import Counter

import click

from disasym.reproduce.plan import DONE, FAILED, reason_of
from disasym.reproduce.run import Reproduced
from disasym.reproduce.timing import duration


def show(found: Reproduced) -> None:
    """Print a line for each method of each data set, then the whole."""
    groups = Counter((cell.study.name, cell.method) for cell in found.cells)
    for (name, method), count in groups.items():
        mine = [cell for cell in found.cells if (cell.study.name, cell.method) == (name, method)]
        left = [found.left[cell.folder] for cell in mine]
        known = [time for time in left if time is not None]
        done = sum(cell.state == DONE for cell in mine)
        words = "" if done == count else f", {duration(sum(known))} left" if len(known) == count else ", time unknown"
        click.echo(f"{name}  {method}: {done} of {count} runs{words}")
    for cell in found.cells:
        if cell.state == FAILED:
            click.echo(f"failed  {cell.name}: {reason_of(cell)}", err=True)
    done, every = found.count(DONE), len(found.cells)
    left_of_all = found.seconds_left
    time = "" if not left_of_all else f", about {duration(left_of_all)} left"
    click.echo(f"{done} of {every} runs finished{time}")
    if found.files:
        click.echo(f"results  {found.files[0]}")
