"""VinDr-Mammo: `breast-level_annotations.csv`, `finding_annotations.csv`, `images/<study_id>/<image_id>.dicom`.

Source: Nguyen et al. 2023, https://doi.org/10.1038/s41597-023-02100-7; https://physionet.org/content/vindr-mammo/1.0.0/
Abnormal: breast_birads 2 to 5 (1 is normal, as in the paper). BI-RADS 2 is therefore abnormal, without a box: boxes
were drawn for findings of BI-RADS 3 and above only.

Quirks: no patient is published, so an exam stands for a woman. `finding_categories` is the text of a Python list;
"No Finding" has no box; one image may have several rows. The published parts, training and test, are not used: women
are shared out as in the paper. Converted .dcm and .png files are found under the same names.
"""

import ast
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from disasym.data.datasets.reading import (
    Reading,
    RefusedError,
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

SUFFIXES = (".dicom", ".dcm", ".png")
Findings = dict[str, tuple[list[Lesion], list[str]]]  # image_id → boxes, categories


def read(root: Path) -> Reading:
    """Breast-level rows → rows, with the boxes of their findings."""
    table = find_table(root, "breast-level_annotations.csv")
    reading = Reading()
    findings = _findings(reading, table.parent / "finding_annotations.csv")
    images = defaultdict[str, list[tuple[str, dict[str, str]]]](list)
    for line, cells in enumerate(read_table(table).rows, 2):
        images[cells.get("image_id", "")].append((f"{table.name}:{line}", cells))
    for image, listed in images.items():
        try:
            _image(reading, root, table.parent, only_row(reading, listed), *findings[image])
        except RefusedError as refused:
            reading.note(refused.kind, listed[0][0], str(refused))
    return reading


def _image(
    reading: Reading, root: Path, folder: Path, cells: Mapping[str, str], boxes: list[Lesion], categories: list[str]
) -> None:
    side, projection = laterality(cells.get("laterality", "")), view(cells.get("view_position", ""))
    birads, study = cells.get("breast_birads", ""), cells.get("study_id", "")
    reading.rows.append(
        make_row(
            "vindr",
            study,
            study,
            side,
            projection,
            _path(root, folder, cells),
            normal_is_one(birads),
            birads=birads.replace("BI-RADS", "").strip(),
            finding=";".join(dict.fromkeys(categories)),
            density=cells.get("breast_density", "").replace("DENSITY", "").strip(),
            lesions=tuple(boxes),
        )
    )


def _path(root: Path, folder: Path, cells: Mapping[str, str]) -> Path:
    names = (cells.get("study_id", ""), cells.get("image_id", ""))
    if not all(re.fullmatch(r"[\w-]+", name) for name in names):
        raise RefusedError("refused path", "study_id or image_id is not a plain name")
    stem = folder.relative_to(root) / "images" / names[0] / names[1]
    for suffix in SUFFIXES:
        try:
            return inside(root, f"{stem.as_posix()}{suffix}")
        except RefusedError as refused:
            if refused.kind != "missing file":
                raise
    raise RefusedError("missing file", f"no {stem.as_posix()}{SUFFIXES[0]}")


def _findings(reading: Reading, path: Path) -> Findings:
    findings: Findings = defaultdict(lambda: ([], []))
    if not path.is_file():
        reading.note("missing file", path.name, "no boxes and categories of findings are known")
        return findings
    for line, cells in enumerate(read_table(path).rows, 2):
        try:
            categories = ast.literal_eval(cells.get("finding_categories", ""))
            if not isinstance(categories, list) or not all(isinstance(name, str) for name in categories):
                raise ValueError
            if categories == ["No Finding"]:
                continue
            x0, y0, x1, y1 = (float(cells[column]) for column in ("xmin", "ymin", "xmax", "ymax"))
            if not (0 <= x0 < x1 < math.inf and 0 <= y0 < y1 < math.inf):
                raise ValueError
        except (ValueError, SyntaxError, KeyError, MemoryError, RecursionError):
            reading.note("unreadable annotation", f"{path.name}:{line}", "no list of categories with a box")
            continue
        boxes, names = findings[cells.get("image_id", "")]
        boxes.append(Lesion("box", x0, y0, x1, y1))
        names += categories
    return findings
