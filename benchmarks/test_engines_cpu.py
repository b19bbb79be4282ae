"""Every engine that runs on a CPU, on trained weights of `small` (pytest-benchmark): has one become slower?

    python -m pytest benchmarks/test_engines_cpu.py --benchmark-json before.json
    python -m pytest benchmarks/test_engines_cpu.py --benchmark-compare=before.json

The exports are made by what `disasym bench` makes them with, with the sample films, and run on them. Each is
compared with eager PyTorch before it is timed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from disasym.bench.models import exports_of
from disasym.cli.demo import films
from disasym.engines import Engine, load
from disasym.export.tolerances import tolerance
from disasym.infer.stages import load_views

WEIGHTS = Path(__file__).resolve().parent.parent / "tests" / "data" / "trained_small.safetensors"
CONTENDERS = {  # name → export, engine
    "eager": ("fp32", "eager"),
    "onnxruntime-fp32": ("fp32", "onnxruntime"),
    "onnxruntime-fp32-scores": ("fp32:scores", "onnxruntime"),
    "onnxruntime-int8": ("int8", "onnxruntime"),
    "onnxruntime-int8-scores": ("int8:scores", "onnxruntime"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module", params=list(CONTENDERS))
def engine(request: pytest.FixtureRequest, models: Path) -> Iterator[Engine]:
    kind, name = CONTENDERS[request.param]
    (folder,) = exports_of([str(WEIGHTS)], [kind], models, films(), print)
    with load(folder, name) as opened:
        yield opened


@pytest.mark.parametrize("batch", [1, 8])
def test_engine(engine: Engine, batch: int, benchmark: BenchmarkFixture) -> None:
    pairs = load_views(films(), engine.info.height, engine.info.width)
    views = np.resize(pairs, (batch, *pairs.shape[1:]))
    with load(WEIGHTS, "eager") as reference:
        expected = reference.run(views).named()
    for output, value in engine.run(views).named().items():
        assert abs(value - expected[output]).max() <= tolerance(engine.info.precision, output)
    benchmark(engine.run, views)
