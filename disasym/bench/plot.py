"""The picture of a race or a stream, by matplotlib (extra `bench`)."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disasym.bench.contenders import REFERENCE
from disasym.bench.rows import Row
from disasym.bench.stream import StreamRow
from disasym.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PNG = "bench.png"
# Okabe and Ito's colours, which colour-blind people tell apart; the reference is black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = "osD^vP*"


def plot(rows: Iterable[Row], streamed: Iterable[StreamRow], title: str, path: Path) -> None:
    """Draw what there is: throughput and latency over the batch size, or throughput over time.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("the picture of a race", error.name or "matplotlib", "bench") from None
    races, streams = list(rows), list(streamed)
    figure = Figure(figsize=(12.0, 5.2), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    if races:
        throughput, latency = figure.subplots(1, 2)
        _raced(throughput, latency, races)
        handles, names = throughput.get_legend_handles_labels()
    else:
        axes = figure.subplots()
        _streamed(axes, streams)
        handles, names = axes.get_legend_handles_labels()
    figure.suptitle(title, fontsize=10)
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _raced(throughput: "Axes", latency: "Axes", rows: list[Row]) -> None:
    for name, style in _styles(row.contender for row in rows).items():
        mine = [row for row in rows if row.contender == name]
        if any(row.differs for row in mine):
            style = {**style, "linestyle": ":", "markerfacecolor": "white"}
        batches = [row.batch for row in mine]
        shown = f"{name} (differs)" if any(row.differs for row in mine) else name
        throughput.plot(batches, [row.pairs_per_second for row in mine], label=shown, **style)
        p50 = [row.p50_ms for row in mine]
        above = [max((row.p95_ms or row.p50_ms) - row.p50_ms, 0.0) for row in mine]
        latency.errorbar(batches, p50, [[0.0] * len(mine), above], capsize=3, **style)
    batches = sorted({row.batch for row in rows})
    for axes, what in ((throughput, "pairs a second"), (latency, "ms a batch: median, and p95 above it")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        _finish(axes, "pairs in a batch", what)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.minorticks_off()
        _plain_numbers(axes)


def _plain_numbers(axes: "Axes") -> None:
    """1, 2, 5, 10 … in place of powers: a race rarely spans many."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    low, high = axes.get_ylim()
    several = (1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=several))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _streamed(axes: "Axes", rows: list[StreamRow]) -> None:
    for name, style in _styles(row.contender for row in rows).items():
        for row in rows:
            if row.contender == name:
                ends = [window.end_seconds for window in row.windows]
                axes.plot(ends, [window.pairs_per_second for window in row.windows], label=name, **style)
    axes.set_ylim(bottom=0)
    _finish(axes, "seconds after the warm-up", "pairs a second")


def _finish(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Each contender keeps its colour and marker in both panels."""
    styles: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(names):
        at = len(styles) - (REFERENCE in styles)
        colour = "black" if name == REFERENCE else COLOURS[at % len(COLOURS)]
        marker = "x" if name == REFERENCE else MARKERS[at % len(MARKERS)]
        styles[name] = {"color": colour, "marker": marker, "markersize": 6, "linewidth": 1.5}
    return styles
