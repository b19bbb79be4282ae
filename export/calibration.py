"""Ranges for int8: what each activation holds on real pairs, and which part of that is worth a level.

Four ways to choose the range of a tensor from its histogram. Each is deterministic, and which one serves a model is
measured, not believed (`disasym.export.quantise`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from disasym.engines.base import usable_cores
from disasym.engines.ort import session_options
from disasym.spec import Array

Range = tuple[float, float]
Counts = npt.NDArray[np.float64]
BINS = 2048
LEVELS = 255
MOST = 1 << 20  # elements of a tensor that are counted in one pair: evenly spaced, the same in every run
PERCENTILE = 99.999
CUTS = np.linspace(0.3, 1.0, 71)  # shares of the range that entropy and error choose from


@dataclass(frozen=True)
class Histogram:
    """How often the values of one tensor fall into BINS equal parts of [low, high]."""

    low: float
    high: float
    counts: Counts

    @property
    def middles(self) -> Counts:
        return self.low + (np.arange(BINS) + 0.5) * (self.high - self.low) / BINS


def histograms(model: onnx.ModelProto, tensors: Sequence[str], views: Array) -> list[dict[str, Histogram]]:
    """One table of histograms a pair, over ranges common to all pairs, so that tables can be summed.

    Args:
        model: the float graph.
        tensors: names of tensors inside it, or of its inputs.
        views: [n, 2, H, W].
    """
    ranges: dict[str, Range] = {}
    for values in _runs(model, tensors, views):
        for name, value in values.items():
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(value.min())), max(high, float(value.max()))
    tables = []
    for values in _runs(model, tensors, views):
        table = {}
        for name, value in values.items():
            flat = value.reshape(-1)[:: -(-value.size // MOST)]
            low, high = ranges[name]
            counts, _ = np.histogram(flat, BINS, (low, high if high > low else low + 1e-6))
            table[name] = Histogram(low, high, counts.astype(np.float64))
        tables.append(table)
    return tables


def ranges(tables: Sequence[dict[str, Histogram]], method: str) -> dict[str, Range]:
    """The range of every tensor by one of METHODS, from the histograms of some pairs."""
    return {
        name: METHODS[method](Histogram(first.low, first.high, sum((t[name].counts for t in tables), np.zeros(BINS))))
        for name, first in tables[0].items()
    }


def _minmax(histogram: Histogram) -> Range:
    """All that was seen."""
    seen = np.flatnonzero(histogram.counts)
    step = (histogram.high - histogram.low) / BINS
    return histogram.low + float(seen[0]) * step, histogram.low + float(seen[-1] + 1) * step


def _percentile(histogram: Histogram) -> Range:
    """What is left when (100 − PERCENTILE) % are cut off, half of them at each end."""
    below = np.cumsum(histogram.counts) / histogram.counts.sum()
    tail = (1 - PERCENTILE / 100) / 2
    step = (histogram.high - histogram.low) / BINS
    first, last = int(np.searchsorted(below, tail, "right")), int(np.searchsorted(below, 1 - tail))
    return histogram.low + first * step, histogram.low + min(last + 1, BINS) * step


def _entropy(histogram: Histogram) -> Range:
    """The cut whose quantised distribution loses the least information (Kullback–Leibler divergence).

    As in S. Migacz, 8-bit inference with TensorRT, GTC 2017: what is cut off is counted at the ends, and each level
    spreads its count over those of its bins that are not empty. Zeros are left out: background would drown the rest.
    """
    counts = histogram.counts.copy()
    counts[np.abs(histogram.middles) < (histogram.high - histogram.low) / BINS] = 0
    return _best_cut(Histogram(histogram.low, histogram.high, counts), _divergence)


def _error(histogram: Histogram) -> Range:
    """The cut with the smallest mean squared error of rounding and clipping."""
    return _best_cut(histogram, _squared_error)


def _best_cut(histogram: Histogram, loss: Callable[[Histogram, Range], float]) -> Range:
    low, high = _minmax(histogram) if histogram.counts.any() else (histogram.low, histogram.high)
    largest = max(-low, high)
    cuts = [(max(low, -cut * largest), min(high, cut * largest)) for cut in CUTS.tolist()]
    return min(cuts, key=lambda cut: loss(histogram, cut))


def _squared_error(histogram: Histogram, cut: Range) -> float:
    middles, (low, high) = histogram.middles, cut
    step = max(high - low, 1e-12) / LEVELS
    outside = np.maximum(np.maximum(low - middles, middles - high), 0)
    return float((histogram.counts * (outside**2 + np.where(outside > 0, 0, step**2 / 12))).sum())


def _divergence(histogram: Histogram, cut: Range) -> float:
    middles, (low, high) = histogram.middles, cut
    place = np.clip(((middles - low) / max(high - low, 1e-12) * LEVELS).astype(int), 0, LEVELS - 1)
    inside = (middles >= low) & (middles <= high)
    kept = np.where(inside, histogram.counts, 0)
    full = inside & (kept > 0)
    spread = np.bincount(place, kept, LEVELS) / np.maximum(np.bincount(place[full], minlength=LEVELS), 1)
    reference = kept.copy()
    ends = np.flatnonzero(inside)
    if not len(ends) or not full.any():
        return float("inf")
    reference[ends[0]] += histogram.counts[: ends[0]].sum()
    reference[ends[-1]] += histogram.counts[ends[-1] + 1 :].sum()
    quantised = np.where(full, spread[place], 0)
    p, q = reference / reference.sum(), np.maximum(quantised / quantised.sum(), 1e-12)
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


METHODS: dict[str, Callable[[Histogram], Range]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "entropy": _entropy,
    "error": _error,
}


def _runs(model: onnx.ModelProto, tensors: Sequence[str], views: Array) -> Iterator[dict[str, Array]]:
    """The values of tensors on one pair after the other."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    inside = [name for name in tensors if name in known]
    del tapped.graph.output[:]
    tapped.graph.output.extend(known[name] for name in inside)
    session = open_session(tapped)
    for pair in views[:, None]:
        values = dict(zip(inside, session.run(inside, {"views": pair}), strict=True))
        yield {name: values.get(name, pair) for name in tensors}


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session on the CPU as the engine opens its own: what is chosen by its numbers holds there."""
    options = session_options(usable_cores())
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
