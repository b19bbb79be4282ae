"""INbreast: `INbreast.csv`, `AllDICOMs/`, `AllXML/<number>.xml`.

Source: Moreira et al. 2012, https://doi.org/10.1016/j.acra.2011.09.014, and the README of the release. Abnormal:
Bi-Rads of the image 2 to 6 (1 is normal, as in the paper); `4a`, `4b`, `4c` are 4.

Quirks: the table names images by a number and says "removed" for the woman, who is the second part of the file's name,
`20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm`, where MLO is shortened to ML. Some women came twice: an exam is a woman
and an `Acquisition date` (a year and 01 or 02). Two exams have one side and view twice, one image is a view FB, and
mastectomy patients have one breast. ACR can be blank. The DICOM headers name no view: the table does. Annotations are
OsiriX property lists with `Point_px` "(x, y)" in pixels; some have one point, some names are misspelt, and images of
Bi-Rads 1 have none. `INbreast.xls` is the same table: save it as CSV, with `;` or `,`.
"""

import plistlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from disasym.data.datasets.reading import (
    Reading,
    RefusedError,
    files_below,
    find_table,
    inside,
    laterality,
    make_row,
    normal_is_one,
    only_row,
    view,
)
from disasym.data.rows import Lesion, Point
from disasym.data.tables import Table, read_table
from disasym.errors import InputError

TABLE = "INbreast.csv"
NAME = re.compile(r"(?P<number>\d+)_(?P<woman>[0-9a-z]+)_MG_(?P<side>[LR])_(?P<view>[A-Z]+)_ANON", re.IGNORECASE)
SUFFIXES = (".dcm", ".png", ".tif", ".tiff")  # published, and what people convert to
SHORTENED = {"ML": "MLO"}  # in the file's name
MISSPELT = {
    "Assymetry": "Asymmetry",
    "Calcifications": "Calcification",
    "Espiculated Region": "Spiculated Region",
    "Spiculated region": "Spiculated Region",
}
NO_LESION = "pectoral"  # the muscle has outlines of its own
LARGEST = 20_000_000  # bytes of an annotation; the published ones have less than 1 MB
Regions = tuple[list[Lesion], list[str]]  # outlines, and what they are called


def read(root: Path) -> Reading:
    """Rows of the table → rows, with the outlines of their XML."""
    table = _table_of(root)
    reading = Reading()
    files = _files(reading, root, table.parent / "AllDICOMs")
    images = defaultdict[str, list[tuple[str, dict[str, str]]]](list)
    for line, cells in enumerate(_rows(table).rows, 2):
        images[cells.get("File Name", "").removesuffix(".0")].append((f"{table.name}:{line}", cells))
    for number, listed in images.items():
        try:
            _image(reading, root, table.parent, number, only_row(reading, listed), files.get(number, []))
        except RefusedError as refused:
            reading.note(refused.kind, listed[0][0], str(refused))
    for number in sorted(files.keys() - images.keys()):
        reading.note("no label", _where(root, files[number][0]), f"{TABLE} has no image {number}")
    return reading


def _table_of(root: Path) -> Path:
    try:
        return find_table(root, TABLE)
    except InputError:
        if sheet := next(iter((*root.glob("INbreast.xls*"), *root.glob("*/INbreast.xls*"))), None):
            raise InputError(f"{sheet} is a spreadsheet: save its table as {TABLE} beside it, with ; or ,") from None
        raise


def _rows(path: Path) -> Table:
    """The table, separated by `;` as published, or by `,` as spreadsheets save it."""
    table = read_table(path, ";")
    table = read_table(path) if len(table.columns) == 1 else table
    if missing := [name for name in ("File Name", "Laterality", "View", "Bi-Rads") if name not in table.columns]:
        raise InputError(f"{path}: no column {', '.join(missing)}: it is not the table of INbreast")
    return table


