"""What an export can be asked for. Importable without torch, so that the command line can check it first."""

from dataclasses import dataclass, field, replace

from disasym.errors import InputError
from disasym.export.manifest import PRECISIONS
from disasym.spec import OUTPUT_SETS, Array


@dataclass(frozen=True)
class Kind:
    """A target that can be built."""

    engine: str  # what runs it: a name in disasym.engines.ENGINES
    precisions: tuple[str, ...]
    from_onnx: bool  # built from the ONNX graph, not from the PyTorch model
    what: str  # one line of the help


TARGETS = {
    "onnx": Kind("onnxruntime", ("fp32",), True, "model.onnx, for onnxruntime on CPUs and GPUs"),
    "aotinductor": Kind("aotinductor", ("fp32",), False, "model.pt2, compiled by PyTorch for this machine alone"),
    "triton-server": Kind(
        "onnxruntime", ("fp32",), True, "a model repository for NVIDIA Triton Inference Server, with model.onnx"
    ),
}


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

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("precision", self.precision, PRECISIONS),
            ("outputs", self.outputs, tuple(OUTPUT_SETS)),
            *(("target", target, tuple(TARGETS)) for target in self.targets),
        ):
            if value not in choices:
                raise InputError(f"unknown {name} {value!r}: choose one of {' | '.join(choices)}")
        if self.max_batch < 1:
            raise InputError(f"max_batch must be at least 1, got {self.max_batch}")
        for target in self.targets:
            if self.precision not in TARGETS[target].precisions:
                able = ", ".join(TARGETS[target].precisions)
                raise InputError(f"target {target!r} cannot be {self.precision}, only {able}: name another target")
        if not self.targets:
            object.__setattr__(self, "targets", default_targets(self.precision))

    def on(self, views: Array | None) -> "ExportOptions":
        """The same, compared on these real pairs."""
        return replace(self, parity_views=views)


def default_targets(precision: str) -> tuple[str, ...]:
    """What is built where nothing was named: what suits the precision and can be built on this machine."""
    return tuple(name for name in ("onnx",) if precision in TARGETS[name].precisions)
