"""Tables 1 and 2 and the numbers of figure 2, as CSV with everything and as Markdown to read."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from disasym.evaluate.words import p_value
from disasym.metrics import Interval
from disasym.reproduce.cell import write_table
from disasym.reproduce.options import OURS, ReproduceOptions, title_of
from disasym.reproduce.results import Figure, Result
from disasym.reproduce.study import Study

LOCATED = {"iou": "IoU", "ior": "IoR", "dice": "Dice", "mean_tiou": "mean TIoU", "mean_tior": "mean TIoR"}
CSV = (
    "dataset",
    "method",
    "fraction",
    "folds",
    "level",
    "figure",
    "value",
    "low",
    "high",
    "entries",
    "positives",
    "women",
)


def write_figures(path: Path, results: Sequence[Result]) -> None:
    """Every figure of every method, a row each; value is empty where it is not defined."""
    rows = []
    for each in results:
        key = {"dataset": each.study.name, "method": each.method, "fraction": each.fraction, "folds": each.folds}
        for level, found in each.levels.items():
            counts = {"entries": found.entries, "positives": found.positives, "women": found.women}
            rows += [
                {**key, "level": level, "figure": name, **_numbers(figure), **counts}
                for name, figure in found.figures.items()
            ]
        counts = {"entries": each.located.images, "positives": each.located.images, "women": each.located.women}
        rows += [
            {**key, "level": "image", "figure": name, **_numbers(figure), **counts}
            for name, figure in each.located.figures.items()
        ]
    write_table(path, CSV, rows)


def table_1(study: Study, results: Sequence[Result], options: ReproduceOptions) -> str:
    """AUCs of DisAsymNet and the methods that it is compared with."""
    head = ("method", "folds", "AUC, asymmetric pair", "AUC, abnormal side", "DisAsymNet more, side", "p (DeLong)")
    return "\n".join(table(head, _rows_1(chosen(study, results, options.methods_of("table1")))))


def _rows_1(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for each in results:
        gap = each.gap("side")
        more = "" if gap is None else _signed(gap.bootstrap)
        test = "" if gap is None else gap.delong if isinstance(gap.delong, str) else p_value(gap.delong.p).lstrip("= ")
        yield (title(each), str(each.folds), str(each.area("pair")), str(each.area("side")), more, test)


def table_2(study: Study, results: Sequence[Result], options: ReproduceOptions) -> str:
    """AUCs of the ablations, and how well their maps show where the lesions are."""
    head = ("method", "folds", "AUC, asymmetric pair", "AUC, abnormal side", *LOCATED.values())
    rows = [
        (
            title(each),
            str(each.folds),
            *(str(each.area(level)) for level in ("pair", "side")),
            *(_short(each.located.figures[name]) for name in LOCATED),
        )
        for each in chosen(study, results, options.methods_of("table2"))
    ]
    return "\n".join(table(head, rows))


def figure_2(study: Study, results: Sequence[Result], options: ReproduceOptions) -> str:
    """AUC of an abnormal side by the share of training women."""
    methods = options.methods_of("figure2")
    by_key = {(each.method, each.fraction): each for each in results if each.study is study}
    rows = []
    for method in methods:
        found = [by_key.get((method, fraction)) for fraction in options.fractions]
        rows.append((title_of(method), *("" if each is None else str(each.area("side")) for each in found)))
    return "\n".join(table(("method", *(f"{fraction:.0%}" for fraction in options.fractions)), rows))


def chosen(study: Study, results: Sequence[Result], methods: Sequence[str]) -> list[Result]:
    """The results of one table, in its order, on all training women."""
    found = {each.method: each for each in results if each.study is study and each.fraction == 1}
    return [found[method] for method in methods if method in found]


def title(result: Result) -> str:
    """As in the paper's tables."""
    name = title_of(result.method)
    return f"**{name}**" if result.method == OURS else name


def _numbers(figure: Figure) -> dict[str, object]:
    if isinstance(figure, Interval):
        return {name: round(getattr(figure, name), 4) for name in ("value", "low", "high")}
    return {"value": "", "low": "", "high": ""}


def _short(figure: Figure) -> str:
    return str(figure) if isinstance(figure, Interval) else "–"


def _signed(figure: Figure) -> str:
    if isinstance(figure, str):
        return figure
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
