"""An evaluation on a terminal: doubts first, then a table a level, then the comparison."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from disasym.evaluate.froc import RATES
from disasym.evaluate.lesions import Lesions
from disasym.evaluate.run import Evaluation, Say
from disasym.evaluate.words import AS_SAID, LESION, LEVEL, MAP, NO_EVIDENCE, assumption, decimals, gap_of, test_of
from disasym.metrics import Interval

HEADS = {
    "auc": "AUC",
    "average_precision": "avg. precision",
    "sensitivity_at_90": "sens. at 90 %",
    "sensitivity_at_95": "sens. at 95 %",
}


def show(evaluation: Evaluation, console: Console) -> None:
    """Print everything that was found."""
    for part in _parts(evaluation):
        console.print(part)


def _parts(evaluation: Evaluation) -> Iterator[RenderableType]:
    model, found = evaluation.predictions.model, evaluation.predictions
    counts = f"{len(found.scored)} of {len(evaluation.part.pairs)} pairs, {len(set(found.women))} women"
    yield Text(
        f"{model.sha256[:12]} on {model.engine} {model.precision} · split {evaluation.part.name}: {counts}", "bold"
    )
    if evaluation.doubts:
        yield Text(NO_EVIDENCE, "bold yellow")
        yield from (Text(f"  {doubt}", "yellow") for doubt in evaluation.doubts)
    else:
        yield Text(AS_SAID, "dim")
    for level, title in LEVEL.items():
        yield Text()
        yield Text(title)
        yield _level(evaluation, level)
    yield Text()
    yield _calibration(evaluation)
    if evaluation.lesions is not None:
        yield Text()
        yield from _lesions(evaluation.lesions)
    if evaluation.compared:
        yield Text()
        yield _comparison(evaluation)
        yield from (Text(note, "dim") for note in dict.fromkeys(filter(None, map(assumption, evaluation.compared))))


def _level(evaluation: Evaluation, level: str) -> Table:
    table = _table("", "n", "positive", *HEADS.values())
    for group in evaluation.groups:
        if group.level == level:
            name = f"{group.column} {group.value}" if group.column else "all"
            figures = [group.found.figures[figure] for figure in HEADS]
            cells = [str(figure) if isinstance(figure, Interval) else "–" for figure in figures]
            why = [figure for figure in figures if isinstance(figure, str)]
            table.add_row(Text(name), str(group.found.entries), str(group.found.positives), *cells)
            if len(why) == len(figures):
                table.add_row(Text(f"  {why[0]}", "dim"))
    return table


def _calibration(evaluation: Evaluation) -> Table:
    title = "probabilities, with temperatures" if evaluation.predictions.model.calibrated else "scores, not calibrated"
    table = _table(title, "n", "Brier score", "mean score − share of positives", "ECE")
    for each in evaluation.calibrations:
        table.add_row(each.level, str(each.entries), str(each.brier), gap_of(each.gap), decimals(each.ece))
    return table


def _lesions(found: Lesions) -> Iterator[Table]:
    table = _table("lesions", "images", *LESION.values())
    for name, each in found.localisations.items():
        table.add_row(MAP[name], str(each.images), *(_short(each.figures[figure]) for figure in LESION))
    yield table
    curve = _table("false marks on an image", *(f"{rate:g}" for rate in RATES))
    title = f"share of {found.froc.lesions} lesions found"
    curve.add_row(title, *map(_short, found.froc.figures.values()))
    yield curve


def _short(figure: Interval | str) -> str:
    return str(figure) if isinstance(figure, Interval) else "–"


def _comparison(evaluation: Evaluation) -> Table:
    other = "" if evaluation.against is None else evaluation.against.model.sha256[:12]
    table = _table(f"against {other}", "n", "AUC", "AUC against", "difference", "DeLong's test")
    for each in evaluation.compared:
        areas = ("–" if area is None else f"{area:.3f}" for area in (each.first, each.second))
        table.add_row(each.level, str(each.entries), *areas, gap_of(each.bootstrap), test_of(each.delong))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


@contextmanager
def scoring(quiet: bool) -> Iterator[Say]:
    """A bar for each model on standard error; off when that is no terminal, or `quiet`."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:

        def say(what: str, total: int) -> Callable[[int], None]:
            task = bar.add_task(what, total=total)
            return lambda count: bar.advance(task, count)

        yield say
