"""CMMD: the table of clinical data and the DICOM files of The Cancer Imaging Archive, a folder a woman.

Source: Cui et al. 2021, https://doi.org/10.7937/tcia.eqde-4b16
Abnormal: a breast in the table; each was biopsied, benign or malignant. The other breast has images but no label: it
stays empty, and its pairs are left out unless asked for. There is no BI-RADS.

Quirks: the table has no file names; side and view stand in the DICOM headers only. It is published as
CMMD_clinicaldata_revision.xlsx: save it as CSV (any of the names below).
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from disasym.data.datasets.reading import (
    Reading,
    RefusedError,
    files_below,
    find_table,
    inside,
    laterality,
    make_row,
    only_row,
)
from disasym.data.tables import read_table
from disasym.errors import ImageError
from disasym.spec import Laterality

Breast = tuple[str, Laterality]  # woman, side
TABLES = ("CMMD_clinicaldata_revision.csv", "cmmd_raw_label.csv")


def read(root: Path) -> Reading:
    """DICOM files below folders D1-0001 … → rows, labelled by the table."""
    table, reading = find_table(root, *TABLES), Reading()
    labels, women = _labels(reading, table)
    found: set[Breast] = set()
    for path in files_below(root, [".dcm"]):
        woman = next((part for part in path.relative_to(root).parts if part in women), None)
        where = path.relative_to(root).as_posix()
        if woman is None:
            reading.note("unusable row", where, "its folder is no woman of the table")
        else:
            _image(reading, root, where, woman, labels, found)
    for woman, side in sorted(labels.keys() - found):
        reading.note("missing file", f"{woman} {side}", "in the table, no usable image of this breast")
    return reading


def _labels(reading: Reading, table: Path) -> tuple[dict[Breast, Mapping[str, str] | None], set[str]]:
    """What the table says of each breast, None where two rows disagree; and every woman in it."""
    listed = defaultdict[Breast, list[tuple[str, dict[str, str]]]](list)
    for line, cells in enumerate(read_table(table).rows, 2):
        where, woman = f"{table.name}:{line}", cells.get("ID1", "")
        try:
            if not woman:
                raise RefusedError("unusable row", "names no woman in ID1")
            listed[woman, laterality(cells.get("LeftRight", ""))].append((where, cells))
        except RefusedError as refused:
            reading.note(refused.kind, where, str(refused))
    labels: dict[Breast, Mapping[str, str] | None] = {}
    for breast, rows in listed.items():
        try:
            labels[breast] = only_row(reading, rows, "breast")
        except RefusedError as refused:
            reading.note(refused.kind, rows[0][0], str(refused))
            labels[breast] = None
    return labels, {woman for woman, _ in labels}


def _image(
    reading: Reading,
    root: Path,
    where: str,
    woman: str,
    labels: Mapping[Breast, Mapping[str, str] | None],
    found: set[Breast],
) -> None:
    from disasym.dicom import Skip, read_header

    try:
        header = read_header(inside(root, where))
    except RefusedError as refused:
        reading.note(refused.kind, where, str(refused))
        return
    except (Skip, ImageError) as error:
        reading.note("unreadable image", where, str(error))
        return
    breast = (woman, header.laterality)
    found.add(breast)
    if breast in labels and labels[breast] is None:
        reading.note("conflicting label", where, "the table contradicts itself about this breast: it is not used")
        return
    cells = labels.get(breast)
    if cells is None:
        reading.note("no label", where, f"the {header.laterality} breast is not in the table")
    reading.rows.append(
        make_row(
            "cmmd",
            woman,
            woman,
            header.laterality,
            header.view,
            root / where,
            None if cells is None else True,
            finding=cells.get("abnormality", "") if cells else "",
            pathology=cells.get("classification", "") if cells else "",
            pixel_aspect=header.pixel_aspect,
        )
    )
