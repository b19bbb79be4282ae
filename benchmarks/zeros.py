"""`disasym infer` with an engine that answers zeros and keeps nothing: what `memory.py` watches.

python -m benchmarks.zeros SOURCE OUT
"""

import sys
from pathlib import Path

import numpy as np

from disasym.engines.base import Engine, EngineInfo
from disasym.infer import InferOptions
from disasym.infer.run import infer_with
from disasym.spec import Array, output_shapes


class Zeros(Engine):
    """Answers 0 to everything, at the size of the preset `small`."""

    name = "zeros"

    def __init__(self) -> None:
        super().__init__(EngineInfo("small", 256, 128, "fp32", "0" * 64, "cpu", None))

    def _infer(self, views: Array) -> dict[str, Array]:
        shapes = output_shapes(len(views), self.info.height, self.info.width)
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def _release(self) -> None:
        pass


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    infer_with(Zeros(), InferOptions(source, out, write=("scores", "html"), quiet=True, workers=2))
