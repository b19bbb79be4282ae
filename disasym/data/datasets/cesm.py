"""CDD-CESM: `Radiology-manual-annotations` (.csv), `Radiology_hand_drawn_segmentations_v2.csv`, folders of JPEG.

Source: Khaled et al. 2022, https://doi.org/10.1038/s41597-022-01238-0; https://doi.org/10.7937/29kw-ae92
Abnormal: "Pathology Classification/ Follow up" is Benign or Malignant; without it, BI-RADS 2 to 6. The subtracted
images (CM) are read; low-energy images (DM) of the same women are left alone.

Quirks: the table is published as .xlsx: save its sheet `all` as CSV. BIRADS joins the findings of an image by `$`
("4$2"). Outlines are VIA regions, JSON in a cell, in pixels of the JPEG. Redistributed 512 × 512 copies were squeezed
from about 2:1, so such a file gets pixel_aspect 2 and no outline; their `manifest.csv` is read too.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from disasym.data.datasets.reading import (
    PATHOLOGIES,
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
from disasym.data.rows import Lesion
from disasym.data.tables import read_table

TABLES = ("Radiology-manual-annotations.csv", "Radiology manual annotations.csv", "manifest.csv")
OUTLINES = "Radiology_hand_drawn_segmentations_v2.csv"
SQUEEZED = (512, 512)


def read(root: Path) -> Reading:
    """Rows of subtracted images → rows."""
    table, reading = find_table(root, *TABLES), Reading()
    files = defaultdict[str, list[Path]](list)
    for path in files_below(table.parent, [".jpg", ".jpeg", ".png"]):
        files[path.stem.strip()].append(path)
    outlines = _outlines(reading, table.parent / OUTLINES)
    images = defaultdict[str, list[tuple[str, dict[str, str]]]](list)
    for line, cells in enumerate(read_table(table).rows, 2):
        where = f"{table.name}:{line}"
        name = Path(cells.get("Image_name") or cells.get("path", "")).stem.strip()
        if "_CM_" in name:
            images[name].append((where, cells))
        elif "_DM_" not in name:
            reading.note("unusable row", where, "names no image P…_CM_… or P…_DM_…")
    for name, listed in images.items():
        try:
            _image(reading, root, files[name], name, only_row(reading, listed), outlines, listed[0][0])
        except RefusedError as refused:
            reading.note(refused.kind, listed[0][0], str(refused))
    return reading


def _image(
    reading: Reading,
    root: Path,
    files: list[Path],
    name: str,
    cells: Mapping[str, str],
    outlines: dict[str, list[Lesion]],
    where: str,
) -> None:
    patient, side_text, _, view_text = [*name.split("_"), "", "", ""][:4]
    side, projection = laterality(side_text), view(view_text)
    for column, value in (("Side", side), ("laterality", side), ("View", projection), ("view", projection)):
        if cells.get(column, value).strip().upper()[:1] != value[:1]:
            raise RefusedError(
                "conflicting label", f"the name says {value}, the column {column} {cells[column][:10]!r}"
            )
    if not files:
        raise RefusedError("missing file", f"no image {name}")
    if len(files) > 1:
        raise RefusedError("several images", f"{len(files)} files are called {name}: which is meant is unknown")
    path = inside(root, files[0].relative_to(root).as_posix())
    pathology = (cells.get("Pathology Classification/ Follow up") or cells.get("pathology", "")).strip().capitalize()
    birads = cells.get("BIRADS", "")
    abnormal = pathology != "Normal" if pathology in PATHOLOGIES else normal_is_one(birads)
    if pathology == "Normal" and any(digit in birads for digit in "456"):
        reading.note("conflicting label", where, f"pathology Normal, BI-RADS {birads}; the pathology counts")
    squeezed = _size(path) == SQUEEZED
    reading.rows.append(
        make_row(
            "cesm",
            f"cesm-{patient}",
            f"cesm-{patient}",
            side,
            projection,
            path,
            abnormal,
            birads=birads,
            finding=cells.get("Findings") or cells.get("finding", ""),
            pathology=pathology,
            density=cells.get("Breast density (ACR)", "").strip("_"),
            lesions=() if squeezed else tuple(outlines.get(name, ())),
            pixel_aspect=2.0 if squeezed else 1.0,
        )
    )


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except Exception as error:  # a damaged file raises anything
        raise RefusedError("unreadable image", f"cannot be opened ({type(error).__name__})") from None


def _outlines(reading: Reading, path: Path) -> dict[str, list[Lesion]]:
    outlines = defaultdict[str, list[Lesion]](list)
    for line, cells in enumerate(read_table(path).rows if path.is_file() else [], 2):
        try:
            shape = json.loads(cells.get("region_shape_attributes", ""))
            if shape:
                outlines[Path(cells["#filename"]).stem.strip()].append(via_shape(shape))
        except (ValueError, KeyError, TypeError, RecursionError):
            reading.note("unreadable annotation", f"{path.name}:{line}", "not a region of the VGG Image Annotator")
    return outlines


def via_shape(shape: dict[str, object]) -> Lesion:
    """A region of the VGG Image Annotator → a lesion. KeyError, ValueError or TypeError for another."""

    def numbers(*names: str) -> list[float]:
        values = [float(str(shape[name])) for name in names]
        if not all(map(math.isfinite, values)):
            raise ValueError("not finite")
        return values

    match shape["name"]:
        case "polygon" | "polyline":
            xs, ys = shape["all_points_x"], shape["all_points_y"]
            if not (isinstance(xs, list) and isinstance(ys, list) and xs):
                raise ValueError("no points")
            return Lesion.polygon([(float(x), float(y)) for x, y in zip(xs, ys, strict=True)])
        case "circle":
            return Lesion.circle(*numbers("cx", "cy", "r"))
        case "rect":
            x, y, width, height = numbers("x", "y", "width", "height")
            return Lesion("box", x, y, x + width, y + height)
        case "point":
            x, y = numbers("cx", "cy")
            return Lesion.polygon([(x, y)])
        case "ellipse":
            x, y, rx, ry = numbers("cx", "cy", "rx", "ry")
            angle = float(str(shape.get("theta", 0)))
            turns = [2 * math.pi * step / 64 for step in range(64)]
            along = [(rx * math.cos(t), ry * math.sin(t)) for t in turns]
            cos, sin = math.cos(angle), math.sin(angle)
            return Lesion.polygon([(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in along])
    raise ValueError(f"a region of kind {shape['name']!r}")
