"""Does the memory of `disasym infer` grow with the archive? 100 pairs against 5,000, resident memory while they run.

    python -m benchmarks.memory

Films of 128 × 80 pixels, each with UIDs of its own, an engine that answers zeros at the size of the preset `small`,
tables and report: so everything is measured that holds films, rows, entries and fates, and little time is lost on what
does not grow. Each size runs in a process of its own. Results: benchmarks/results/memory.json; a curve is the resident
memory of its process over the run.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from disasym.bench.facts import facts
from disasym.engines.base import Engine, EngineInfo
from disasym.files import write_whole
from disasym.infer import InferOptions
from disasym.infer.run import infer_with
from disasym.spec import Array, output_shapes

SIZES = (100, 500, 5000)  # pairs
ROWS, COLUMNS = 128, 80
EVERY = 0.1  # seconds between two looks at the memory
POINTS = 60  # of a curve
MARK = "1.2.826.0.1.3680043.8.498.1{:011d}.1{:011d}"  # woman, film: as long for each, so that bytes can be replaced
MIB = 2**20


class Zeros(Engine):
    """Answers 0 to everything."""

    name = "zeros"

    def __init__(self) -> None:
        super().__init__(EngineInfo("small", 256, 128, "fp32", "0" * 64, "cpu", None))

    def _infer(self, views: Array) -> dict[str, Array]:
        shapes = output_shapes(len(views), self.info.height, self.info.width)
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def _release(self) -> None:
        pass


def template(side: str) -> bytes:
    """One film of woman 0, as a file."""
    y, x = np.mgrid[:ROWS, :COLUMNS].astype(float)
    x = COLUMNS - 1 - x if side == "R" else x
    inside = np.clip(1 - ((y - ROWS * 0.45) / (ROWS * 0.4)) ** 2 - (x / (COLUMNS * 0.8)) ** 2, 0, 1)
    film = Dataset()
    film.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    film.SOPInstanceUID, film.StudyInstanceUID = MARK.format(0, "RL".index(side) + 1), MARK.format(0, 9)
    film.SeriesInstanceUID, film.PatientID = MARK.format(0, 8), MARK.format(0, 7)
    film.Modality, film.PresentationIntentType, film.ImageType = "MG", "FOR PRESENTATION", ["ORIGINAL", "PRIMARY"]
    film.StudyDate, film.ImageLaterality, film.ViewPosition = "20200102", side, "CC"
    film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
    film.Rows, film.Columns, film.BitsAllocated, film.BitsStored, film.HighBit = ROWS, COLUMNS, 16, 12, 11
    film.add_new("PixelData", "OW", np.rint(inside * 4000).astype("<u2").tobytes())
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder:
        film.save_as(Path(folder) / "film", enforce_file_format=True)
        return (Path(folder) / "film").read_bytes()


def make_archive(folder: Path, pairs: int) -> None:
    """A folder a woman, with a right and a left film."""
    files = {side: template(side) for side in "RL"}
    first = MARK.format(0, 0).rpartition(".")[0]
    for woman in range(1, pairs + 1):
        own = MARK.format(woman, 0).rpartition(".")[0]
        (folder / f"{woman:06d}").mkdir(parents=True)
        for side, content in files.items():
            (folder / f"{woman:06d}" / f"{side}.dcm").write_bytes(content.replace(first.encode(), own.encode()))


def resident() -> int:
    """Bytes of this process that lie in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def child(source: Path, out: Path) -> None:
    """One run; prints what it took as JSON."""
    curve: list[tuple[float, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(EVERY):
            curve.append((time.perf_counter() - started, resident()))

    watcher = threading.Thread(target=look, daemon=True)
    before, started = resident(), time.perf_counter()
    watcher.start()
    options = InferOptions(source, out, write=("scores", "html"), quiet=True, workers=2)
    summary = infer_with(Zeros(), options)
    seconds = time.perf_counter() - started
    over.set()
    watcher.join()
    thinned = curve[:: max(1, len(curve) // POINTS)]
    found = {
        "scored": summary.scored,
        "seconds": round(seconds, 2),
        "before_mib": round(before / MIB, 1),
        "peak_mib": round(max(size for _, size in curve) / MIB, 1),
        "curve": [[round(at, 1), round(size / MIB, 1)] for at, size in thinned],
    }
    print(json.dumps(found))


def measure(pairs: int) -> dict[str, Any]:
    """One size, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="disasym-memory-") as folder:
        make_archive(Path(folder) / "in", pairs)
        command = [sys.executable, "-m", "benchmarks.memory", str(Path(folder) / "in"), str(Path(folder) / "out")]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert found["scored"] == pairs, "pairs were lost"
    print(f"{pairs:6d} pairs: peak {found['peak_mib']} MiB, before {found['before_mib']}, {found['seconds']} s")
    return found


def main() -> None:
    if len(sys.argv) == 3:
        child(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    sizes = {str(pairs): measure(pairs) for pairs in SIZES}
    most, least = max(SIZES), min(SIZES)
    grown = (sizes[str(most)]["peak_mib"] - sizes[str(least)]["peak_mib"]) * MIB / (most - least)
    result = {"kib_a_pair": round(grown / 1024, 2), "pairs": sizes, **facts("cpu")}
    write_whole(Path(__file__).parent / "results" / "memory.json", (json.dumps(result, indent=1) + "\n").encode())
    print(f"{result['kib_a_pair']} KiB more a pair between {least} and {most}")


if __name__ == "__main__":
    main()
