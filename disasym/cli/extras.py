"""What a command needs beyond the base install."""

from collections.abc import Iterator
from contextlib import contextmanager

from disasym.errors import MissingExtraError

EVALUATE = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}  # import → package
TRAIN = ("torch", "safetensors", "tensorboard", "onnx", "onnxscript")


@contextmanager
def requires_train(command: str) -> Iterator[None]:
    """Around imports: a package of the extra `train` that is absent becomes a MissingExtraError."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in TRAIN:
            raise
        raise MissingExtraError(command, package, "train") from None


@contextmanager
def requires_evaluate(command: str = "disasym evaluate") -> Iterator[None]:
    """Around imports: a package of the extra `evaluate` that is absent becomes a MissingExtraError."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EVALUATE:
            raise
        raise MissingExtraError(command, EVALUATE[package], "evaluate") from None
