"""Which nodes must stay in float32: each block, and each node where it matters, is moved to half precision alone.

The error it then causes in each output is measured on pairs against the float32 graph, by onnxruntime on the CPU and
with explicit rounding (`rounded.py` says why). Errors of rounding add like variances, so a node's share of the whole
error is own² / total², with root mean squares. A node becomes an island if

- it has at least SHARE of the error of an output whose error is noticeable (above NOTICEABLE of its limit), and
- it does at most DEAREST of the network's multiplications, which float32 makes an order of magnitude slower; or
- it overflows, or comes near to it.

There are few of those, and each is worth its Casts. Nodes that `mixed` leaves in float32 anyway are not measured.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from disasym.engines.base import usable_cores
from disasym.errors import ExportError
from disasym.export.mixed import FORMATS, Format, Half, Typed
from disasym.export.rounded import rounded
from disasym.export.work import multiplications
from disasym.spec import Array

SHARE = 0.25  # so at most four nodes an output, were errors exactly additive
NOTICEABLE = 0.25  # of the limit: pairs that were not measured may do worse
DEAREST = 0.03  # of all multiplications: the first convolution does 0.6 % of those of `paper`, 2 % of those of `small`
HEADROOM = 16.0  # other pairs may reach larger numbers than those measured; a node that leaves less is an island
PAIRS_AT_ONCE = 2  # bounds memory
MOST_PIXELS = 2**20  # bounds time, at some 40 runs: 16 pairs of the preset `small`, one of `paper`
SCORES, MAPS = ("asymmetry", "abnormal"), ("cam", "normal", "abnormality")
# What an output may lose. bf16 has 8 times the rounding of fp16; a score may not lose more than a hundredth even so.
LIMITS: dict[str, dict[str, float]] = {
    "fp16": dict.fromkeys(SCORES, 2e-3) | dict.fromkeys(MAPS, 1e-2),
    "bf16": dict.fromkeys(SCORES, 1e-2) | dict.fromkeys(MAPS, 5e-2),
}


@dataclass(frozen=True)
class Sensitivity:
    """What was measured, and what follows."""

    islands: tuple[str, ...]  # names of nodes, for `mixed`
    report: dict[str, Any]  # JSON-ready


@dataclass(frozen=True)
class Error:
    """Difference of one output from the float32 graph, over all pairs."""

    largest: float
    rms: float


Errors = dict[str, Error]  # by output


def measure(
    model: bytes,
    dtype: Half,
    views: Array,
    *,
    limits: Mapping[str, float] | None = None,
    every_node: bool = False,
    threads: int | None = None,
) -> Sensitivity:
    """Measure a float32 graph's sensitivity to half precision on pairs.

    Args:
        model: float32 ONNX, as for `mixed`.
        dtype: the half-precision format.
        views: float32 [n, 2, H, W]; real pairs, for the range of numbers decides. The first ones are used, up to
            MOST_PIXELS, at least one.
        limits: output → largest |Δ| that is acceptable; None means LIMITS.
        every_node: measure each node, not only those of blocks with a large share; minutes instead of seconds.
        threads: of onnxruntime; None means all usable cores.

    Raises:
        ExportError: `mixed` cannot convert the graph, or there is no pair.
    """
    if not len(views):
        raise ExportError("the sensitivity to half precision is measured on pairs, got none: give at least one")
    views = views[: max(1, MOST_PIXELS // views[0].size)]
    probe = _Probe(Typed(model), dtype, views, threads or usable_cores())
    always = probe.floats()
    narrow = probe.narrow(always)
    total = probe.errors(probe.floats(narrow))
    rate = _Rate(total, limits or LIMITS[dtype])

    parts = probe.blocks(always | narrow)
    blocks = {name: probe.errors(probe.all_but(nodes)) for name, nodes in parts.items()}
    opened = [name for name, own in blocks.items() if every_node or rate.share(own) >= SHARE]
    named = [node for name in opened for node in parts[name] if probe.kind(node) != "movement"]
    nodes = {node: probe.errors(probe.all_but([node])) for node in named}

    work = multiplications(probe.graph.model)
    large = [node for node, own in nodes.items() if rate.share(own) >= SHARE]
    chosen = narrow.union(node for node in large if work.get(node, 0.0) <= DEAREST)
    islands = probe.in_order(chosen)
    report = {
        "precision": dtype,
        "pairs": len(views),
        "onnxruntime": onnxruntime.__version__,
        "limits": rate.limits,
        "islands": islands,
        "too_narrow": probe.in_order(narrow),
        "too_dear": {node: _told(work[node]) for node in large if node not in chosen},
        "float32_anyway": probe.in_order(always),
        "error_without_islands": _table(total),
        "error_with_islands": _table(probe.errors(probe.floats(islands))),
        "blocks": {name: {"share": _told(rate.share(own)), **_table(own)} for name, own in blocks.items()},
        "nodes": {
            name: {"operator": probe.operator(name), "share": _told(rate.share(own)), **_table(own)}
            for name, own in nodes.items()
        },
    }
    return Sensitivity(tuple(islands), report)


class _Rate:
    """Rates a node's own errors by their share of the total, in the outputs where that total is noticeable."""

    def __init__(self, total: Errors, limits: Mapping[str, float]) -> None:
        self.limits = {name: limits[name] for name in total}
        self._total = {name: e for name, e in total.items() if not e.largest <= NOTICEABLE * limits[name]}

    def share(self, own: Errors) -> float:
        """The largest share of an output's squared error; infinite where the node alone overflows."""
        if not all(math.isfinite(error.rms) for error in own.values()):
            return math.inf
        return max(((own[name].rms / total.rms) ** 2 for name, total in self._total.items()), default=0.0)


