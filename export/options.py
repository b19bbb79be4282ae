"""What an export can be asked for. Importable without torch, so that the command line can check it first."""

import importlib.util
from dataclasses import dataclass, field

from disasym.errors import InputError
from disasym.export.manifest import PRECISIONS
from disasym.export.tensorrt_library import LIBRARIES, require
from disasym.spec import OUTPUT_SETS, Array


@dataclass(frozen=True)
class Kind:
    """A target that can be built."""

    engine: str  # what runs it: a name in disasym.engines.ENGINES
    precisions: tuple[str, ...]
    from_onnx: bool  # built from the ONNX graph, not from the PyTorch model
    what: str  # one line of the help


HALF = ("fp16", "bf16")
TARGETS = {
    "onnx": Kind("onnxruntime", PRECISIONS, True, "model.onnx, for onnxruntime on CPUs and GPUs"),
    "tensorrt-rtx": Kind("tensorrt-rtx", ("fp32", *HALF), True, "an engine of TensorRT-RTX, built without a GPU"),
    "tensorrt": Kind("tensorrt", ("fp32", *HALF), True, "an engine of TensorRT for the GPU of this machine"),
    "aotinductor": Kind("aotinductor", ("fp32", *HALF), False, "model.pt2, compiled by PyTorch for this machine alone"),
    "triton-server": Kind(
        "onnxruntime",
        ("fp32", "fp16", "int8"),
        True,
        "a model repository for NVIDIA Triton Inference Server, with model.onnx",
    ),
    "triton-server-tensorrt": Kind(
        "tensorrt",
        ("fp32", *HALF),
        True,
        "a model repository for NVIDIA Triton Inference Server, with an engine of TensorRT for the GPU of this machine",
    ),
}
LIBRARY = LIBRARIES["tensorrt-rtx"].module
PLUGGED = "tensorrt"  # the target that may hold the attention kernel


@dataclass(frozen=True)
class ExportOptions:
    """What an export is told; checked when it is made.

    Raises:
        InputError: an unknown choice, or a target that cannot have this precision.
    """

    precision: str = "fp32"
    targets: tuple[str, ...] = ()  # (): `default_targets`
    outputs: str = "all"  # a key of disasym.spec.OUTPUT_SETS
    max_batch: int = 32  # of targets that must know
    half_weights: bool = False  # store the weights as float16, half the size
    parity_views: Array | None = field(default=None, repr=False)  # real pairs [n, 2, H, W]; None: synthetic ones
    calibration_views: Array | None = field(default=None, repr=False)  # for int8; None: parity_views
    plugin: bool = False  # attention by the Triton kernel in target `tensorrt`

    def __post_init__(self) -> None:
        check_choices(self.precision, self.targets, self.outputs)
        if self.max_batch < 1:
            raise InputError(f"max_batch must be at least 1, got {self.max_batch}")
        if self.precision == "int8" and self.calibrated_on is None:
            raise InputError(
                "int8 is calibrated on real pairs, and there are none: name some with --pairs, or install the sample"
                " films: pip install 'disasym[samples]'"
            )
        check_plugin(self.plugin, self.targets)
        if not self.targets:
            object.__setattr__(self, "targets", default_targets(self.precision))

    @property
    def calibrated_on(self) -> Array | None:
        """The pairs that int8 is calibrated on, if that is asked for."""
        return self.parity_views if self.calibration_views is None else self.calibration_views


def check_choices(precision: str, targets: tuple[str, ...], outputs: str) -> None:
    """Refuse what does not exist, and a target that cannot have this precision. InputError names the choices."""
    for name, value, choices in (
        ("precision", precision, PRECISIONS),
        ("outputs", outputs, tuple(OUTPUT_SETS)),
        *(("target", target, tuple(TARGETS)) for target in targets),
    ):
        if value not in choices:
            raise InputError(f"unknown {name} {value!r}: choose one of {' | '.join(choices)}")
    for target in targets:
        if precision not in TARGETS[target].precisions:
            able = ", ".join(TARGETS[target].precisions)
            raise InputError(f"target {target!r} cannot be {precision}, only {able}: name another target")


def check_plugin(plugin: bool, targets: tuple[str, ...]) -> None:
    """Refuse a plugin that no target would hold, with InputError.

    Only disasym's own engine runs it in batches of one size, which TensorRT needs then (ADR 0017): no server.
    """
    if plugin and PLUGGED not in targets:
        raise InputError(f"the plugin is for target {PLUGGED!r} alone: name it with --to {PLUGGED}")


def require_targets(targets: tuple[str, ...], plugin: bool = False) -> None:
    """Refuse, before anything is made, targets that this machine cannot build; see `tensorrt_library.require`."""
    for target in targets:
        if (engine := TARGETS[target].engine) in LIBRARIES:
            require(engine, target=target, plugin=plugin and target == PLUGGED)


def default_targets(precision: str) -> tuple[str, ...]:
    """What is built where nothing was named: what suits the precision and can be built on this machine.

    Half precision is for GPUs: beside the ONNX graph a TensorRT-RTX engine, if its package is installed.
    """
    if precision in HALF and importlib.util.find_spec(LIBRARY):
        return ("onnx", "tensorrt-rtx")
    return ("onnx",)
