"""Where `disasym export` and `disasym verify` take a model and real pairs from when none are named."""

from pathlib import Path
from typing import TYPE_CHECKING

from disasym.errors import MissingExtraError

if TYPE_CHECKING:
    from disasym.spec import Array


def weights_of(named: Path | None) -> Path:
    """The weights file that was named, or that of the export that was; None: the default of `disasym infer`.

    Raises:
        EngineError: the export is none, or its weights are damaged.
    """
    from disasym.infer import default_model

    model = named or default_model()
    if not model.is_dir():
        return model
    from disasym.export.manifest import WEIGHTS, checked_file, read_manifest

    return checked_file(model, read_manifest(model), WEIGHTS)


def real_pairs(named: Path | None, height: int, width: int, most: int = 8) -> "Array | None":
    """Up to `most` pairs of the folder or manifest that was named, else the sample films; None if those are absent.

    Raises:
        InputError: no pair in the source can be read.
    """
    from disasym.cli.demo import films
    from disasym.infer.stages import load_views

    try:
        return load_views(named or films(), height, width, most)
    except MissingExtraError:
        return None
