"""What an evaluation writes: evaluation.json, report.md with its pictures, and tables to compute with.

Each file is written whole or not at all; report.md is the last, so that it never speaks of tables that are not there.
No patient identifier: a woman is a digest. The same pairs, model and seed give the same bytes on one machine.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from disasym import __version__
from disasym.errors import InputError
from disasym.evaluate.lesions import Lesions
from disasym.evaluate.markdown import markdown
from disasym.evaluate.plots import FROC, RELIABILITY, ROC, plots
from disasym.evaluate.run import Evaluation
from disasym.files import write_whole
from disasym.metrics import Interval

FORMAT = "disasym-evaluation-1"
JSON, REPORT = "evaluation.json", "report.md"
METRICS, CURVES, COMPARISON = "metrics.csv", "curves.csv", "comparison.csv"
PREDICTIONS, LEFT_OUT = "predictions.csv", "left_out.csv"
PICTURES = (ROC, RELIABILITY, FROC)
DIGITS = 6
Cells = Sequence[object]


def write(evaluation: Evaluation) -> tuple[str, ...]:
    """Write every table into `evaluation.options.out`; their names. InputError when the folder refuses."""
    out = evaluation.options.out
    pictures = plots(evaluation)
    texts = {
        PREDICTIONS: table(_predictions(evaluation)),
        LEFT_OUT: table(_left_out(evaluation)),
        METRICS: table(_metrics(evaluation)),
        CURVES: table(_curves(evaluation)),
        **({COMPARISON: table(_comparison(evaluation))} if evaluation.compared else {}),
        JSON: json.dumps(as_json(evaluation), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    report = {REPORT: markdown(evaluation, tuple(pictures))}
    encoded = {name: text.encode("utf-8", "backslashreplace") for name, text in {**texts, **report}.items()}
    contents = {**pictures, **encoded}
    try:
        for name in (*contents, COMPARISON, *PICTURES):  # they speak of another evaluation
            (out / name).unlink(missing_ok=True)
        for name, content in contents.items():
            write_whole(out / name, content)
    except OSError as error:
        raise InputError(f"{out}: the results cannot be written ({error.strerror}): name another folder") from error
    return tuple(contents)


def as_json(evaluation: Evaluation) -> dict[str, object]:
    """Everything, as JSON holds it."""
    options, part = evaluation.options, evaluation.part
    return {
        "format": FORMAT,
        "disasym": __version__,
        "model": asdict(evaluation.predictions.model),
        "against": asdict(evaluation.against.model) if evaluation.against else None,
        "manifest": str(options.manifest),
        "split": part.name,
        "bootstraps": options.bootstraps,
        "seed": options.seed,
        "pairs": {"chosen": len(part.pairs), "scored": len(evaluation.predictions.scored)},
        "evidence": not evaluation.doubts,
        "doubts": list(evaluation.doubts),
        "metrics": [
            {"level": group.level, "column": group.column, "value": group.value, **asdict(group.found)}
            for group in evaluation.groups
        ],
        "comparison": [asdict(each) for each in evaluation.compared],
        "calibration": [asdict(each) for each in evaluation.calibrations],
        "lesions": None if evaluation.lesions is None else _lesions(evaluation.lesions),
    }


def _lesions(found: Lesions) -> dict[str, object]:
    maps = {name: asdict(each) for name, each in found.localisations.items()}
    counts = {"images": found.froc.images, "lesions": found.froc.lesions, "women": found.froc.women}
    return {**maps, "froc": {**counts, "figures": asdict(found.froc)["figures"]}, "unjudged": found.unjudged}


def _metrics(evaluation: Evaluation) -> Iterable[Cells]:
    yield ("level", "column", "group", "entries", "positives", "women", "figure", "value", "low", "high", "note")
    for group in evaluation.groups:
        found = group.found
        for name, figure in found.figures.items():
            counts = (found.entries, found.positives, found.women)
            yield (group.level, group.column, group.value, *counts, name, *_interval(figure))
    for each in evaluation.calibrations:
        counts = (each.entries, each.positives, each.women)
        yield (each.level, "", "", *counts, "brier", *_interval(each.brier))
        yield (each.level, "", "", *counts, "gap", *_interval(each.gap))
        yield (each.level, "", "", *counts, "ece", "" if each.ece is None else each.ece, "", "", "no interval")
    if evaluation.lesions is not None:
        for name, located in evaluation.lesions.localisations.items():
            counts = (located.images, located.images, located.women)
            for figure_name, figure in located.figures.items():
                yield ("image", "map", name, *counts, figure_name, *_interval(figure))
        curve = evaluation.lesions.froc
        for figure_name, figure in curve.figures.items():
            yield (
                "lesion",
                "",
                "",
                curve.images,
                curve.lesions,
                curve.women,
                f"froc_{figure_name}",
                *_interval(figure),
            )


def _curves(evaluation: Evaluation) -> Iterable[Cells]:
    """The points of froc.png and reliability.png; those of roc.png follow from predictions.csv."""
    yield ("curve", "level", "x", "y", "entries")
    for each in evaluation.calibrations:
        yield from (("reliability", each.level, one.score, one.share, one.entries) for one in each.bins)
    if evaluation.lesions is not None:
        curve = evaluation.lesions.froc
        yield from (("froc", "lesion", *point, "") for point in zip(curve.rates, curve.sensitivities, strict=True))


def _comparison(evaluation: Evaluation) -> Iterable[Cells]:
    bootstrap = ("difference", "low", "high", "note")
    test = ("delong_z", "delong_p", "delong_note", "one_entry_a_woman")
    yield ("level", "entries", "positives", "women", "auc", "auc_against", *bootstrap, *test)
    for each in evaluation.compared:
        tested = ("", "", each.delong) if isinstance(each.delong, str) else (each.delong.z, each.delong.p, "")
        counts = (each.entries, each.positives, each.women)
        difference = _interval(each.bootstrap)
        yield (each.level, *counts, each.first, each.second, *difference, *tested, int(each.one_each))


def _interval(figure: Interval | str) -> Cells:
    return ("", "", "", figure) if isinstance(figure, str) else (figure.value, figure.low, figure.high, "")


def _predictions(evaluation: Evaluation) -> Iterable[Cells]:
    scores = ("p_asymmetry", "p_abnormal_right", "p_abnormal_left")
    against = {} if evaluation.against is None else {p.key: at for at, p in enumerate(evaluation.against.scored)}
    other = tuple(f"against_{name}" for name in scores) if evaluation.against else ()
    yield ("dataset", "pair_id", "woman", "view", "split", "abnormal_right", "abnormal_left", *scores, *other)
    found = evaluation.predictions
    for at, pair in enumerate(found.scored):
        sides = (pair.rows.right, pair.rows.left)
        labels = ("" if side.abnormal is None else int(side.abnormal) for side in sides)
        mine = (found.asymmetry[at], *found.abnormal[at])
        theirs: Cells = ("",) * len(other)
        if evaluation.against is not None and pair.key in against:
            place = against[pair.key]
            theirs = (evaluation.against.asymmetry[place], *evaluation.against.abnormal[place])
        yield (*pair.key, pair.woman, pair.rows.view, pair.split, *labels, *mine, *theirs)


def _left_out(evaluation: Evaluation) -> Iterable[Cells]:
    yield ("path", "fate", "reason")
    yield from ((path, "skipped", reason) for path, reason in evaluation.part.unused)
    yield from ((path, "failed", reason) for path, reason in evaluation.failed)
    if evaluation.lesions is not None:
        yield from ((path, "not located", reason) for path, reason in evaluation.lesions.unreadable)


def table(rows: Iterable[Cells]) -> str:
    """CSV with a header; floats with six digits behind the point."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_shown(cell) for cell in row] for row in rows)
    return text.getvalue()


def _shown(cell: object) -> object:
    return f"{cell:.{DIGITS}f}" if isinstance(cell, float | np.floating) else cell


def paths(out: Path, names: Iterable[str]) -> str:
    """Where the tables are, in one line."""
    return f"{out} ({', '.join(names)})"
