"""Weights → an export: a folder that any engine opens and that says, measured, how close to the model it is.

See README.md in this folder for what an export holds. Importing this package imports neither torch nor onnx.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from disasym.errors import MissingExtraError

if TYPE_CHECKING:
    from disasym.export.manifest import Manifest
    from disasym.spec import Array


def export(weights: Path, out: Path, *, parity_views: "Array | None" = None, half_weights: bool = False) -> "Manifest":
    """Turn a weights file into an export folder; the folder appears whole, verified, or not at all.

    Args:
        weights: .safetensors file written by `disasym train`; a README.md beside it becomes the export's model card.
        out: the folder to make. One that is empty, or holds an export and nothing else, is replaced; any other is
            refused.
        parity_views: real pairs, float32 [n, 2, H, W], that the exported model must agree on with eager PyTorch;
            None means synthetic pairs, and the manifest says so.
        half_weights: store the weights as float16, half the size. Everything in the export then computes, in
            float32, with exactly these rounded values, and is compared with them.

    Raises:
        CheckpointError: the weights cannot be read.
        ExportError: `out` is taken, or the exported model disagrees with the eager one.
        InputError: parity_views does not fit the model.
        MissingExtraError: torch or onnx is not installed.
    """
    try:
        from disasym.export import folder
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("torch", "safetensors", "onnx", "onnxscript"):
            raise
        raise MissingExtraError("disasym export", package, "train") from None
    return folder.export(weights, out, parity_views, half_weights)
