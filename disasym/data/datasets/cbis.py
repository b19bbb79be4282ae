"""CBIS-DDSM: four `…_case_description_…_set.csv` and the DICOM files of The Cancer Imaging Archive.

Source: Lee et al. 2017, https://doi.org/10.1038/sdata.2017.177; https://doi.org/10.7937/K9/TCIA.2016.7O02S9CY
Abnormal: every film listed (each has an annotated mass or calcification); films without one are not part of the set,
so most exams are one-sided and only women with findings in both breasts give pairs. `birads` is the highest assessment.

Quirks: one row an abnormality, several a film; a film with masses and calcifications exists twice, of which the first
in the order of the tables is used with the masks of both. Paths hold UIDs and some end in a newline. The download
tool renames files to 1-1.dcm, so a film that is not at its path is the one DICOM file below the first folder of it.
The columns of crop and mask are swapped in many rows: the mask is the one with the size of the film. The published
parts, train and test, are not used: women are shared out as in the paper.
"""

from collections import defaultdict
from pathlib import Path

from disasym.data.datasets.reading import (
    Reading,
    RefusedError,
    files_below,
    find_table,
    inside,
    laterality,
    make_row,
    view,
    worst,
)
from disasym.data.rows import Lesion
from disasym.data.tables import read_table
from disasym.spec import Laterality, View

TABLES = [f"{kind}_case_description_{part}_set.csv" for part in ("train", "test") for kind in ("calc", "mass")]
Film = tuple[str, Laterality, View]
Listed = list[tuple[str, dict[str, str]]]  # where, cells


def read(root: Path) -> Reading:
    """Rows of the four tables, one an abnormality → one row a film."""
    reading, films = Reading(), defaultdict[Film, Listed](list)
    folder = find_table(root, *TABLES).parent
    for name in TABLES:
        if not (folder / name).is_file():
            reading.note("missing file", name, "its films are left out")
            continue
        _listed(reading, films, folder / name)
    for film, rows in films.items():
        _film(reading, root, folder, film, rows)
    return reading


def _listed(reading: Reading, films: dict[Film, Listed], table: Path) -> None:
    seen = set[tuple[str, ...]]()
    for number, cells in enumerate(read_table(table).rows, 1):
        where = f"{table.name}, row {number}"
        try:
            sides = laterality(cells.get("left or right breast", "")), view(cells.get("image view", ""))
            written = cells.get("image file path", "")
            if not cells.get("patient_id") or not written:
                raise RefusedError("unusable row", "no patient_id or no image file path")
            named = f"_{cells['left or right breast']}_{cells['image view']}"
            if named not in written.replace("\\", "/").split("/")[0]:
                raise RefusedError("conflicting label", f"the columns say {named[1:]}, the path another side or view")
        except RefusedError as refused:
            reading.note(refused.kind, where, str(refused))
            continue
        if (content := tuple(cells.values())) in seen:
            reading.note("duplicate row", where, "repeats an earlier row")
            continue
        seen.add(content)
        films[cells["patient_id"], *sides].append((where, cells))


def _film(reading: Reading, root: Path, folder: Path, film: Film, rows: Listed) -> None:
    base = folder.relative_to(root).as_posix()
    paths = list(dict.fromkeys(cells["image file path"] for _, cells in rows))
    found: Path | None = None
    for path in paths:
        where = next(where for where, cells in rows if cells["image file path"] == path)
        try:
            candidate = _find(root, base, path)
        except RefusedError as refused:
            reading.note(refused.kind, where, str(refused))
            continue
        if found is not None:
            reading.note("duplicate row", where, "another copy of a film that is used; its masks are kept")
        found = found or candidate
    if found is None:
        return
    values = [cells for _, cells in rows]
    masks = [_mask(reading, root, base, where, cells, found) for where, cells in rows]
    reading.rows.append(
        make_row(
            "cbis-ddsm",
            film[0],
            film[0],
            film[1],
            film[2],
            found,
            True,
            birads=max(cells.get("assessment", "") for cells in values),
            finding=";".join(dict.fromkeys(cells.get("abnormality type", "") for cells in values)),
            pathology=worst(cells.get("pathology", "").split("_")[0].capitalize() for cells in values),
            density=values[0].get("breast_density") or values[0].get("breast density", ""),
            lesions=tuple(mask for mask in masks if mask),
        )
    )


def _find(root: Path, base: str, written: str) -> Path:
    """The film at its path, else the only DICOM file below the path's first folder."""
    try:
        return inside(root, f"{base}/{written}" if not written.startswith(("/", "\\")) else written)
    except RefusedError as refused:
        if refused.kind != "missing file":
            raise
    files = _renamed(root, base, written)
    if len(files) != 1:
        raise RefusedError("missing file", f"not at its path, and {len(files)} DICOM files below its folder")
    return inside(root, files[0].relative_to(root).as_posix())


def _renamed(root: Path, base: str, written: str) -> list[Path]:
    first = Path(written).parts[0]
    folders = [root / base / first, root / base / "CBIS-DDSM" / first]
    return [path for folder in folders if folder.is_dir() for path in files_below(folder, [".dcm"])]


def _mask(reading: Reading, root: Path, base: str, where: str, cells: dict[str, str], film: Path) -> Lesion | None:
    """The mask among the files of an abnormality: the one as large as the film."""
    columns = [cells.get("ROI mask file path", ""), cells.get("cropped image file path", "")]
    candidates: list[Path] = []
    for written in filter(None, columns):
        try:
            candidates.append(inside(root, f"{base}/{written}"))
        except RefusedError as refused:
            if refused.kind != "missing file":
                reading.note(refused.kind, where, str(refused))
                return None
            candidates += _renamed(root, base, written)
    try:
        size = _size(film)
        fitting = [path for path in dict.fromkeys(candidates) if _size(path) == size]
    except Exception as error:  # a damaged DICOM file raises anything
        reading.note("unreadable annotation", where, f"mask or film cannot be opened ({type(error).__name__})")
        return None
    if len(fitting) != 1:
        reading.note(
            "unreadable annotation", where, f"{len(fitting)} of {len(candidates)} files are a mask of its film"
        )
        return None
    return Lesion("mask", path=fitting[0])


def _size(path: Path) -> tuple[int, int]:
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return int(header.Rows), int(header.Columns)
