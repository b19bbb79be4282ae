"""Figure 2: how much each method needs. AUC over the share of training women, with 95 % intervals."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from disasym.errors import MissingExtraError
from disasym.metrics import Interval
from disasym.reproduce.options import OURS, ReproduceOptions, title_of
from disasym.reproduce.results import Result
from disasym.reproduce.study import Study

# Okabe and Ito's colours, which colour-blind people tell apart; DisAsymNet is black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = "osD^vP*"
LEVELS = {"pair": "asymmetric pair", "side": "abnormal side"}


def plot_figure_2(study: Study, results: Sequence[Result], options: ReproduceOptions, path: Path) -> bool:
    """Draw it into `path`, a PNG; False where no method has a defined AUC.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.6), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    methods = options.methods_of("figure2")
    drawn = False
    for axes, (level, words) in zip(figure.subplots(1, 2, sharey=True), LEVELS.items(), strict=True):
        for number, method in enumerate(methods):
            points = areas(study, results, method, level)
            if not points:
                continue
            drawn = True
            shares = [100 * fraction + number - len(methods) / 2 for fraction, _ in points]  # beside one another
            middle = [area.value for _, area in points]
            reach = [[area.value - area.low for _, area in points], [area.high - area.value for _, area in points]]
            axes.errorbar(
                shares,
                middle,
                yerr=reach,
                label=title_of(method),
                color="black" if method == OURS else COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                linewidth=2 if method == OURS else 1.2,
                elinewidth=0.8,
                capsize=2,
            )
        axes.axhline(0.5, color="#BBBBBB", linewidth=0.8, linestyle=":")
        axes.set_xlabel("training women, %")
        axes.set_title(words, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("AUC with 95 % interval over women")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names) or 1, frameon=False, fontsize=9)
    figure.suptitle(f"{study.name}, preset {options.training.preset}, test women", fontsize=10)
    if drawn:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return drawn


def check_matplotlib() -> None:
    """Raise MissingExtraError where figure 2 cannot be drawn: before hours of training, not after."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError("figure 2", "matplotlib", "evaluate")


def areas(study: Study, results: Sequence[Result], method: str, level: str) -> list[tuple[float, Interval]]:
    """(share, AUC) of a method, smallest share first; shares whose AUC is not defined are left out."""
    found = [
        (each.fraction, area)
        for each in results
        if each.study is study and each.method == method and isinstance(area := each.area(level), Interval)
    ]
    return sorted(found, key=lambda point: point[0])
