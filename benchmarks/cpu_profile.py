"""Where the time of one pair goes in onnxruntime on a CPU, and how fast it could be at best.

    python -m benchmarks.cpu_profile EXPORT... --out benchmarks/results/cpu_profile.json

For each export and kind of kernel: milliseconds (of each node its fastest run), multiplications, and their rate, beside
the rate that onnxruntime's 3×3 convolution of 128 channels reaches in the same process (the ceiling) and the time of
eager PyTorch with all outputs. "limit" is the time if every multiplication ran at the ceiling and everything else cost
nothing: no engine that multiplies as often can be faster with these kernels.
"""

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from disasym.bench.facts import facts
from disasym.engines import load
from disasym.engines.base import usable_cores
from disasym.engines.ort import session_options
from disasym.export.manifest import ONNX, WEIGHTS, read_manifest
from disasym.export.parity import synthetic_pairs
from disasym.files import write_whole
from disasym.spec import Array

RUNS = 8
LAYERS = 16  # convolutions one behind the other, so that what happens at the ends does not count
CHANNELS, ROWS, COLUMNS = 128, 128, 64  # of the convolution that stands for the ceiling: layer2 of `paper`
SHOWN = 0.01  # kinds of kernels with less of the time are summed up as "others"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", nargs="+", type=Path, help="exports for onnxruntime, of one model")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--out", type=Path, help="the same as JSON")
    asked = parser.parse_args()
    ceilings = {kind: ceiling(kind, asked.threads) for kind in ("fp32", "int8")}
    found = [profiled(folder, asked.threads, ceilings) for folder in asked.exports]
    result = {**facts("cpu"), "threads": asked.threads, "ceilings_gmac_s": ceilings, "exports": found}
    for each in found:
        print(table(each))
    if asked.out:
        write_whole(asked.out, (json.dumps(result, indent=1) + "\n").encode())


def profiled(folder: Path, threads: int, ceilings: dict[str, float]) -> dict[str, Any]:
    """What one export does with one pair."""
    manifest = read_manifest(folder)
    views = synthetic_pairs(manifest.height, manifest.width, 1)
    model = (folder / ONNX).read_bytes()
    kinds, total = kernels(model, {"views": views}, threads)
    top = ceilings["int8" if manifest.precision == "int8" else "fp32"]
    products = sum(kind["gmac"] for kind in kinds.values())
    return {
        "export": folder.name,
        "onnxruntime_ms": total,
        "eager_ms": eager(folder, views, threads),
        "gmac": products,
        "ceiling_gmac_s": top,
        "limit_ms": 1e3 * products / top,
        "kernels": kinds,
    }


def kernels(model: bytes, feed: dict[str, Array], threads: int) -> tuple[dict[str, dict[str, float]], float]:
    """Kind of kernel → ms, gmac, gmac_s; and the milliseconds of the fastest whole run, profiler included."""
    with tempfile.TemporaryDirectory() as scratch:
        optimised = Path(scratch) / "optimised.onnx"
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(scratch) / "profile")
        options.optimized_model_filepath = str(optimised)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        seconds = [_seconds(lambda: session.run(None, feed)) for _ in range(RUNS + 1)]
        events = json.loads(Path(session.end_profiling()).read_text())
        weights = _weights(onnx.load(optimised))
    fastest: dict[str, float] = {}
    nodes: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            fastest[name] = min(event["dur"], fastest.get(name, math.inf))
            nodes[name] = event["args"]
    summed: dict[str, dict[str, float]] = defaultdict(lambda: {"ms": 0.0, "gmac": 0.0})
    for name, args in nodes.items():
        kind = summed[args["op_name"]]
        kind["ms"] += fastest[name] / 1e3
        kind["gmac"] += multiplied(args, weights.get(name, ())) / 1e9
    for kind in summed.values():
        kind["gmac_s"] = 1e3 * kind["gmac"] / kind["ms"] if kind["ms"] else 0.0
    return dict(sorted(summed.items(), key=lambda each: -each[1]["ms"])), 1e3 * min(seconds[1:])


def multiplied(args: dict[str, Any], weight: tuple[int, ...]) -> float:
    """Multiplications of one node of onnxruntime's profile; `weight` is the shape of the largest constant it reads."""
    inputs, outputs = (_shapes(args[name]) for name in ("input_type_shape", "output_type_shape"))
    made = math.prod(outputs[0]) if outputs else 0
    match args["op_name"]:
        case "Conv" | "FusedConv" | "QLinearConv":  # weight [out, in, height, width]
            return made * math.prod(weight[1:])
        case "ConvTranspose":  # weight [in, out, height, width]: each input value meets all of them
            return math.prod(inputs[0]) * math.prod(weight[1:])
        case "MatMul" | "FusedMatMul" | "FusedGemm" | "Gemm" | "QGemm" | "MatMulIntegerToFloat" | "QLinearMatMul":
            return made * inputs[0][-1]
        case "Attention":  # [B, h, N, d]: scores and weighted sums
            return 2 * made * inputs[1][2]
    return 0


