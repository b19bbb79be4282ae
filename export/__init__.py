"""Weights → an export: a folder that any engine opens and that says, measured, how close to the model it is.

See README.md in this folder for what an export holds. Importing this package imports neither torch nor onnx.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from disasym.errors import MissingExtraError
from disasym.export.options import ExportOptions

if TYPE_CHECKING:
    from disasym.export.manifest import Manifest

__all__ = ["ExportOptions", "export"]


def export(weights: Path, out: Path, options: ExportOptions | None = None) -> "Manifest":
    """Turn a weights file into an export folder; the folder appears whole, verified, or not at all.

    Args:
        weights: .safetensors file written by `disasym train`; a README.md beside it becomes the export's model card.
        out: the folder to make. One that is empty, or holds an export and nothing else, is replaced; any other is
            refused.
        options: precision, targets, outputs, and the pairs that each target that can run here must agree on with
            eager PyTorch. With `half_weights`, everything computes with exactly the rounded values.

    Raises:
        CheckpointError: the weights cannot be read.
        ExportError: `out` is taken, or an exported model disagrees with the eager one.
        InputError: the pairs do not fit the model.
        MissingExtraError: torch, onnx or what a target is built with is not installed.
    """
    try:
        from disasym.export import folder
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("torch", "safetensors", "onnx", "onnxscript"):
            raise
        raise MissingExtraError("disasym export", package, "train") from None
    return folder.export(weights, out, options or ExportOptions())
