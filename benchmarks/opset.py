"""What does opset 23, whose attention is one `Attention` node, cost or save on a CPU against opset 18? (docs/adr/0009)

    python benchmarks/opset.py

One pair a batch, networks with random weights, all variants in turn in one process; the shortest and the median run.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from disasym.engines.base import usable_cores
from disasym.export.parity import synthetic_pairs
from disasym.export.to_onnx import to_onnx
from disasym.model import PRESETS, DisAsymNet

RUNS = {"small": 15, "paper": 5}


def timed(variants: dict[str, Callable[[], object]], runs: int) -> dict[str, dict[str, float]]:
    """Seconds of each variant, interleaved so that a noisy moment hits all; one warm-up each."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(runs + 1):
        for name, run in variants.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: {"min": min(all_), "median": statistics.median(all_)} for name, all_ in seconds.items()}


@torch.inference_mode()
def measure(preset: str) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    config = PRESETS[preset]
    eager = DisAsymNet(config).eval()
    last = DisAsymNet(config).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    views = synthetic_pairs(config.height, config.width, 1, seed=0)
    feed, tensor = {"views": views}, torch.from_numpy(np.array(views))
    variants: dict[str, Callable[[], object]] = {
        "eager": lambda: eager(tensor),
        "eager, channels last": lambda: last(tensor),
    }
    for opset in (18, 23):
        with torch.inference_mode(mode=False):
            model = to_onnx(eager, opset)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        variants[f"onnxruntime, opset {opset}"] = partial(session.run, None, feed)
    return timed(variants, RUNS[preset])


def main() -> None:
    report: dict[str, object] = {preset: measure(preset) for preset in RUNS}
    report["conditions"] = {
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": f"{platform.machine()}, {usable_cores()} cores",
        "batch": 1,
        "runs": RUNS,
    }
    text = json.dumps(report, indent=2)
    (Path(__file__).parent / "results" / "opset.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