class _Probe:
    """Runs one graph with different parts of it rounded, on the same pairs."""

    def __init__(self, graph: Typed, dtype: Half, views: Array, threads: int) -> None:
        self.graph, self.dtype, self.views, self.threads = graph, dtype, views, threads
        self.outputs = [value.name for value in graph.model.graph.output]
        self._nodes = {node.name: node for node in graph.nodes}
        self._exact = list(self._run(graph.model.SerializeToString(), self.outputs))

    def errors(self, floats: Collection[str]) -> Errors:
        """The errors of all outputs when every node outside `floats` rounds."""
        largest = dict.fromkeys(self.outputs, 0.0)
        squares = dict.fromkeys(self.outputs, 0.0)
        count = dict.fromkeys(self.outputs, 0)
        found = self._run(rounded(self.graph, self.dtype, floats), self.outputs)
        for exact, part in zip(self._exact, found, strict=True):
            for name, a, b in zip(self.outputs, exact, part, strict=True):
                with np.errstate(all="ignore"):  # an infinity in the result is a result
                    delta = np.nan_to_num(np.abs(b.astype(np.float64) - a), nan=np.inf)
                    largest[name] = max(largest[name], float(delta.max()))
                    squares[name] += float(np.square(delta).sum())
                count[name] += delta.size
        return {name: Error(largest[name], math.sqrt(squares[name] / count[name])) for name in self.outputs}

    def floats(self, islands: Collection[str] = ()) -> frozenset[str]:
        """The names of the nodes that `mixed` leaves in float32 with these islands."""
        return self.graph.floats(FORMATS[self.dtype], islands)

    def in_order(self, names: Collection[str]) -> list[str]:
        """Names of nodes in the order of execution."""
        return [node.name for node in self.graph.nodes if node.name in names]

    def all_but(self, nodes: Iterable[str]) -> frozenset[str]:
        """Every node's name but these."""
        return frozenset(self.graph.names.difference(nodes))

    def blocks(self, floats: Collection[str]) -> dict[str, list[str]]:
        """The nodes outside `floats` by the part of the network whose weights they or the nearest before them read."""
        block, found = "views", dict[str, list[str]]()
        for node in self.graph.nodes:
            weights = [name for name in node.input if name in self.graph.constants and re.match(r"[a-z]+\.", name)]
            if weights:
                block = re.sub(r"(\.(norm|qkv|fuse\w*|out|downsample\.\d+|conv\d))?\.\w+$", "", weights[0])
            if node.name not in floats:
                found.setdefault(block, []).append(node.name)
        return found

    def narrow(self, floats: Collection[str]) -> frozenset[str]:
        """Nodes outside `floats` that read or write numbers too near to the format's largest, or none but denormals."""
        form = FORMATS[self.dtype]
        reached = self._reached()
        return frozenset(
            node.name
            for node in self.graph.nodes
            if node.name not in floats
            and self.kind(node.name) != "movement"
            and any(not _fits(reached[name], form) for name in (*node.input, *node.output) if name in reached)
        )

    def kind(self, name: str) -> str:
        return self.graph.kind(self._nodes[name])

    def operator(self, name: str) -> str:
        return str(self._nodes[name].op_type)

    def _reached(self) -> dict[str, float]:
        """The largest magnitude of each float tensor, over all pairs."""
        names = [name for node in self.graph.nodes for name in self.graph.writes(node)]
        model = onnx.ModelProto()
        model.CopyFrom(self.graph.model)
        for name in names:
            absolute, largest = f"{name}.absolute", f"{name}.largest"
            model.graph.node.append(helper.make_node("Abs", [name], [absolute]))
            model.graph.node.append(helper.make_node("ReduceMax", [absolute], [largest], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
        runs = self._run(model.SerializeToString(), [f"{name}.largest" for name in names])
        return {name: float(max(values)) for name, values in zip(names, zip(*runs, strict=True), strict=True)}

    def _run(self, model: bytes, outputs: list[str]) -> Iterable[list[Array]]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for start in range(0, len(self.views), PAIRS_AT_ONCE):
            yield session.run(outputs, {"views": self.views[start : start + PAIRS_AT_ONCE]})


def _fits(magnitude: float, form: Format) -> bool:
    return magnitude == 0 or form.smallest <= magnitude <= form.largest / HEADROOM  # NaN does not


def _table(errors: Errors) -> dict[str, dict[str, float | str]]:
    return {name: {"largest": _told(error.largest), "rms": _told(error.rms)} for name, error in errors.items()}


def _told(value: float) -> float | str:
    """Three digits are enough to compare; JSON knows no infinity."""
    return float(f"{value:.3g}") if math.isfinite(value) else "infinite"
