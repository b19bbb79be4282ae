"""The eager engine: plain PyTorch in float32, the reference that every other engine is measured against."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from disasym.engines.base import Engine, EngineInfo
from disasym.engines.torch_copies import is_out_of_memory, to_device, to_host
from disasym.errors import EngineError, MissingExtraError
from disasym.files import sha256_of
from disasym.spec import OUTPUTS, Array

if TYPE_CHECKING:
    from disasym.model import AsyD, DisAsymNet


class EagerEngine(Engine):
    """Runs a .safetensors file with `disasym.model`."""

    name = "eager"

    def __init__(self, weights: Path, info: EngineInfo, threads: int | None = None) -> None:
        """Load the weights.

        Raises:
            MissingExtraError: torch is not installed.
            CheckpointError: the weights cannot be read.
            EngineError: they belong to another configuration than `info`, or there is no CUDA device.
        """
        super().__init__(info)
        self._threads = threads
        self._model: DisAsymNet | None = _loaded(weights, info)

    def _infer(self, views: Array) -> dict[str, Array]:
        import torch

        assert self._model is not None  # noqa: S101 - run() refuses a closed engine
        try:
            with torch.inference_mode(), settings(self._threads):
                outputs = self._model(to_device(views, self.info.device))
                return to_host({name: getattr(outputs, name) for name in self.info.outputs})
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise MemoryError(f"a batch of {len(views)} pairs does not fit into memory: {error}") from None
            raise EngineError(f"PyTorch failed on a batch of {len(views)} pairs: {error}") from None

    def _release(self) -> None:
        self._model = None


def describe(weights: Path, device: str) -> EngineInfo:
    """What a weights file holds; its preset is the one with that configuration, else "custom"."""
    _require_torch()
    from disasym.checkpoint import read_config, temperatures_of
    from disasym.model import PRESETS

    config = read_config(weights)
    return EngineInfo(
        preset=next((name for name, preset in PRESETS.items() if preset == config), "custom"),
        height=config.height,
        width=config.width,
        precision="fp32",
        model_sha256=sha256_of(weights),
        device=device,
        max_batch=None,
        outputs=OUTPUTS if config.decoder else OUTPUTS[:3],
        calibrated=temperatures_of(weights) is not None,
    )


def _loaded(weights: Path, info: EngineInfo) -> "DisAsymNet":
    _require_torch()
    import torch

    from disasym.checkpoint import load_model

    if info.device == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            f"device 'cuda' was asked for, but PyTorch {torch.__version__} sees no usable GPU: install a CUDA build"
            " of torch and its driver, or ask for device 'cpu'"
        )
    model = load_model(weights, info.device)
    if (model.config.height, model.config.width) != (info.height, info.width):
        raise EngineError(
            f"{weights} is for {model.config.height}×{model.config.width} pixels, its manifest says"
            f" {info.height}×{info.width}: export the model again"
        )
    if (model.temperatures is not None) != info.calibrated:
        said = "temperatures" if info.calibrated else "no temperatures"
        raise EngineError(f"the manifest beside {weights} says {said}, and the weights differ: export the model again")
    if not {"normal", "abnormality"} & set(info.outputs):
        model.asyd = _no_decoder()
    for weight in model.parameters():
        if weight.ndim == 4:  # of a convolution: up to twice as fast in this layout
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return model


def _no_decoder() -> "AsyD":
    """Stands in for AsyD where nobody asks for its images: the time goes into the scores alone, as in an export."""
    from torch import Tensor, nn

    class NoDecoder(nn.Module):
        def forward(self, views: Tensor, _: object) -> tuple[Tensor, Tensor]:
            return views, views

    return cast("AsyD", NoDecoder())


def _require_torch() -> None:
    try:
        import torch  # noqa: F401 - only whether it is there

        import disasym.checkpoint  # noqa: F401 - and safetensors with it
    except ModuleNotFoundError as error:
        raise MissingExtraError("the eager engine", error.name or "torch", "train") from None


@contextmanager
def settings(threads: int | None) -> Iterator[None]:
    """The thread count and true float32 convolutions on CUDA: both are global in PyTorch, so they are put back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)
