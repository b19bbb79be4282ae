"""The folder's report: tables, plots and panels of all that is finished, and under which conditions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from disasym import __version__
from disasym.files import write_whole
from disasym.reproduce.cell import write_table
from disasym.reproduce.options import BEST, ReproduceOptions, source_of, title_of
from disasym.reproduce.panels import figure_3
from disasym.reproduce.plan import DONE, FAILED, Cell, reason_of
from disasym.reproduce.plots import plot_figure_2
from disasym.reproduce.results import Result, collect
from disasym.reproduce.study import Study
from disasym.reproduce.tables import figure_2, table_1, table_2, write_figures

REPORT, FIGURES, LEFT_OUT = "report.md", "figures.csv", "left_out.csv"
PAPER = (
    "The paper's own numbers (tables 1 and 2 of arXiv 2307.02935) are not repeated: they could not be checked word for"
    " word where disasym was written. They come from other women, other splits and, for localisation, rules that the"
    " paper does not state (docs/adr/0019), so lying above or below them would be no result."
)


def write_report(options: ReproduceOptions, studies: Sequence[Study], listed: Sequence[Cell]) -> tuple[Path, ...]:
    """Write everything that can be made from the finished runs; returns the files, the report first."""
    out = options.training.out
    results = collect(listed, options)
    write_figures(out / FIGURES, results)
    left_out: list[dict[str, object]] = [
        {"dataset": study.name, "what": what, "reason": reason} for study in studies for what, reason in study.left_out
    ]
    write_table(out / LEFT_OUT, ("dataset", "what", "reason"), left_out)
    files = [out / REPORT, out / FIGURES, out / LEFT_OUT]
    parts = ["# DisAsymNet reproduced", _state(listed), _conditions(options)]
    for study in studies:
        pictures = figure_3([c for c in listed if c.study is study], options, out) if "figure3" in options.parts else []
        plot = out / f"figure2-{study.slug}.png"
        plotted = "figure2" in options.parts and plot_figure_2(study, results, options, plot)
        files += [*([plot] if plotted else []), *pictures]
        parts.append(f"## {study.name}")
        parts += _study(study, results, options)
        parts += [f"![Figure 2: AUC by the share of training women]({plot.name})"] if plotted else []
        parts += _panels(pictures)
    parts.append(f"## Notes\n\n{_notes(options)}")
    write_whole(out / REPORT, ("\n\n".join(parts) + "\n").encode())
    return tuple(files)


def _state(listed: Sequence[Cell]) -> str:
    done = sum(cell.state == DONE for cell in listed)
    failed = [cell for cell in listed if cell.state == FAILED]
    if done == len(listed):
        return f"All {done} runs are finished."
    lines = [f"> **{done} of {len(listed)} runs are finished.** Figures below are of those; plan.csv lists the others."]
    lines += [f"> - failed: {cell.name}: {reason_of(cell)}" for cell in failed]
    return "\n".join(lines)


def _conditions(options: ReproduceOptions) -> str:
    told, config = options.training, options.training.config
    schedule = f"{told.epochs} epochs, Adam at {told.lr:g}, ×0.1 every {told.lr_step} epochs, batch {told.batch}"
    stop = f"; it stops after {told.patience} epochs without a better one" if told.patience else ""
    if options.scored == BEST:
        scored = f"the epoch with the highest AUC of side abnormality on the validation women is scored{stop}"
    else:
        scored = "the last epoch is scored, and no epoch is chosen"
    folds = f"{options.folds}-fold cross-validation by woman" if options.folds else "the manifest's own split by woman"
    return (
        f"Preset `{told.preset}`, {config.height}×{config.width}, encoder {config.encoder}"
        f"{', from ImageNet weights' if told.init else ', from random weights'}. Every method has the same budget: "
        f"{schedule}, {told.precision}; {scored}. Test women: {folds}. Seed {told.seed}. disasym {__version__}."
    )


def _study(study: Study, results: Sequence[Result], options: ReproduceOptions) -> Iterator[str]:
    pairs = [pair.rows for pair in study.pairs.values()]
    women = len({pair.woman for pair in study.pairs.values()})
    sides = sum(pair.labels[1] + pair.labels[2] for pair in pairs)
    annotated = sum(bool(row.abnormal and row.lesions) for pair in pairs for row in (pair.right, pair.left))
    yield (
        f"{len(pairs)} pairs of {women} women; {sum(pair.labels[0] for pair in pairs)} pairs asymmetric, {sides} sides"
        f" abnormal, {annotated} of them with annotated lesions; {len(study.left_out)} rows or pairs left out"
        f" ({LEFT_OUT})."
    )
    if "table1" in options.parts:
        yield f"### Table 1: methods\n\n{table_1(study, results, options)}"
    if "table2" in options.parts:
        yield f"### Table 2: ablations\n\n{table_2(study, results, options)}"
    if "figure2" in options.parts:
        title = "### Figure 2: shares of the training women"
        yield f"{title}\n\nAUC, abnormal side.\n\n{figure_2(study, results, options)}"


def _panels(pictures: Sequence[Path]) -> Iterator[str]:
    if pictures:
        yield (
            "### Figure 3\n\nThe first asymmetric test pairs of the first fold, those with annotated lesions (green)"
            " before others; nobody chose them by their look. Above the right, below the left breast; under a method's"
            " name its scores of both. Each map is scaled to its own maximum."
        )
        yield from (f"![A test pair with each method's map]({picture.name})" for picture in pictures)


def _notes(options: ReproduceOptions) -> str:
    sources = "\n".join(
        f"- {title_of(name)}: {source_of(name)}"
        for name in dict.fromkeys(name for part in options.parts for name in options.methods_of(part))
    )
    return (
        f"Brackets: 95 % percentile intervals of {options.bootstraps} bootstraps over women. A woman is scored only by"
        " runs that she was not trained or chosen on; folds are pooled. DeLong's test takes sides as independent,"
        " which two views of a woman are not: where she has several, trust the interval of the difference. Many"
        " comparisons: some differ by chance. Synthetic tumours come from another data set than the one trained on."
        " Localisation: regions at half of a map's maximum against all annotated lesions of abnormal test images"
        f" (docs/adr/0019).\n\n{PAPER}\n\nMethods, with what had to be filled in: docs/comparisons.md.\n\n{sources}"
    )
