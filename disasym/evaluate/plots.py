"""The pictures of an evaluation, by matplotlib: roc.png, reliability.png, froc.png."""

import io
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from disasym.evaluate.calibration import Calibration
from disasym.evaluate.froc import RATES, Froc
from disasym.evaluate.levels import LEVELS, Sample, samples
from disasym.evaluate.run import Evaluation
from disasym.evaluate.words import NO_EVIDENCE
from disasym.metrics import Interval, auc

# Okabe and Ito's colours, which colour-blind people tell apart.
COLOURS = {"side": "#0072B2", "pair": "#D55E00", "woman": "#009E73"}
GREY = "#7F7F7F"
ROC, RELIABILITY, FROC = "roc.png", "reliability.png", "froc.png"


def plots(evaluation: Evaluation) -> dict[str, bytes]:
    """Name → PNG of each picture for which there is something to draw."""
    found = {name: figure for name, figure in _figures(evaluation) if figure is not None}
    if evaluation.doubts:  # a picture is passed on without its report
        for figure in found.values():
            figure.suptitle(NO_EVIDENCE, fontsize=9, color="#B00000")
    return {name: _png(figure) for name, figure in found.items()}


def _figures(evaluation: Evaluation) -> Iterator[tuple[str, Figure | None]]:
    yield ROC, _roc(evaluation)
    yield RELIABILITY, _reliability([each for each in evaluation.calibrations if each.bins])
    yield FROC, None if evaluation.lesions is None else _froc(evaluation.lesions.froc)


def _roc(evaluation: Evaluation) -> Figure | None:
    models = [("", "-", samples(evaluation.predictions))]
    if evaluation.against is not None:
        models.append((" of the other model", "--", samples(evaluation.against)))
    curves = [
        (level, which, style, of_level[level])
        for which, style, of_level in models
        for level in LEVELS
        if 0 < of_level[level].labels.sum() < len(of_level[level].labels)
    ]
    if not curves:
        return None
    figure, axes = _axes(1)
    for level, which, style, sample in curves:
        _curve(axes[0], level, which, style, sample)
    axes[0].plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    _finish(axes[0], "1 − specificity", "sensitivity", "ROC")
    return figure


def _curve(axes: Axes, level: str, which: str, style: str, sample: Sample) -> None:
    false, true, _ = roc_curve(sample.labels, sample.scores, drop_intermediate=False)
    label = f"{level}{which}: AUC {auc(sample.labels, sample.scores):.3f}"
    axes.plot(false, true, color=COLOURS[level], linestyle=style, linewidth=1.8, label=label)


def _reliability(found: list[Calibration]) -> Figure | None:
    if not found:
        return None
    figure, axes = _axes(len(found))
    for each, place in zip(found, axes, strict=True):
        place.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        scores, shares = [one.score for one in each.bins], [one.share for one in each.bins]
        sizes = [20 + 400 * one.entries / each.entries for one in each.bins]
        place.plot(scores, shares, color=COLOURS[each.level], linewidth=1)
        place.scatter(scores, shares, s=sizes, color=COLOURS[each.level], alpha=0.6, label=f"ECE {each.ece:.3f}")
        for one in each.bins:
            text, at = str(one.entries), (one.score, one.share)
            place.annotate(text, at, (0, 9), textcoords="offset points", ha="center", fontsize=7)
        _finish(place, "mean score of a bin", "share of positives", f"{each.level}, {each.entries} entries")
    return figure


def _froc(found: Froc) -> Figure | None:
    if not found.lesions:
        return None
    figure, axes = _axes(1)
    axes[0].step(found.rates, found.sensitivities, where="post", color=COLOURS["side"], linewidth=1.8)
    for rate, figure_at in zip(RATES, found.figures.values(), strict=True):
        if isinstance(figure_at, Interval):
            reach = [[max(0.0, figure_at.value - figure_at.low)], [max(0.0, figure_at.high - figure_at.value)]]
            axes[0].errorbar([rate], [figure_at.value], reach, color=COLOURS["side"], marker="o", capsize=3)
    axes[0].set_xlim(0, max(*RATES, float(np.max(found.rates))) * 1.05)
    title = f"FROC, {found.lesions} lesions on {found.images} images"
    _finish(axes[0], "false marks on an image", "share of lesions found", title, square=False)
    return figure


def _axes(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(5.2 * count, 5.0), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _finish(axes: Axes, x: str, y: str, title: str, square: bool = True) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=10)
    axes.set_ylim(-0.02, 1.02)
    if square:
        axes.set_xlim(-0.02, 1.02)
        axes.set_aspect("equal")
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