def _files(reading: Reading, root: Path, folder: Path) -> dict[str, list[Path]]:
    """Image number → its files of the first suffix that it has."""
    found = defaultdict[str, list[Path]](list)
    for path in files_below(folder, SUFFIXES):
        if name := NAME.fullmatch(path.stem):
            found[name["number"]].append(path)
        else:
            reading.note("unusable row", _where(root, path), "not named number_woman_MG_side_view_ANON")
    if not found:
        raise InputError(f"{folder} holds no image of INbreast: name the folder of the release (docs/datasets.md)")
    best = {number: min(SUFFIXES.index(path.suffix.lower()) for path in paths) for number, paths in found.items()}
    return {
        number: [path for path in paths if SUFFIXES.index(path.suffix.lower()) == best[number]]
        for number, paths in found.items()
    }


def _image(
    reading: Reading, root: Path, folder: Path, number: str, cells: Mapping[str, str], paths: Sequence[Path]
) -> None:
    side, projection = laterality(cells.get("Laterality", "")), view(cells.get("View", ""))
    if not paths:
        raise RefusedError("missing file", f"no image {number[:20]} in AllDICOMs")
    if len(paths) > 1:
        raise RefusedError("several images", f"{len(paths)} files have the number {number}: which is meant is unknown")
    name = NAME.fullmatch(paths[0].stem)
    if name is None:
        raise RefusedError("unusable row", "the file's name cannot be read")
    named = (name["side"].upper(), SHORTENED.get(name["view"].upper(), name["view"].upper()))
    if named != (side, projection):
        said = f"the table says {side} {projection}, the file's name {' '.join(named)}"
        raise RefusedError("conflicting label", f"{said}: the image is not used")
    path = inside(root, _where(root, paths[0]))
    birads, woman = cells.get("Bi-Rads", "").lower(), name["woman"].lower()
    abnormal = normal_is_one(birads)
    lesions, findings = _regions(reading, root, folder, number, birads, abnormal)
    reading.rows.append(
        make_row(
            "inbreast",
            woman,
            f"{woman}-{cells.get('Acquisition date', '')}",
            side,
            projection,
            path,
            abnormal,
            birads=birads,
            finding=";".join(dict.fromkeys(findings)),
            density=cells.get("ACR", ""),
            lesions=tuple(lesions),
        )
    )


def _regions(reading: Reading, root: Path, folder: Path, number: str, birads: str, abnormal: bool | None) -> Regions:
    """The outlines of an image. A file that is absent or broken costs the outlines, not the label."""
    where = f"{_where(root, folder / 'AllXML')}/{number}.xml"
    try:
        lesions, findings = parse_regions(inside(root, where).read_bytes())
    except RefusedError as refused:
        if refused.kind != "missing file" or abnormal:
            reading.note("unreadable annotation", where, f"no outline of an image of Bi-Rads {birads}: {refused}")
        return [], []
    except (ValueError, OSError) as error:
        reading.note("unreadable annotation", where, f"no outline taken: {error}")
        return [], []
    if lesions and abnormal is False:
        reading.note("conflicting label", where, f"{len(lesions)} outlines on an image of Bi-Rads 1, which counts")
        return [], []
    return lesions, findings


def parse_regions(content: bytes) -> Regions:
    """An OsiriX property list → outlines in pixels of the file, and what each is called. ValueError for any other."""
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    try:
        images: list[dict[str, Any]] = plistlib.loads(content, fmt=plistlib.FMT_XML)["Images"]
        regions = [region for image in images for region in image["ROIs"]]
        named = [
            (str(region.get("Name", "")).strip(), [_point(text) for text in region["Point_px"]]) for region in regions
        ]
    except (ExpatError, plistlib.InvalidFileException, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an OsiriX property list ({type(error).__name__})") from None
    kept = [(name, points) for name, points in named if points and not name.lower().startswith(NO_LESION)]
    return [Lesion.polygon(points) for _, points in kept], [MISSPELT.get(name, name) for name, _ in kept]


def _point(text: str) -> Point:
    x, y = (float(number) for number in text.strip().strip("()").split(",")[:2])
    if not (abs(x) < 1e6 and abs(y) < 1e6):  # written so that NaN fails too
        raise ValueError(f"a point is {text[:40]!r}, expected (x, y) in pixels")
    return x, y


def _where(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
