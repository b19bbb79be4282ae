"""What is kept of a measurement: one row a contender and batch, each number from the seconds of its runs.

p95 and p99 are only given where as many runs as it takes were made. The ratio to eager is one of turns: in each turn
all contenders ran one after the other, so a noisy moment hits both sides of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from disasym.bench.contenders import Absent, Contender
from disasym.export.tolerances import KINDS, tolerance

FORMAT = "disasym-bench-1"
LEAST_RUNS = {50: 1, 95: 20, 99: 100}  # a percentile of fewer runs would be their largest, under another name
Turns = Sequence[Sequence[float]]  # seconds of each run, by turn


@dataclass(frozen=True)
class Row:
    """One contender at one batch size. Times in ms of one run of the batch, sizes in bytes; None: not known."""

    contender: str
    engine: str
    precision: str
    outputs: tuple[str, ...]
    device: str
    target: str
    batch: int
    turns: int
    runs: int
    p50_ms: float
    p95_ms: float | None
    p99_ms: float | None
    pairs_per_second: float  # of all runs together
    times_eager: float | None  # how many times as fast as the reference: the median over turns
    times_eager_p25: float | None
    times_eager_p75: float | None
    delta: dict[str, float]  # output → largest |Δ| to eager on the distinct pairs, at this batch size
    differs: tuple[str, ...]  # outputs further away than the table of tolerances allows: its speed is no merit
    open_bytes: int | None  # memory of the process with the model loaded, before a run
    peak_bytes: int | None  # the most it ever held up to here, loading included
    gpu_bytes: int | None  # by which the GPU's used memory grew while this contender alone was at work
    start_first: Mapping[str, float]  # seconds from nothing to the first result, and its parts
    start_again: Mapping[str, float]  # the same right afterwards, when files and compiled code are at hand

    @property
    def score_delta(self) -> float | None:
        """Largest |Δ| of a score; None of the reference itself."""
        return _largest(self.delta, "score")

    @property
    def image_delta(self) -> float | None:
        """Largest |Δ| of an image; None where there is none."""
        return _largest(self.delta, "image")

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "kind": "race", **_finite(asdict(self))}


def absent_json(absent: Absent) -> dict[str, Any]:
    """Who did not run, as a line of the same file."""
    return {"format": FORMAT, "kind": "absent", "contender": absent.name, "reason": absent.reason}


def figures(batch: int, turns: Turns, reference: Turns | None) -> dict[str, Any]:
    """The fields of `Row` that are made of times."""
    runs = np.array([seconds for turn in turns for seconds in turn])
    p25, p50, p75 = times(reference, turns) if reference else (None, None, None)
    return {
        "turns": len(turns),
        "runs": len(runs),
        **{f"p{q}_ms": percentile(runs * 1e3, q) for q in LEAST_RUNS},
        "pairs_per_second": batch * len(runs) / float(runs.sum()),
        "times_eager": p50,
        "times_eager_p25": p25,
        "times_eager_p75": p75,
    }


def percentile(values: "Sequence[float] | np.ndarray", q: int) -> float | None:
    """numpy's percentile (linear between neighbours); None of too few values."""
    return float(np.percentile(values, q)) if len(values) >= LEAST_RUNS[q] else None


def times(reference: Turns, turns: Turns) -> tuple[float, float, float]:
    """How many times as fast as the reference: quartiles over the turns of median run / median run."""
    ratios = [float(np.median(one) / np.median(other)) for one, other in zip(reference, turns, strict=True)]
    p25, p50, p75 = np.percentile(ratios, (25, 50, 75))
    return float(p25), float(p50), float(p75)


def beyond(contender: Contender, delta: Mapping[str, float]) -> tuple[str, ...]:
    """The outputs that are further from eager than an export of this precision may be; NaN is further."""
    return tuple(name for name, worst in delta.items() if not worst <= tolerance(contender.precision, name))


def _largest(delta: Mapping[str, float], kind: str) -> float | None:
    worst = [each for name, each in delta.items() if KINDS[name] == kind]
    return float(np.max(worst)) if worst else None  # numpy's maximum keeps NaN


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a difference that is none is written as null, and the output is among `differs`."""
    delta = {name: worst if math.isfinite(worst) else None for name, worst in values["delta"].items()}
    return {**values, "delta": delta}
