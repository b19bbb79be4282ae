"""Small breast-like pairs on disk, for tests that train: PNG images, a manifest, a tumour bank's worth of circles."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from disasym.spec import Array


def breast(rng: np.random.Generator, height: int = 128, width: int = 96) -> Array:
    """A half ellipse of smooth tissue with its chest wall at column 0, [height, width] in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width]
    radius = ((y - height / 2) / (0.45 * height)) ** 2 + (x / (0.85 * width)) ** 2
    waves = sum(np.sin(rng.uniform(0.02, 0.2) * x + rng.uniform(0.02, 0.2) * y + rng.uniform(0, 6)) for _ in range(6))
    tissue = 0.45 + 0.05 * waves * (1 - radius)
    return np.where(radius < 1, np.clip(tissue, 0.1, 0.8), 0).astype(np.float32)


def write_pairs(folder: Path, count: int, seed: int = 0, dataset: str = "made") -> Path:
    """`count` pairs, every second one with a bright disc on one side; returns the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        sick = None if number % 2 else "RL"[number // 2 % 2]
        for laterality in "RL":
            image, lesions = breast(rng), []
            if laterality == sick:
                row, column = int(rng.integers(45, 85)), int(rng.integers(20, 45))
                y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
                image[(y - row) ** 2 + (x - column) ** 2 < 9**2] = 0.95
                column = column if laterality == "L" else image.shape[1] - 1 - column
                lesions = [{"x": column, "y": row, "r": 9}]
            if laterality == "R":
                image = image[:, ::-1]  # standard hanging: the right breast has its chest wall on the right
            name = f"{dataset}-{number}-{laterality}.png"
            Image.fromarray((image * 255).astype(np.uint8)).save(folder / name)
            rows.append(
                {
                    "dataset": dataset,
                    "pair_id": f"{dataset}-{number}",
                    "patient_id": f"{dataset}-{number}",
                    "view": "MLO",
                    "laterality": laterality,
                    "path": name,
                    "abnormal": int(laterality == sick),
                    "finding": "CIRC" if lesions else "NORM",
                    "pathology": "Benign" if lesions else "Normal",
                    "lesions": json.dumps(lesions) if lesions else "",
                }
            )
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return manifest
