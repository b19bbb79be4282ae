"""The picture of `pipeline.py`: what was reached beside what the stages allow, and memory over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

NODE = 16  # cores of the machine that is extrapolated to
TARGET = 31.0  # exams a second: a screening day of the US, 110,000 exams, in an hour


def core_seconds(row: dict[str, Any], measured_on: int) -> float:
    """Processor time of an exam in all stages but the engine, which has a GPU there."""
    stages = row["alone"]
    return float(measured_on * (1 / stages["scan"] + 1 / stages["load"] + 1 / stages["finish"]))


def extrapolated(row: dict[str, Any], measured_on: int, cores: int = NODE) -> float:
    """Exams a second of `cores` such cores, were the engine on a GPU that is never waited for. Not measured."""
    return cores / core_seconds(row, measured_on)


def picture(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the newest row of each case, and of each length of the memory's runs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases = list({row["name"]: row for row in rows if row["kind"] == "pipeline"}.values())
    runs = list({row["pairs"]: row for row in rows if row["kind"] == "memory"}.values())
    figure = Figure(figsize=(13, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))

    names = [f"{row['name']}\n{row['model']}\n{row['syntax']}" for row in cases]
    bars = (
        ("min(load, engine), each alone", "#c9d6e3", [row["min_of_load_and_engine"] for row in cases]),
        ("all stages sharing the cores", "#7a9cc0", [row["sharing_the_cores"] for row in cases]),
        ("disasym infer, start to end", "#1f4e79", [row["exams_per_second"] for row in cases]),
    )
    for number, (label, colour, values) in enumerate(bars):
        places = [place + (number - 1) * 0.27 for place in range(len(cases))]
        left.bar(places, values, 0.27, label=label, color=colour)
    for place, row in enumerate(cases):
        left.text(
            place + 0.27,
            row["exams_per_second"],
            f"{row['exams_per_second']:.2f}\n{row['of_sharing']:.0%}",
            ha="center",
            va="bottom",
            fontsize=8,
        )
    left.set_xticks(range(len(cases)), names, fontsize=8)
    left.set_ylabel("exams of four views a second")
    left.set_title(
        f"{cases[0]['machine']['cores'] if cases else '?'} cores; % of what sharing them allows", fontsize=10
    )
    left.legend(fontsize=8, frameon=False)

    for row in runs:
        seconds, resident = zip(*row["looks"], strict=True)
        right.plot(seconds, [each / 1e6 for each in resident], label=f"{row['pairs']} pairs")
    right.set_xlabel("seconds since the start")
    right.set_ylabel("resident memory, MB")
    right.set_ylim(bottom=0)
    right.set_title("memory of a run, tiny films", fontsize=10)
    if runs:
        right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
