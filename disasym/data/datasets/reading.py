"""What every reader shares: rows, problems, and which paths may be used."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from disasym.data.rows import ImageRow, Lesion
from disasym.errors import InputError
from disasym.spec import Laterality, View

Kind = Literal[
    "missing file",
    "refused path",
    "unusable row",
    "duplicate row",
    "conflicting label",
    "unreadable annotation",
    "unreadable image",
    "one-sided exam",
    "several images",
    "no label",
]

SIDES: Mapping[str, Laterality] = {"L": "L", "LEFT": "L", "R": "R", "RIGHT": "R"}
VIEWS: Mapping[str, View] = {"CC": "CC", "MLO": "MLO"}
PATHOLOGIES = ("Normal", "Benign", "Malignant")  # from the mildest


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `where` is a file or a row of a table, never a person."""

    kind: Kind
    where: str
    reason: str


@dataclass
class Reading:
    """What a reader found. `rows` have an empty pair_id and, where there is one, the official part as `split`."""

    rows: list[ImageRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def note(self, kind: Kind, where: object, reason: str) -> None:
        self.problems.append(Problem(kind, str(where), reason))


class RefusedError(Exception):
    """A path or a cell that is not used: its kind of problem, and the reason."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind: Kind = kind


def inside(root: Path, written: str) -> Path:
    """The existing file that a table names, below `root` however its links lead.

    Raises:
        RefusedError: absolute, with `..`, through a link out of `root`, or not there.
    """
    text = written.strip().strip('"').replace("\\", "/")
    relative = Path(text)
    if not text or "\0" in text:
        raise RefusedError("unusable row", "names no file")
    if relative.is_absolute() or re.match(r"[A-Za-z]:", text):
        raise RefusedError("refused path", "an absolute path: only files below ROOT are read")
    if ".." in relative.parts:
        raise RefusedError("refused path", "`..` in the path: only files below ROOT are read")
    try:
        found = (root / relative).is_file()
        stays = (root / relative).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # a name that is too long, a loop of links
        raise RefusedError("refused path", f"cannot be looked up ({type(error).__name__})") from None
    if not stays:
        raise RefusedError("refused path", "a link leads out of ROOT: copy the file, or make ROOT the link")
    if not found:
        raise RefusedError("missing file", "named by the table, not there")
    return root / relative


def files_below(root: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Files with one of `suffixes` (lower case), sorted; folders that are links are not entered."""
    wanted = tuple(suffixes)
    for folder, names, files in os.walk(root, followlinks=False):
        names.sort()
        yield from (Path(folder) / name for name in sorted(files) if name.lower().endswith(wanted))


def find_table(root: Path, *names: str) -> Path:
    """The first of `names` in `root` or in one folder below it. InputError where none is there."""
    for name in names:
        for path in (root / name, *sorted(root.glob(f"*/{name}"))):
            if path.is_file() and path.resolve().is_relative_to(root.resolve()):
                return path
    raise InputError(f"{root} holds no {' or '.join(names)}: name the folder of the data set (docs/datasets.md)")


def only_row(
    reading: Reading, listed: Sequence[tuple[str, Mapping[str, str]]], what: str = "image"
) -> Mapping[str, str]:
    """The one row that a table has of an image or breast; repeats are listed. `listed`: where each stands, its cells.

    Raises:
        RefusedError: two rows disagree.
    """
    if any(cells != listed[0][1] for _, cells in listed):
        rows = ", ".join(where for where, _ in listed)
        raise RefusedError("conflicting label", f"{rows} disagree about one {what}: it is not used")
    for where, _ in listed[1:]:
        reading.note("duplicate row", where, f"repeats {listed[0][0]}")
    return listed[0][1]


def laterality(text: str) -> Laterality:
    """'L', 'left', 'LEFT' → L. RefusedError for anything else."""
    side = SIDES.get(text.strip().upper())
    if side is None:
        raise RefusedError("unusable row", f"laterality is {text[:20]!r}, expected L, R, LEFT or RIGHT")
    return side


def view(text: str) -> View:
    """'CC' or 'MLO' in any case. RefusedError for anything else."""
    found = VIEWS.get(text.strip().upper())
    if found is None:
        raise RefusedError("unusable row", f"view is {text[:20]!r}; only CC and MLO are compared")
    return found


def normal_is_one(birads: str) -> bool | None:
    """The paper's rule: BI-RADS 1 is normal, 2 to 6 abnormal; 0 (incomplete) and nothing: no label."""
    digits = [int(digit) for digit in re.findall(r"[0-6]", birads)]
    if not digits or max(digits) == 0:
        return None
    return max(digits) > 1


def worst(pathologies: Iterable[str]) -> str:
    """The most serious of Normal, Benign, Malignant; "" of none."""
    known = [PATHOLOGIES.index(p) for p in pathologies if p in PATHOLOGIES]
    return PATHOLOGIES[max(known)] if known else ""


def make_row(
    dataset: str,
    patient: str,
    study: str,
    side: Laterality,
    projection: View,
    path: Path,
    abnormal: bool | None,
    *,
    birads: str = "",
    finding: str = "",
    pathology: str = "",
    density: str = "",
    lesions: tuple[Lesion, ...] = (),
    split: str | None = None,
    pixel_aspect: float = 1.0,
) -> ImageRow:
    """A row that is not paired yet."""
    return ImageRow(
        dataset,
        "",
        patient,
        projection,
        side,
        path,
        abnormal,
        finding,
        pathology,
        lesions,
        split,
        pixel_aspect,
        study,
        birads,
        density,
    )
