"""Draws the losses and the validation AUC of a training.

python -m benchmarks.loss_curves benchmarks/results/h200/paper_mias/metrics_disasymnet.csv docs/images/paper_mias.png
"""

import argparse
import csv
from pathlib import Path

SCORES = {"auc_abnormal": "side abnormality", "auc_asymmetry": "asymmetry of a pair"}
OTHER = ("epoch", "lr", "seconds", "ordering")  # ordering: of HAM alone


def draw(metrics: Path, picture: Path) -> None:
    """`metrics`: the metrics.csv of `disasym train`. Losses as they are, on a logarithmic scale, beside the AUCs."""
    import matplotlib.pyplot as plt

    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    epochs = [float(row["epoch"]) for row in rows]
    figure, (losses, scores) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name in rows[0]:
        if name not in OTHER:
            axis, label = (scores, SCORES[name]) if name in SCORES else (losses, name)
            axis.plot(epochs, [float(row[name]) for row in rows], label=label)
    losses.set(yscale="log", title="losses, mean of an epoch", xlabel="epoch")
    scores.axhline(0.5, color="grey", linewidth=0.8)
    scores.set(ylim=(0, 1), title="AUC on validation women", xlabel="epoch")
    for axis in (losses, scores):
        axis.xaxis.get_major_locator().set_params(integer=True)
    losses.legend(fontsize="small", ncols=2, loc="center right", bbox_to_anchor=(1, 0.55))
    scores.legend(fontsize="small", loc="lower left")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loss_curves", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("metrics", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw(arguments.metrics, arguments.picture)
