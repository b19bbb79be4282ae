"""ONNX → a TensorRT engine, with TensorRT-RTX (no GPU needed to build) or TensorRT (one needed): one Python API.

The network is strongly typed: the ONNX graph alone says which precision each node has. An engine belongs to the exact
version of the library that built it, and to the compute capabilities it was built for.
"""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import onnx

from disasym.engines.trt_cuda import find_gpu, gpu_facts
from disasym.errors import ExportError
from disasym.export.tensorrt_library import LIBRARIES, Flavour, Library, require
from disasym.files import write_whole

if TYPE_CHECKING:
    from disasym.export.tensorrt_plugin import Plugin

ENGINE, LOG, LAYERS, TIMINGS = "model.engine", "build.log", "layers.json", "timing.cache"


@dataclass(frozen=True)
class Built:
    """An engine and what its builder said."""

    engine: Path
    log: Path  # every message, severity first
    layers: Path  # JSON: {"source": "engine inspector" | "build log", "layers": […]}
    timings: Path | None  # what the library timed, from which the next build of this model can start
    max_batch: int
    versions: dict[str, str]  # of what an engine depends on: it runs with exactly this version
    facts: dict[str, Any]  # JSON-ready: what it runs on, memory, time, layers
    warnings: tuple[str, ...] = field(default=())  # what the builder warned of, each once


def build(
    model: bytes,
    folder: Path,
    *,
    flavour: Flavour = "tensorrt-rtx",
    max_batch: int = 32,
    opt_batch: int | None = None,
    compute_capabilities: tuple[str, ...] = (),
    timings: bytes = b"",
    plugin: bool = False,
) -> Built:
    """Build an engine into an existing folder: `model.engine`, `build.log`, `layers.json`, and `timing.cache` if any.

    Args:
        model: ONNX with one dynamic dimension, the first of each input.
        folder: where the files go.
        flavour: the library.
        max_batch: the engine takes batches of 1 to this many pairs.
        opt_batch: the batch it is tuned for; None means max_batch, since archives are read in full batches.
        compute_capabilities: names of `ComputeCapability`, such as "SM89"; () leaves the choice to the library.
        timings: a timing cache to start from; one of another GPU or version is not used, and the facts say so.
        plugin: attention by the Triton kernel, compiled for the GPU of this machine; for "tensorrt" alone.

    Raises:
        MissingExtraError: the library is not installed.
        InputError: `compute_capabilities` for a library that cannot be told any.
        ExportError: no GPU where one is needed, or the library refused the model (the message names the node) or the
            request, or crashed.
    """
    library = LIBRARIES[flavour]
    require(flavour, compute_capabilities, plugin=plugin)
    tuned = opt_batch or max_batch
    if not 1 <= tuned <= max_batch:
        raise ExportError(f"the engine cannot be tuned for batches of {tuned} when it takes 1 to {max_batch}")
    with TemporaryDirectory() as scratch:
        plugged = _plugged(model) if plugin else None
        if plugged:
            model = plugged.model
        request = {
            "module": library.module,
            "model": str(Path(scratch) / "model.onnx"),
            "engine": str(Path(scratch) / ENGINE),
            "log": str(Path(scratch) / LOG),
            "layers": str(Path(scratch) / LAYERS),
            "result": str(Path(scratch) / "result.json"),
            "batches": (1, tuned, max_batch),
            "compute_capabilities": compute_capabilities,
            "timings": str(Path(scratch) / TIMINGS) if library.times else None,
            "plugin": plugged.request(Path(scratch)) if plugged else None,
        }
        if library.times:
            (Path(scratch) / TIMINGS).write_bytes(timings)
        (Path(scratch) / "model.onnx").write_bytes(with_own_inputs(model))
        result = _run(flavour, request)
        for name in (ENGINE, LOG, LAYERS, *([TIMINGS] if library.times else [])):
            write_whole(folder / name, (Path(scratch) / name).read_bytes())
    log = (folder / LOG).read_text(encoding="utf-8")
    layers = json.loads((folder / LAYERS).read_text(encoding="utf-8"))
    return Built(
        engine=folder / ENGINE,
        log=folder / LOG,
        layers=folder / LAYERS,
        timings=folder / TIMINGS if library.times else None,
        max_batch=max_batch,
        versions={library.module: result["version"]},
        facts={
            "flavour": flavour,
            "strongly_typed": True,
            "tf32": False,
            "batches": {"smallest": 1, "tuned_for": tuned, "largest": max_batch},
            **_hardware(library, compute_capabilities),
            "timing_cache": result["timings"],
            **({"plugin": plugged.facts} if plugged else {}),
            "onnx_parser": result["parser_version"],
            "attention": _attention(model, layers["layers"], result["decomposed_attention"]),
            "engine_bytes": (folder / ENGINE).stat().st_size,
            "engine_layers": len(layers["layers"]),
            "layers_from": layers["source"],
            "memory": {**_memory(log), "peak_of_build_process_bytes": result["peak_process_bytes"]},
            "seconds": result["seconds"],
        },
        warnings=tuple(dict.fromkeys(re.findall(r"^WARNING (.*)$", log, re.MULTILINE))),
    )


