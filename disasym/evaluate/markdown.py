"""report.md: the figures, what they rest on, and first of all whether they prove anything."""

from collections.abc import Iterable, Iterator

from disasym import __version__
from disasym.evaluate.predictions import Model
from disasym.evaluate.run import Evaluation, Group
from disasym.evaluate.words import AS_SAID, FIGURE, LEVEL, NO_EVIDENCE, assumption, gap_of, test_of


def markdown(evaluation: Evaluation) -> str:
    """The whole report."""
    parts = [
        "# Evaluation",
        _evidence(evaluation),
        "\n".join(_table(("", ""), _facts(evaluation))),
        *_levels(evaluation),
        *_comparison(evaluation),
        _notes(evaluation),
    ]
    return "\n\n".join(parts) + "\n"


def _evidence(evaluation: Evaluation) -> str:
    if not evaluation.doubts:
        return AS_SAID
    return "\n".join([f"> **{NO_EVIDENCE}:**", ">", *(f"> - {doubt}" for doubt in evaluation.doubts)])


def _facts(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    yield "model", _model(evaluation.predictions.model)
    if evaluation.against:
        yield "against", _model(evaluation.against.model)
    part, scored = evaluation.part, evaluation.predictions
    yield "manifest", f"`{evaluation.options.manifest}`, split {part.name}"
    yield "pairs", f"{len(scored.scored)} scored of {len(part.pairs)}, of {len(set(scored.women))} women"
    if evaluation.failed or part.unused:
        counts = f"{len(evaluation.failed)} files failed, {len(part.unused)} rows of the whole manifest skipped"
        yield "left out", f"{counts}: left_out.csv"


def _model(model: Model) -> str:
    return (
        f"`{model.path}`, weights {model.sha256[:12]}, {model.preset} {model.height}×{model.width},"
        f" {model.engine} {model.precision}"
    )


def _levels(evaluation: Evaluation) -> Iterator[str]:
    for level, title in LEVEL.items():
        groups = [group for group in evaluation.groups if group.level == level]
        head = ("", "entries", "positive", "women", *FIGURE.values())
        yield f"## {title[0].upper()}{title[1:]}\n\n" + "\n".join(_table(head, map(_row, groups)))


def _row(group: Group) -> tuple[str, ...]:
    name = f"{group.column} {group.value}" if group.column else "all"
    found = group.found
    counts = (str(found.entries), str(found.positives), str(found.women))
    return (name, *counts, *(str(found.figures[figure]) for figure in FIGURE))


def _comparison(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.compared:
        return
    head = ("level", "entries", "AUC", "AUC against", "difference, bootstrap over women", "DeLong")
    rows = []
    for each in evaluation.compared:
        areas = ("–" if area is None else f"{area:.3f}" for area in (each.first, each.second))
        rows.append((each.level, str(each.entries), *areas, gap_of(each.bootstrap), test_of(each.delong)))
    notes = dict.fromkeys(filter(None, map(assumption, evaluation.compared)))
    yield "\n\n".join(["## Against the other model", "\n".join(_table(head, rows)), *(f"{note}." for note in notes)])


def _notes(evaluation: Evaluation) -> str:
    options = evaluation.options
    return (
        f"Figures with their 95 % intervals from {options.bootstraps} bootstraps over women (seed {options.seed});"
        " all entries of a woman are drawn together. An entry without a label is left out of its level. What each"
        f" figure means: docs/evaluate.md. disasym {__version__}."
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    cells = tuple(head)
    yield f"| {' | '.join(cells)} |"
    yield f"|{'---|' * len(cells)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
