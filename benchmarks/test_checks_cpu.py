"""What the checks of `Engine.run` cost at the size of the preset `paper`, around an engine that does nothing.

    python -m pytest benchmarks/test_checks_cpu.py --benchmark-columns=median,iqr,rounds

"one pass" reads the same memory once, and is what the checks can cost at least.
"""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from disasym.engines import Engine, EngineInfo
from disasym.spec import Array, output_shapes

BATCH, HEIGHT, WIDTH = 32, 1024, 512


class Idle(Engine):
    """Returns what it was made with."""

    name = "idle"

    def __init__(self, outputs: dict[str, Array]) -> None:
        super().__init__(EngineInfo("paper", HEIGHT, WIDTH, "fp32", "0" * 64, "cpu", None))
        self._outputs = outputs

    def _infer(self, views: Array) -> dict[str, Array]:
        return self._outputs

    def _release(self) -> None:
        pass


@pytest.mark.parametrize("what", ["one pass", "checks"])
def test_checks(what: str, benchmark: BenchmarkFixture) -> None:
    random = np.random.default_rng(0)
    views = random.random((BATCH, 2, HEIGHT, WIDTH), np.float32)
    outputs = {name: random.random(shape, np.float32) for name, shape in output_shapes(BATCH, HEIGHT, WIDTH).items()}
    engine = Idle(outputs)
    arrays = (views, *outputs.values())
    benchmark.extra_info["bytes"] = sum(array.nbytes for array in arrays)
    if what == "checks":
        benchmark(engine.run, views)
    else:
        benchmark(lambda: [array.max() for array in arrays])
