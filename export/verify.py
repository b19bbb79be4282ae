"""Runs the parity gate on an export: each target that can run on this machine, against eager PyTorch in float32."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from disasym.engines import obstacle, open_export, open_target
from disasym.errors import EngineError
from disasym.export import parity
from disasym.export.manifest import Manifest, Parity, checked_file, read_manifest, write_manifest
from disasym.spec import Array, check_views

Compare = Callable[..., Parity]


@dataclass(frozen=True)
class Verified:
    """What became of one target."""

    target: str
    verdict: Literal["agrees", "differs", "failed", "not run"]
    parity: Parity | str  # measured, or in words why not

    @property
    def bad(self) -> bool:
        return self.verdict in ("differs", "failed")


def verify(folder: Path, views: Array | None = None) -> list[Verified]:
    """Compare each target that can run here with the weights beside it, and write what was found into the manifest.

    A target that cannot run here, or fails, keeps what the manifest says of it; one whose files are damaged fails
    wherever it is. `disasym.engines.load` refuses a target that was found to differ.

    Args:
        views: real pairs, float32 [n, 2, H, W]; None means synthetic pairs.

    Raises:
        EngineError: no manifest, or the weights are damaged, so that there is nothing to compare with.
        InputError: `views` does not fit the model.
    """
    manifest = read_manifest(folder)
    if views is not None:
        check_views(views, manifest.height, manifest.width)
    open_export(folder, manifest, "eager", "cpu").close()
    found = [_one(folder, manifest, name, views) for name in manifest.targets]
    measured = {each.target: each.parity for each in found if isinstance(each.parity, Parity)}
    if measured:
        write_manifest(folder, with_parity(manifest, measured))
    return found


def with_parity(manifest: Manifest, found: "dict[str, Parity] | dict[str, Parity | str]") -> Manifest:
    """The manifest with these measurements in the place of those before."""
    targets = {
        name: dataclasses.replace(target, parity=found.get(name, target.parity))
        for name, target in manifest.targets.items()
    }
    return dataclasses.replace(manifest, targets=targets)


def _one(folder: Path, manifest: Manifest, name: str, views: Array | None) -> Verified:
    try:
        for file in manifest.targets[name].files:  # also of a target that cannot run here
            checked_file(folder, manifest, file)
        found = run(folder, manifest, name, views, parity.compare)
    except (EngineError, MemoryError) as error:
        return Verified(name, "failed", str(error))
    if isinstance(found, str):
        return Verified(name, "not run", found)
    return Verified(name, "differs" if found.beyond() else "agrees", found)


def run(folder: Path, manifest: Manifest, name: str, views: Array | None, compare: Compare) -> Parity | str:
    """One target against the reference by `compare`; or in words why it was not run."""
    target = manifest.targets[name]
    device, problem = obstacle(target)
    if problem:
        return f"not run ({problem})"
    with (
        open_export(folder, manifest, "eager", "cpu") as reference,
        open_target(folder, manifest, target, device, unverified=True) as exported,
    ):
        return compare(reference, exported, views)
