"""What do the outputs of an export cost? onnxruntime on the CPU, fp32, one pair a batch (docs/log.md).

    python benchmarks/outputs.py

A network with random weights, exported once for each set of outputs; all sets in turn in one process.
Ratios within a round bear a busy machine best.
"""

import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch

from disasym.engines.base import EngineInfo, usable_cores
from disasym.engines.ort import OrtEngine
from disasym.export.parity import synthetic_pairs
from disasym.export.to_onnx import to_onnx
from disasym.files import write_whole
from disasym.model import PRESETS, DisAsymNet
from disasym.spec import OUTPUT_SETS

RUNS = {"small": 30, "paper": 9}


def measure(preset: str, folder: Path) -> dict[str, dict[str, float]]:
    """Seconds of one pair for each set of outputs, interleaved so that a noisy moment hits all; one warm-up each."""
    torch.manual_seed(0)
    config = PRESETS[preset]
    network = DisAsymNet(config).eval()
    engines = {}
    for name, outputs in OUTPUT_SETS.items():
        file = folder / f"{preset}-{name}.onnx"
        write_whole(file, to_onnx(network, outputs=outputs))
        info = EngineInfo(preset, config.height, config.width, "fp32", "0" * 64, "cpu", None, outputs)
        engines[name] = OrtEngine(file, info)
    views = synthetic_pairs(config.height, config.width, 1)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(RUNS[preset] + 1):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.run(views)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    ratios = [whole / scores for whole, scores in zip(seconds["all"], seconds["scores"], strict=True)]
    found = {name: {"min": min(each), "median": statistics.median(each)} for name, each in seconds.items()}
    return {**found, "all / scores, in turn": {"min": min(ratios), "median": statistics.median(ratios)}}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {preset: measure(preset, Path(folder)) for preset in RUNS}
    machine = {"processor": platform.processor(), "cores": usable_cores()}
    versions = {"torch": str(torch.__version__), "onnxruntime": onnxruntime.__version__}
    result = {"runs": RUNS, "machine": machine, "versions": versions, "seconds": found}
    target = Path(__file__).parent / "results" / "outputs.json"
    write_whole(target, (json.dumps(result, indent=2) + "\n").encode())
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
