"""Does a temperature help on women it was not fitted on, and does a bias beside it? (docs/adr/0022)

    python -m benchmarks.temperature

From the held-out scores of the cross-validations in `results/`; no model runs. 200 times the women of a data set are
shared into two halves; a temperature, and slope and bias, are fitted on one and measured on the other. A half on which
no temperature between 0.05 and 20 fits is counted and left out of all.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from disasym.evaluate.calibration import expected_calibration_error, reliability
from disasym.evaluate.temperature import logits, temperature
from disasym.metrics import LIMITS, Floats

RESULTS = Path(__file__).parent / "results"
SOURCES = {"small": "cross_validation", "lite": "cross_validation_lite"}  # preset → its held-out scores
LEVELS = {
    "side": (("abnormal_right", "p_abnormal_right"), ("abnormal_left", "p_abnormal_left")),
    "pair": (("asymmetric", "p_asymmetry"),),
}
HALVES = 200


def measured(labels: Floats, z: Floats, women: list[str], seed: int = 0) -> dict[str, Any]:
    """Means over halves of log loss, Brier score and ECE, and the temperatures; labels 0 or 1 and logits z [n]."""
    rng = np.random.default_rng(seed)
    names, woman = np.unique(women, return_inverse=True)
    figures: dict[str, list[tuple[float, float, float]]] = {"no fit": [], "temperature": [], "slope and bias": []}
    found: list[float] = []
    for _ in range(HALVES):
        fitting = rng.permutation(len(names))[woman] < len(names) / 2
        t = temperature(labels[fitting], z[fitting], np.ones(int(fitting.sum())))
        if isinstance(t, str):
            continue
        found.append(t)
        line = LogisticRegression(C=np.inf).fit(z[fitting, None], labels[fitting])
        truth, rest = labels[~fitting], z[~fitting]
        figures["no fit"].append(figures_of(truth, expit(rest)))
        figures["temperature"].append(figures_of(truth, expit(rest / t)))
        figures["slope and bias"].append(figures_of(truth, line.predict_proba(rest[:, None])[:, 1]))
    return {
        "entries": len(labels),
        "positives": int(labels.sum()),
        "women": len(names),
        "halves_without_a_temperature": HALVES - len(found),
        "temperatures": [round(float(value), 3) for value in np.percentile(found, LIMITS)],
        "log_loss_brier_ece": {
            name: [round(float(value), 4) for value in np.mean(rows, axis=0)] for name, rows in figures.items()
        },
    }


def figures_of(labels: Floats, scores: Floats) -> tuple[float, float, float]:
    """Log loss in nats, Brier score and ECE of probabilities."""
    ece = expected_calibration_error(reliability(labels, scores))
    return float(log_loss(labels, scores)), float(brier_score_loss(labels, scores)), ece


def of_rows(rows: list[dict[str, str]], level: str) -> dict[str, Any]:
    """`measured` of one data set's rows of a cross-validation."""
    columns = LEVELS[level]
    labels = np.array([float(row[truth]) for truth, _ in columns for row in rows])
    scores = np.array([float(row[score]) for _, score in columns for row in rows])
    return measured(labels, logits(scores), [row["patient_id"] for row in rows] * len(columns))


def main() -> None:
    report: dict[str, object] = {}
    for preset, name in SOURCES.items():
        rows = list(csv.DictReader((RESULTS / f"{name}.csv").read_text().splitlines()))
        for dataset in ("cesm", "mias"):
            for level in LEVELS:
                report[f"{preset}, {dataset}, {level}s"] = of_rows([r for r in rows if r["dataset"] == dataset], level)
    (RESULTS / "temperature.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