def _plugged(model: bytes) -> "Plugin":
    from disasym.export.tensorrt_plugin import with_plugin

    capability = find_gpu()
    assert not isinstance(capability, str), capability  # noqa: S101 - `require` refuses that
    return with_plugin(model, capability)


def _hardware(library: Library, named: tuple[str, ...]) -> dict[str, Any]:
    """What the engine runs on; where the library builds for the GPU that is here, which one that is."""
    if not library.needs_gpu:
        return {"compute_capabilities": list(named) or library.runs_on}
    gpu = gpu_facts()
    return {"compute_capabilities": [gpu["compute_capability"]], "built_on": gpu}


def _run(flavour: Flavour, request: dict[str, Any]) -> dict[str, Any]:
    """Start the builder in a process of its own and read its result."""
    file = Path(request["result"]).with_name("request.json")
    file.write_text(json.dumps(request), encoding="utf-8")
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    done = subprocess.run(  # noqa: S603  # our own module, by the interpreter that runs this one
        [sys.executable, "-P", "-m", "disasym.export.tensorrt_builder", str(file)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise ExportError(
            f"the builder of {flavour} ended with {_ending(done.returncode)}; its last words:"
            f" {_last_words(Path(request['log']), done.stderr)}. Nothing was exported: report it with the ONNX model,"
            " or name another target"
        )
    result: dict[str, Any] = json.loads(Path(request["result"]).read_bytes())
    if "refused" in result:
        raise ExportError(f"{flavour} cannot build this model: {result['refused']}; nothing was exported")
    return result


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _last_words(log: Path, errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    if log.is_file():
        lines += [line for line in log.read_text(encoding="utf-8").splitlines() if not line.startswith("VERBOSE")]
    return lines[-1] if lines else "none"


def with_own_inputs(model: bytes) -> bytes:
    """The same graph, in which no two Attention nodes read the same tensor.

    TensorRT-RTX 1.7.1 crashes on attention nodes that share an input (docs/log.md): from the second one on, each gets
    copies of the reshapes and transpositions that make it. They move no data.
    """
    graph = onnx.load_from_string(model)
    producers = {name: node for node in graph.graph.node for name in node.output}
    seen: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in graph.graph.node:
        if node.op_type == "Attention":
            for i, name in enumerate(node.input):
                if name in seen:
                    copies, node.input[i] = _copied(name, producers, node.name)
                    nodes += copies
                seen.add(name)
        nodes.append(node)
    kept = list(nodes)
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    return bytes(graph.SerializeToString(deterministic=True))


def _copied(name: str, producers: dict[str, onnx.NodeProto], reader: str) -> tuple[list[onnx.NodeProto], str]:
    """Copies of the chain of movements that makes a tensor, in order, and the name of what they make."""
    made_by = producers.get(name)
    if made_by is None or made_by.op_type not in ("Reshape", "Transpose"):
        return [], name
    before, source = _copied(made_by.input[0], producers, reader)
    copy = onnx.NodeProto()
    copy.CopyFrom(made_by)
    copy.name, copy.input[0], copy.output[0] = f"{made_by.name}/{reader}", source, f"{name}/{reader}"
    return [*before, copy], copy.output[0]


def _attention(model: bytes, layers: list[dict[str, Any]], decomposed: int) -> dict[str, int]:
    """How many attention nodes there were, how many became fused kernels, and how many were allowed to decompose."""
    nodes = [node.name for node in onnx.load_from_string(model).graph.node if node.op_type == "Attention"]
    fused = [layer for layer in layers if "mha" in f"{layer.get('Name')} {layer.get('TacticName')}".lower()]
    return {"nodes": len(nodes), "fused_kernels": len(fused), "may_decompose": decomposed}


def _memory(log: str) -> dict[str, int]:
    """The figures the builder gives, in bytes; activations are for the largest batch."""
    wanted = {"activations": r"Total Activation Memory: (\d+) bytes", "weights": r"Total Weights Memory: (\d+) bytes"}
    found = {name: re.findall(pattern, log) for name, pattern in wanted.items()}
    return {f"{name}_bytes": int(values[-1]) for name, values in found.items() if values}
