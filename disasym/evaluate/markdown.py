"""report.md: the figures, what they rest on, and first of all whether they prove anything."""

from collections.abc import Collection, Iterable, Iterator

from disasym import __version__
from disasym.evaluate.froc import RATES, REACH
from disasym.evaluate.localisation import THRESHOLD
from disasym.evaluate.predictions import Model
from disasym.evaluate.run import Evaluation, Group
from disasym.evaluate.words import (
    AS_SAID,
    FIGURE,
    LESION,
    LEVEL,
    MAP,
    NO_EVIDENCE,
    assumption,
    decimals,
    gap_of,
    test_of,
)


def markdown(evaluation: Evaluation, pictures: Collection[str] = ()) -> str:
    """The whole report. `pictures`: names of those that lie beside it."""
    parts = [
        "# Evaluation",
        _evidence(evaluation),
        "\n".join(_table(("", ""), _facts(evaluation))),
        *_levels(evaluation),
        *(f"![ROC curves]({name})" for name in pictures if name.startswith("roc")),
        *_comparison(evaluation),
        _calibration(evaluation),
        *(f"![reliability]({name})" for name in pictures if name.startswith("reliability")),
        _lesions(evaluation),
        *(f"![FROC curve]({name})" for name in pictures if name.startswith("froc")),
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
        f" {model.engine} {model.precision}, {'with temperatures' if model.calibrated else 'scores not calibrated'}"
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


def _calibration(evaluation: Evaluation) -> str:
    rows = [
        (each.level, str(each.entries), str(each.positives), str(each.brier), gap_of(each.gap), decimals(each.ece))
        for each in evaluation.calibrations
    ]
    head = ("level", "entries", "positive", "Brier score", "gap: mean score − share of positives", "ECE, 10 bins")
    model = evaluation.predictions.model
    said = "The model carries temperatures." if model.calibrated else "The model carries no temperature: it only ranks."
    return f"## Calibration\n\n{said}\n\n" + "\n".join(_table(head, rows))


def _lesions(evaluation: Evaluation) -> str:
    title, found = "## Lesions\n\n", evaluation.lesions
    if found is None:
        return title + "Not looked for: the model makes no heat map, or no image has a label that says where."
    head = ("", "images", *LESION.values())
    rows = [
        (MAP[name], str(each.images), *(str(each.figures[figure]) for figure in LESION))
        for name, each in found.localisations.items()
    ]
    counts = (str(found.froc.images), str(found.froc.lesions))
    curve = _table(
        ("images", "lesions", *(f"at {rate:g}" for rate in RATES)), [(*counts, *map(str, found.froc.figures.values()))]
    )
    rule = (
        "FROC: the share of lesions that a peak of the heat map hits, at most"
        f" {REACH:g} pixels of the network's view away, at so many false marks on an image, normal ones included."
    )
    return title + "\n\n".join(
        [
            f"Abnormal images with annotated lesions; the map is cut at {THRESHOLD:g} of its maximum.",
            "\n".join(_table(head, rows)),
            rule,
            "\n".join(curve),
            f"{found.unjudged} images are abnormal without an annotation, or of unknown label, and not counted here.",
        ]
    )


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
