"""mini-MIAS: `Info.txt` and mdb001.pgm … mdb322.pgm (or .png), all MLO.

Source: Suckling et al. 1994; http://peipa.essex.ac.uk/info/mias.html and the notes inside Info.txt.
Abnormal: the film has a class other than NORM. There is no BI-RADS.

Quirks: note 1 makes odd numbers right and even numbers left breasts of one woman (lead markers on some films read
mirrored; the list decides). The origin of the circles is the bottom left, so y becomes 1023 − y. A film with several
abnormalities has several lines. Calcifications spread over the film have no circle (`*NOTE 3*`), nor has mdb059.
"""

import re
from collections import defaultdict
from pathlib import Path

from disasym.data.datasets.reading import Reading, RefusedError, find_table, inside, make_row, worst
from disasym.data.rows import Lesion

SIZE = 1024
SEVERITY = {"B": "Benign", "M": "Malignant"}
CLASSES = ("CALC", "CIRC", "SPIC", "MISC", "ARCH", "ASYM", "NORM")


def read(root: Path) -> Reading:
    """Films listed in Info.txt → rows."""
    table = find_table(root, "Info.txt", "info.txt")
    reading, films = Reading(), defaultdict[int, list[list[str]]](list)
    for number_, line in enumerate(table.read_text(encoding="latin-1").splitlines(), 1):
        match = re.match(r"mdb(\d{3})\s+(\S.*)", line)
        if not match:
            continue
        cells = match[2].split()
        if len(cells) < 2 or cells[1] not in CLASSES:
            reading.note("unusable row", f"{table.name}:{number_}", "expected tissue and class of abnormality")
        elif cells in films[int(match[1])]:
            reading.note("duplicate row", f"{table.name}:{number_}", "repeats a line of the same film")
        else:
            films[int(match[1])].append(cells)
    for film, lines in films.items():
        _film(reading, root, table.parent, film, lines)
    return reading


def _film(reading: Reading, root: Path, folder: Path, film: int, lines: list[list[str]]) -> None:
    name = f"mdb{film:03d}"
    classes = [line[1] for line in lines]
    if "NORM" in classes and len(set(classes)) > 1:
        reading.note("conflicting label", name, f"both NORM and {', '.join(set(classes) - {'NORM'})}; not used")
        return
    try:
        path = _image(root, folder, name)
    except RefusedError as refused:
        reading.note(refused.kind, name, str(refused))
        return
    abnormal = classes[0] != "NORM"
    woman = f"mias-{film - 1 + film % 2:03d}"
    pathology = worst(SEVERITY.get(line[2], "") for line in lines if len(line) > 2) if abnormal else "Normal"
    reading.rows.append(
        make_row(
            "mias",
            woman,
            woman,
            "R" if film % 2 else "L",
            "MLO",
            path,
            abnormal,
            finding=";".join(dict.fromkeys(classes)),
            pathology=pathology,
            density=lines[0][0],
            lesions=tuple(_circles(reading, name, lines)),
        )
    )


def _image(root: Path, folder: Path, name: str) -> Path:
    for suffix in (".pgm", ".png"):
        path = folder / f"{name}{suffix}"
        if path.is_file() or path.is_symlink():
            return inside(root, path.relative_to(root).as_posix())
    raise RefusedError("missing file", "listed in Info.txt, neither .pgm nor .png is there")


def _circles(reading: Reading, name: str, lines: list[list[str]]) -> list[Lesion]:
    circles = []
    for line in lines:
        try:
            x, y, r = (int(cell) for cell in line[3:6])
        except ValueError:
            if line[1] != "NORM":
                reading.note("unreadable annotation", name, f"{line[1]} without a circle (as published)")
            continue
        circles.append(Lesion.circle(x, SIZE - 1 - y, r))
    return circles
