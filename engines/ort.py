"""The onnxruntime engine: model.onnx on CPU or CUDA. Imports neither torch nor onnx."""

from pathlib import Path
from typing import Any

import onnxruntime

from disasym.engines.base import Engine, EngineInfo, usable_cores
from disasym.errors import EngineError, MissingExtraError
from disasym.processor import here, lacks_vnni
from disasym.spec import Array, output_shapes

PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    # TF32 would quietly keep 10 bits of each product's mantissa in a model that says fp32.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
}
ERRORS_ONLY = 3  # onnxruntime's log severity: below it are warnings about the optimiser's choices


class OrtEngine(Engine):
    """Runs `model.onnx`; the graph is optimised once, when it is opened."""

    name = "onnxruntime"

    def __init__(self, file: Path, info: EngineInfo, threads: int | None = None, shared: bool = False) -> None:
        """Open a file whose hash was checked. `shared`: see `engines.load`.

        Raises:
            MissingExtraError: device "cuda" with an onnxruntime that was built without it.
            EngineError: onnxruntime refuses the file or the device, or the graph is not the model `info` describes.
        """
        super().__init__(info)
        if info.precision == "bf16" and info.device == "cpu":
            raise EngineError(
                f"{file} computes in bf16, for which onnxruntime has no kernels on CPUs: ask for device 'cuda', or"
                " export it with another precision"
            )
        self._session: Any = _session(file, info.device, threads or usable_cores(), shared)
        _check_graph(file, self._session, info)

    def _infer(self, views: Array) -> dict[str, Array]:
        try:
            found = self._bound(views) if self.info.device == "cuda" else self._session.run(None, {"views": views})
            return {node.name: value for node, value in zip(self._session.get_outputs(), found, strict=True)}
        except Exception as error:  # its exceptions share no base class
            if _is_out_of_memory(error):
                raise MemoryError(f"a batch of {len(views)} pairs does not fit into memory: {error}") from None
            raise EngineError(f"onnxruntime failed on a batch of {len(views)} pairs: {error}") from None

    def _bound(self, views: Array) -> list[Array]:
        """One run with inputs and outputs bound to the device: one copy there, one back, none in between."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("views", onnxruntime.OrtValue.ortvalue_from_numpy(views, self.info.device, 0))
        for node in self._session.get_outputs():
            binding.bind_output(node.name, self.info.device)
        self._session.run_with_iobinding(binding)
        found: list[Array] = binding.copy_outputs_to_cpu()
        return found

    def _release(self) -> None:
        self._session = None


def cuda_problem() -> str:
    """Why this onnxruntime cannot use CUDA, "" if it might: whether the driver suits shows when a model is opened."""
    provider = PROVIDERS["cuda"][0]
    return "" if provider in onnxruntime.get_available_providers() else "no GPU that this onnxruntime can use"


def session_options(threads: int, shared: bool = False) -> Any:
    """How each session is opened, here and wherever an export measures: repeatable, and exact in int8."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graph is a chain
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if shared else "1")
    if lacks_vnni(here()):  # int8 weights become uint8, whose kernels add in 32 bits; it would cost others a third
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _session(file: Path, device: str, threads: int, shared: bool) -> Any:
    provider = PROVIDERS[device]
    if provider[0] not in onnxruntime.get_available_providers():
        swap = "pip uninstall onnxruntime, then pip install onnxruntime-gpu, for both are one module"
        raise MissingExtraError(f"device {device!r} with the onnxruntime engine", "onnxruntime-gpu", "", swap)
    try:
        session = onnxruntime.InferenceSession(file, session_options(threads, shared), providers=[provider])
    except Exception as error:  # its exceptions share no base class
        raise EngineError(
            f"onnxruntime {onnxruntime.__version__} cannot open {file}: {error}; it must be 1.23 or newer"
        ) from None
    if session.get_providers()[0] != provider[0]:  # onnxruntime itself falls back to the CPU without an error
        raise EngineError(
            f"device {device!r} was asked for, but onnxruntime took {session.get_providers()[0]}: the driver or CUDA"
            " libraries do not suit this onnxruntime-gpu; mend that, or ask for device 'cpu'"
        )
    return session


def _check_graph(file: Path, session: Any, info: EngineInfo) -> None:
    """The graph's inputs and outputs are those of `disasym.spec` at the manifest's size, the batch dynamic."""
    shapes = {"views": (1, 2, info.height, info.width), **output_shapes(1, info.height, info.width, info.outputs)}
    found = {node.name: (node.type, node.shape[1:]) for node in (*session.get_inputs(), *session.get_outputs())}
    wanted = {name: ("tensor(float)", list(shape[1:])) for name, shape in shapes.items()}
    if found != wanted:
        raise EngineError(f"{file} is not the model its manifest describes: it has {found}, wanted {wanted}")
    made_from = session.get_modelmeta().custom_metadata_map.get("weights_sha256", info.model_sha256)
    if made_from != info.model_sha256:
        raise EngineError(
            f"{file} was made from other weights ({made_from}) than its manifest says ({info.model_sha256}): export the"
            " model again"
        )


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return any(sign in text for sign in ("bad_alloc", "bad allocation", "out of memory", "failed to allocate memory"))
