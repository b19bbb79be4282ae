"""Tumours of each data set for the others, where nobody named a bank: the rule of weak supervision."""

from collections.abc import Sequence
from pathlib import Path

from disasym.data.manifest import read_manifest
from disasym.data.tumours import build_bank
from disasym.errors import InputError


def banks_of_each(manifests: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """A bank of every manifest that has annotated lesions, made once in `folder`.

    Raises:
        InputError: none of them has any.
    """
    found = []
    for manifest in manifests:
        path = folder / f"{manifest.parent.name}-{manifest.stem}.npz"
        if not path.is_file():
            pairs = read_manifest(manifest).pairs
            if not any(row.lesions for pair in pairs for row in (pair.right, pair.left)):
                continue
            build_bank(pairs).bank.save(path)
        found.append(path)
    if not found:
        raise InputError("no manifest has annotated lesions to take tumours from: give --tumours, or --no-synthesis")
    return tuple(found)
