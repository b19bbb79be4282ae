"""int8 for CPUs: a float ONNX model → one whose convolutions, matrix products and attention run on 8-bit integers.

Three steps: the graph is brought into a form that onnxruntime has integer kernels for (`int8_shape`), the range of each
activation is measured on real pairs (`calibration`), and quantisation is written into the graph as QDQ (`int8_qdq`).
How to choose the ranges, and which parts must stay float, is decided by the scores on real pairs and reported.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from disasym.errors import InputError
from disasym.export.calibration import METHODS, PERCENTILE, Range, histograms, open_session, ranges
from disasym.export.int8_qdq import integer_layers, plan, to_qdq
from disasym.export.int8_shape import shape_for_int8
from disasym.export.prune import prune
from disasym.spec import Array

SCORES = ("asymmetry", "abnormal")
TOLERANCE = 0.01  # largest |Δ| of a score
AIM = 0.7  # of the tolerance, on the pairs given: unseen pairs are up to half as far again (docs/adr/0015)
BLOCKS = "asyc.blocks."
STEPS = (1, 2, 3, 5, 8, 13, 21)  # how many of the most harmful groups are left float, tried in turn

Say = Callable[[str], None]


@dataclass(frozen=True)
class Quantised:
    """An int8 model and how it came about."""

    model: bytes  # same inputs and outputs as the float model, all float32
    report: dict[str, Any]  # ready for JSON


def quantise(model: bytes, views: Array, *, tolerance: float = TOLERANCE, say: Say = lambda line: None) -> Quantised:
    """Quantise a float32 model made by `disasym.export.to_onnx`, with any of its outputs.

    The same model, views, machine and tools give the same bytes.

    Args:
        model: serialised ONNX, float32.
        views: real pairs, float32 [n, 2, H, W]: the ranges and every choice are made on them. Some eight or more,
            of several women and devices: what is brighter than all of them is clipped. With four or more, the method
            is chosen on pairs that it was not calibrated on.
        tolerance: largest |Δscore| against the float model that any pair should have; on `views`, parts are left
            float until AIM times this is kept.
        say: told what is being done, one line at a time.

    Raises:
        InputError: no pairs, NaN among them, or they do not fit the model.
        ExportError: the graph cannot be rewritten.
    """
    source = onnx.load_from_string(model)
    _check(source, views)
    present = tuple(value.name for value in source.graph.output)
    scores = tuple(name for name in SCORES if name in present)
    shaped = shape_for_int8(source)
    say(f"measuring the activations on {len(views)} pairs")
    planned = plan(shaped)
    tables = histograms(shaped, planned.tensors, views)
    fitted, held = (slice(0, None, 2), slice(1, None, 2)) if len(views) > 3 else (slice(None), slice(None))
    pruned = prune(source, scores) if scores else source  # images have no say in what stays float
    trial = _Trial(pruned, views[held])
    methods = {}
    for method in METHODS:
        methods[method] = trial.deltas(ranges(tables[fitted], method))
        say(f"{method}: {_told(methods[method])}")
    chosen = min(methods, key=lambda method: _worst(methods[method]))
    spans = ranges(tables, chosen)
    trial = _Trial(pruned, views)
    close = not scores or _worst(trial.deltas(spans)) <= AIM * tolerance
    alone, kept, steps = ({}, [], []) if close else _choose(trial, spans, AIM * tolerance, say)
    quantised = to_qdq(shape_for_int8(source, kept), spans, kept)
    report = {
        "method": chosen,
        "methods": methods,
        "percentile": PERCENTILE,
        "pairs": {"calibrated": len(views), "method_chosen_on": len(views[held])},
        "tolerance": tolerance,
        "aim": AIM * tolerance,
        "int8": [name for name in planned.groups if name not in kept],
        "float": {name: alone[name] for name in kept},
        "only_this_group_int8": alone,
        "left_float_in_turn": steps,
        "int8_layers": len(integer_layers(quantised)),
        "delta": _Trial(source, views).compared(quantised),
    }
    return Quantised(quantised.SerializeToString(deterministic=True), report)


def _check(model: onnx.ModelProto, views: Array) -> None:
    wanted = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim][1:]
    if views.ndim != 4 or len(views) == 0 or list(views.shape[1:]) != wanted or views.dtype != np.float32:
        raise InputError(
            f"int8 needs real pairs to calibrate on, float32 [n, {', '.join(map(str, wanted))}] with n ≥ 1, got"
            f" {views.dtype} {list(views.shape)}: name a folder or manifest of mammograms"
        )
    if not np.isfinite(views).all():
        raise InputError("the pairs to calibrate on hold NaN or infinity: preprocess the images first")


class _Trial:
    """Compares quantised variants of one model with the float model, on the same pairs."""

    def __init__(self, source: onnx.ModelProto, views: Array) -> None:
        self.source = source
        self.views = views
        self.names = [value.name for value in source.graph.output]
        session = open_session(source)
        self.expected = [session.run(self.names, {"views": pair}) for pair in views[:, None]]

    def deltas(self, spans: Mapping[str, Range], keep: Collection[str] = ()) -> dict[str, float]:
        """Largest |Δ| of each output when all groups but `keep` are int8."""
        compared = self.compared(to_qdq(shape_for_int8(self.source, keep), spans, keep))
        return {name: each["max"] for name, each in compared.items()}

    def compared(self, model: onnx.ModelProto) -> dict[str, dict[str, float]]:
        """Largest and mean |Δ| of each output."""
        session = open_session(model)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in self.names}
        for pair, expected in zip(self.views[:, None], self.expected, strict=True):
            for name, value, wanted in zip(self.names, session.run(self.names, {"views": pair}), expected, strict=True):
                delta = np.abs(value - wanted)
                found[name].append((float(delta.max()), float(delta.mean())))
        return {
            name: {"max": max(largest for largest, _ in each), "mean": sum(mean for _, mean in each) / len(each)}
            for name, each in found.items()
        }


def _choose(
    trial: _Trial, spans: Mapping[str, Range], aim: float, say: Say
) -> tuple[dict[str, float], list[str], list[dict[str, Any]]]:
    """Which groups stay float: the error of each alone, the most harmful ones first, until the scores are close.

    The blocks of the transformer are one part unless together they use up half of `aim`: in every network seen so far
    they did not matter (docs/log.md), and to ask each of the 24 groups of `paper` took most of the export's time.
    """
    every = plan(shape_for_int8(trial.source)).groups
    blocks = tuple(name for name in every if name.startswith(BLOCKS))
    alone: dict[str, float] = {}

    def ask(part: str, names: Collection[str]) -> None:
        alone[part] = _worst(trial.deltas(spans, set(every) - set(names)))
        say(f"only {part} as int8: |Δscore| {alone[part]:.2g}")

    for name in every:
        if name not in blocks:
            ask(name, [name])
    if blocks:
        ask("blocks", blocks)
    if alone.get("blocks", 0.0) > aim / 2:
        for name in blocks:
            ask(name, [name])
    harmful = sorted(set(alone) & set(every), key=lambda name: (-alone[name], name))
    tried: list[dict[str, Any]] = []
    for count in STEPS:
        if count > len(harmful) or count == len(every):
            break
        delta = _worst(trial.deltas(spans, harmful[:count]))
        tried.append({"groups": count, "delta": delta})
        say(f"{count} groups left float: |Δscore| {delta:.2g}")
        if delta <= aim:
            break
    best = min(tried, key=lambda each: (each["delta"] > aim, each["delta"]), default={"groups": 0})
    return alone, harmful[: best["groups"]], tried


def _worst(deltas: Mapping[str, float]) -> float:
    scores = [deltas[name] for name in SCORES if name in deltas]
    return max(scores or deltas.values())


def _told(deltas: Mapping[str, float]) -> str:
    return ", ".join(f"|Δ{name}| {delta:.2g}" for name, delta in deltas.items())
