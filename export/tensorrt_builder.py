"""Builds one engine, in a process of its own: `python -m disasym.export.tensorrt_builder REQUEST.json`.

TensorRT is native code that may end the process that calls it (docs/log.md): `to_tensorrt` starts this module, reads
what it wrote, and turns a crash into an error. Imports TensorRT and nothing else that is not in Python.

The log is written line by line, each with its severity first, so that a crash leaves all that came before it.
"""

import importlib
import json
import re
import sys
import time
from pathlib import Path
from typing import IO, Any


class RefusedError(Exception):
    """TensorRT would not build; the message says why, as far as TensorRT did."""


def main(request_file: Path) -> None:
    """Read the request, build, write the engine and `result`: facts, or {"refused": reason}."""
    request: dict[str, Any] = json.loads(request_file.read_bytes())
    trt = importlib.import_module(request["module"])
    with Path(request["log"]).open("w", encoding="utf-8") as log:
        try:
            result = _build(trt, request, _logger(trt, log))
        except RefusedError as error:
            result = {"refused": str(error)}
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")


def _build(trt: Any, request: dict[str, Any], logger: Any) -> dict[str, Any]:
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # pybind11: the C++ side returned nothing
        raise RefusedError(f"no builder could be made ({error}); {logger.last_error}") from None
    if request["plugin"]:
        _register(trt, request["plugin"])
    flags = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flags is None else 1 << int(flags))
    _parse(trt, network, logger, Path(request["model"]))
    decomposed = _let_float_attention_decompose(trt, network)
    config = _configure(trt, builder, network, request, logger)
    timings = _start_timings(config, request["timings"], logger)
    start = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RefusedError(logger.last_error or "the builder gave no reason")
    seconds = round(time.monotonic() - start, 2)
    Path(request["engine"]).write_bytes(plan)
    if request["timings"]:
        Path(request["timings"]).write_bytes(config.get_timing_cache().serialize())
    layers, source = _inspected(trt, logger, plan)
    Path(request["layers"]).write_text(json.dumps({"source": source, "layers": layers}), encoding="utf-8")
    return {
        "version": str(trt.__version__),
        "parser_version": str(trt.get_nv_onnx_parser_version()),
        "seconds": seconds,
        "network_layers": network.num_layers,
        "decomposed_attention": decomposed,
        "timings": timings,
        "peak_process_bytes": _peak_bytes(),
    }


def _register(trt: Any, plugin: dict[str, Any]) -> None:
    from disasym.export.tensorrt_plugin_register import register

    try:
        register(trt, plugin)
    except (ModuleNotFoundError, AttributeError) as error:
        raise RefusedError(
            f"{trt.__name__} {trt.__version__} has no plugins compiled ahead of time ({error})"
        ) from None


def _peak_bytes() -> int | None:
    """The most memory this process ever held; None where the system does not say.

    Not getrusage: its figure begins with that of the process which started this one.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) * 1024 if found else None


def _parse(trt: Any, network: Any, logger: Any, model: Path) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(model.read_bytes()):
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    told = [f"node {error.node_name()!r} ({error.node_operator()}): {error.desc()}" for error in errors]
    raise RefusedError("; ".join(told) or logger.last_error)


def _let_float_attention_decompose(trt: Any, network: Any) -> int:
    """Fused attention exists in half precision only: elsewhere it may become matrix products and a softmax."""
    count = 0
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer  # the binding returns the base class
            if layer.attention.get_input(0).dtype == trt.float32:
                layer.attention.decomposable = True
                count += 1
    return count


def _configure(trt: Any, builder: Any, network: Any, request: dict[str, Any], logger: Any) -> Any:
    config = builder.create_builder_config()
    config.clear_flag(
        trt.BuilderFlag.TF32
    )  # it would keep 10 bits of each product's mantissa in a model that says fp32
    config.set_flag(trt.BuilderFlag.MONITOR_MEMORY)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the layers keep the names of the ONNX nodes
    if targets := request["compute_capabilities"]:
        config.num_compute_capabilities = len(targets)
        for i, name in enumerate(targets):
            if name not in (known := trt.ComputeCapability.__members__):
                raise RefusedError(f"it knows no compute capability {name}, only {', '.join(known)}")
            if not config.set_compute_capability(known[name], i):
                raise RefusedError(f"compute capability {name} cannot be set here: {logger.last_error}")
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        sizes = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, *((batch, *sizes) for batch in request["batches"]))
    config.add_optimization_profile(profile)
    return config


def _start_timings(config: Any, file: str | None, logger: Any) -> str:
    """Give the builder a timing cache; returns what it starts from, in words."""
    if not file:
        return "none: this library times nothing"
    if given := Path(file).read_bytes():
        # False: of this GPU and this version, or not at all. Whatever is given, the engine is timed or refused here.
        if config.set_timing_cache(config.create_timing_cache(given), False):
            return "that of the export before"
        logger.note("The timing cache of the export before is of another GPU or version: it is not used.")
    if not config.set_timing_cache(config.create_timing_cache(b""), False):
        raise RefusedError(f"no timing cache can be made: {logger.last_error}")
    return "empty"


def _inspected(trt: Any, logger: Any, plan: Any) -> tuple[list[Any], str]:
    """The engine inspector's layers; without a GPU no engine can be loaded, and the same list is read from the log."""
    logger.note("The engine is built. Errors below are those of loading it for its inspector, which needs a GPU.")
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        return [_layer(line) for line in logger.layers], "build log"
    told = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return json.loads(told)["Layers"], "engine inspector"


def _layer(line: str) -> dict[str, Any]:
    """A line "Name: …, LayerType: …, Inputs: […], …, TacticName: …, …, Metadata: …" with the inspector's names."""
    name, rest = line.removeprefix("Name: ").split(", LayerType: ", 1)
    kind, rest = rest.split(", ", 1)
    body, _, tail = rest.rpartition(", TacticName: ")
    tactic, _, metadata = tail.partition(", ")
    inputs, _, outputs = body.partition(", Outputs: ")
    return {
        "Name": name,
        "LayerType": kind,
        "InputTypes": _types(inputs.partition(", Constants: ")[0]),
        "OutputTypes": _types(outputs),
        "TacticName": tactic,
        "Metadata": metadata.partition("Metadata: ")[2],
    }


def _types(text: str) -> list[str]:
    return [part.split(",", 1)[0] for part in text.split("Datatype: ")[1:]]


def _logger(trt: Any, file: IO[str]) -> Any:
    """A TensorRT logger that writes every message, and keeps the last error and the engine's layers."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last_error = ""
            self.layers: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self._write(f"{severity.name} {message}")
            if severity.name in ("ERROR", "INTERNAL_ERROR"):
                self.last_error = message
            if message.startswith("Layers:"):
                self.layers = [line for line in message.splitlines() if ", LayerType: " in line]

        def note(self, message: str) -> None:
            """A line of our own."""
            self._write(f"NOTE {message}")

        def _write(self, line: str) -> None:
            file.write(f"{line}\n")
            file.flush()

    return Logger()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