def ceiling(kind: str, threads: int) -> float:
    """GMAC/s of onnxruntime's 3×3 convolution of CHANNELS to CHANNELS, the best of RUNS."""
    feed = {"x": np.random.default_rng(0).random((2, CHANNELS, ROWS, COLUMNS), np.float32)}
    model = _convolution(quantised=kind == "int8").SerializeToString()
    session = onnxruntime.InferenceSession(model, session_options(threads), providers=["CPUExecutionProvider"])
    seconds = min(_seconds(lambda: session.run(None, feed)) for _ in range(RUNS + 1))
    return LAYERS * 2 * CHANNELS * CHANNELS * 9 * ROWS * COLUMNS / seconds / 1e9


def _convolution(quantised: bool) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    constants, nodes = [], []
    name = "x"
    if quantised:
        constants += [helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255])]
        constants += [helper.make_tensor("zero", TensorProto.UINT8, [], [0])]
        constants += [numpy_helper.from_array(np.full(CHANNELS, 1e-2, np.float32), "steps")]
        constants += [numpy_helper.from_array(np.zeros(CHANNELS, np.int8), "zeros")]
        nodes.append(helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]))
        name = "q"
    for at in range(LAYERS):
        weight = rng.integers(-9, 9, (CHANNELS, CHANNELS, 3, 3))
        out = f"layer{at}"
        stored = weight.astype(np.int8) if quantised else (weight / 100).astype(np.float32)
        constants.append(numpy_helper.from_array(stored, f"weight{at}"))
        if quantised:
            inputs = [name, "scale", "zero", f"weight{at}", "steps", "zeros", "scale", "zero"]
            nodes.append(helper.make_node("QLinearConv", inputs, [out], pads=[1, 1, 1, 1]))
        else:
            nodes.append(helper.make_node("Conv", [name, f"weight{at}"], [out], pads=[1, 1, 1, 1]))
        name = out
    if quantised:
        nodes.append(helper.make_node("DequantizeLinear", [name, "scale", "zero"], ["y"]))
    shape = [2, CHANNELS, ROWS, COLUMNS]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y" if quantised else name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "ceiling", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def eager(folder: Path, views: Array, threads: int) -> float:
    """Milliseconds of eager PyTorch in float32 with all outputs; the fastest of RUNS."""
    with load(folder / WEIGHTS, "eager", threads=threads) as engine:
        return 1e3 * min(_seconds(lambda: engine.run(views)) for _ in range(RUNS + 1))


def table(found: dict[str, Any]) -> str:
    """What `profiled` found, to be read."""
    total = sum(kind["ms"] for kind in found["kernels"].values())
    head = (
        f"{found['export']}: {found['onnxruntime_ms']:.0f} ms, eager {found['eager_ms']:.0f} ms"
        f" ({found['eager_ms'] / found['onnxruntime_ms']:.2f}×); {found['gmac']:.1f} GMAC at the ceiling of"
        f" {found['ceiling_gmac_s']:.0f} GMAC/s are {found['limit_ms']:.0f} ms"
        f" ({found['eager_ms'] / found['limit_ms']:.2f}×)"
    )
    lines = [head]
    rest = 0.0
    for name, kind in found["kernels"].items():
        if kind["ms"] < SHOWN * total:
            rest += kind["ms"]
            continue
        rate = f"{kind['gmac']:8.2f} GMAC {kind['gmac_s']:7.1f} GMAC/s" if kind["gmac"] else ""
        lines.append(f"  {name:<24}{kind['ms']:8.1f} ms {kind['ms'] / total:5.0%}  {rate}")
    return "\n".join([*lines, f"  {'others':<24}{rest:8.1f} ms {rest / total:5.0%}", ""])


def _weights(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Node → the shape of the largest constant that it reads."""
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return {
        node.name: max((sizes[name] for name in node.input if name in sizes), key=math.prod, default=())
        for node in model.graph.node
    }


def _shapes(entries: list[dict[str, list[int]]]) -> list[list[int]]:
    return [next(iter(entry.values()), []) for entry in entries]


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
