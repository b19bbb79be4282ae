"""DDSM: folders of cases, each with one `.ics`, films and `.OVERLAY` files with chain codes.

Source: Heath et al. 2001; http://www.eng.usf.edu/cvprg/mammography/database.html ("case description").
Abnormal: the breast has an overlay in either view (every abnormality was marked, also those without callback); the
other breast is normal. `birads` is the highest ASSESSMENT of the film's overlay.

Quirks: an overlay has several abnormalities, each with TOTAL_OUTLINES outlines: one BOUNDARY, then the COREs within it,
which are left out. A chain code is start column, start row, then steps 0 (up) clockwise to 7 (up and left), ended by
`#`. `A-1234-1.ics` belongs to films `A_1234_1.LEFT_CC.*`. Films are published as lossless JPEG (.LJPEG) of the PVRG
codec; imagecodecs decodes its predictors 1, 4 and 5 as that codec does, not 2, 3, 6 and 7, so .LJPEG is not read here:
convert with Debian's pvrg-jpeg or PyPI's ljpeg to 16-bit PNG or TIFF of the same name.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from disasym.data.datasets.reading import Reading, RefusedError, files_below, inside, make_row, worst
from disasym.data.rows import Lesion, Point
from disasym.errors import InputError
from disasym.spec import Laterality, View

FILMS: dict[str, tuple[Laterality, View]] = {
    "LEFT_CC": ("L", "CC"),
    "LEFT_MLO": ("L", "MLO"),
    "RIGHT_CC": ("R", "CC"),
    "RIGHT_MLO": ("R", "MLO"),
}
STEPS = ((0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1))  # x, y of codes 0 to 7
SUFFIXES = (".png", ".tif", ".tiff", ".dcm")
LARGEST = 10_000_000  # bytes of a text file


def read(root: Path) -> Reading:
    """Every .ics below `root` → rows of its films."""
    reading = Reading()
    cases = defaultdict[str, list[Path]](list)
    for path in files_below(root, [".ics"]):
        cases[path.stem.replace("_", "-")].append(path)
    if not cases:
        raise InputError(f"{root} holds no .ics file: name the folder of DDSM's cases (docs/datasets.md)")
    for paths in cases.values():
        for path in paths:
            where = path.relative_to(root).as_posix()
            if len(paths) > 1:
                reading.note("several images", where, f"{len(paths)} cases have this name: which is meant is unknown")
                continue
            try:
                _case(reading, root, path)
            except (OSError, ValueError, RefusedError) as error:
                reading.note("unreadable annotation", where, f"not an .ics file ({type(error).__name__})")
    return reading


def _case(reading: Reading, root: Path, ics: Path) -> None:
    lines = _text(root, ics).splitlines()
    films = {cells[0]: cells for line in lines if (cells := line.split()) and cells[0] in FILMS}
    density = next((line.split()[1] for line in lines if re.match(r"DENSITY\s+\S", line)), "")
    if not films:
        raise ValueError("names no film")
    marked = {FILMS[name][0] for name, cells in films.items() if cells[-1] == "OVERLAY"}
    study = ics.stem.replace("_", "-")
    for name, cells in films.items():
        side, view = FILMS[name]
        stem = (ics.parent / f"{ics.stem.replace('-', '_')}.{name}").relative_to(root).as_posix()
        try:
            path = _film(root, stem)
        except RefusedError as refused:
            reading.note(refused.kind, stem, str(refused))
            continue
        lesions, facts = ([], {}) if cells[-1] != "OVERLAY" else _overlay(reading, root, f"{stem}.OVERLAY")
        reading.rows.append(
            make_row(
                "ddsm",
                "-".join(study.split("-")[:2]),
                study,
                side,
                view,
                path,
                side in marked,
                birads=max(facts.get("ASSESSMENT", []), default=""),
                finding=";".join(facts.get("LESION_TYPE", [])),
                pathology=worst(p.split("_")[0].capitalize() for p in facts.get("PATHOLOGY", []))
                or ("" if side in marked else "Normal"),
                density=density,
                lesions=tuple(lesions),
            )
        )


def _film(root: Path, stem: str) -> Path:
    for suffix in SUFFIXES:
        try:
            return inside(root, stem + suffix)
        except RefusedError as refused:
            if refused.kind != "missing file":
                raise
    published = (root / f"{stem}.LJPEG").exists()
    raise RefusedError(
        "missing file", "only .LJPEG: convert it to PNG or TIFF" if published else "no film of this name"
    )


def _overlay(reading: Reading, root: Path, where: str) -> tuple[list[Lesion], dict[str, list[str]]]:
    try:
        return parse_overlay(_text(root, inside(root, where)))
    except (RefusedError, ValueError, OSError) as error:
        reading.note("unreadable annotation", where, f"no outline taken: {error}")
        return [], {}


def parse_overlay(text: str) -> tuple[list[Lesion], dict[str, list[str]]]:
    """The BOUNDARY of each abnormality, and the values of its other keys. ValueError for a broken chain code."""
    lesions, facts = [], dict[str, list[str]]()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.split()[0] == "BOUNDARY":
            lesions.append(Lesion.polygon(decode_chain(following)))
        elif line[0].isalpha():
            key, _, value = line.partition(" ")
            facts.setdefault(key, []).append(value.split()[0] if value else "")
    return lesions, facts


def decode_chain(text: str) -> list[Point]:
    """Chain code → centres of its boundary pixels, x and y. ValueError where it is none."""
    cells = text.split()
    if len(cells) < 3 or cells[-1] != "#":
        raise ValueError("a chain code has a start and ends in #")
    x, y, *codes = (int(cell) for cell in cells[:-1])
    points = [(x + 0.5, y + 0.5)]
    for code in codes:
        if not 0 <= code < len(STEPS):
            raise ValueError(f"step {code} of a chain code, expected 0 to 7")
        x, y = x + STEPS[code][0], y + STEPS[code][1]
        points.append((x + 0.5, y + 0.5))
    return _corners(points)


def _corners(points: Sequence[Point]) -> list[Point]:
    """The same outline without the points in the middle of a straight run."""
    kept = [points[0]]
    for before, point, after in zip(points, points[1:], points[2:], strict=False):
        if (point[0] - before[0], point[1] - before[1]) != (after[0] - point[0], after[1] - point[1]):
            kept.append(point)
    return [*kept, points[-1]] if len(points) > 1 else kept


def _text(root: Path, path: Path) -> str:
    inside(root, path.relative_to(root).as_posix())
    if path.stat().st_size > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    return path.read_text(encoding="latin-1")
