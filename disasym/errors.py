"""What disasym raises on purpose.

Each message says what happened, where, both values where two disagree, and the next step.
The command line prints the message alone; a traceback means a bug.
"""


class DisasymError(Exception):
    """Base of every error that a user can cause and mend."""


class InputError(DisasymError):
    """An argument, array or file breaks its contract."""


class ImageError(DisasymError):
    """One image file cannot be used: undecodable, out of bounds, no breast in it. Never stops a batch."""


class ManifestError(DisasymError):
    """A manifest table lacks a column, or a row contradicts itself."""


class CheckpointError(DisasymError):
    """Weights or a training state cannot be read, or belong to another configuration."""


class ExportError(DisasymError):
    """An export failed, or its parity with the eager model is out of tolerance."""


class EngineError(DisasymError):
    """An engine cannot be loaded or run: damaged or foreign files, or an unsuitable device."""


class MissingExtraError(DisasymError):
    """A feature needs a package that is not installed."""

    def __init__(self, feature: str, package: str, extra: str, remedy: str = "") -> None:
        """`remedy`: what to do where installing the extra is not all of it."""
        todo = remedy or f"pip install 'disasym[{extra}]'"
        super().__init__(f"{feature} needs the package {package!r}: {todo}")
