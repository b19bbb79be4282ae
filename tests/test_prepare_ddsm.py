"""`disasym prepare ddsm`: cases as the database publishes them, films converted to PNG."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from disasym.data.datasets.ddsm import decode_chain
from disasym.data.datasets.prepare import Prepared, PrepareOptions, prepare
from disasym.data.manifest import read_manifest
from disasym.errors import InputError

NAMES = ("LEFT_CC", "LEFT_MLO", "RIGHT_CC", "RIGHT_MLO")
SQUARE = "10 20 2 2 4 4 6 6 0 0 #"  # two to the right, two down, two back, two up
OVERLAY = f"""TOTAL_ABNORMALITIES 2
ABNORMALITY 1
LESION_TYPE CALCIFICATION TYPE PLEOMORPHIC DISTRIBUTION CLUSTERED
ASSESSMENT 4
SUBTLETY 3
PATHOLOGY MALIGNANT
TOTAL_OUTLINES 2
BOUNDARY
{SQUARE}
\tCORE
11 21 2 4 6 0 #
ABNORMALITY 2
LESION_TYPE MASS SHAPE OVAL MARGINS CIRCUMSCRIBED
ASSESSMENT 2
SUBTLETY 3
PATHOLOGY BENIGN_WITHOUT_CALLBACK
TOTAL_OUTLINES 1
BOUNDARY
1 1 2 #
"""


def ddsm(root: Path, *marked: str, case: str = "A-1234-1", overlay: str = OVERLAY) -> Path:
    """One case; the films in `marked` have an overlay."""
    folder = root / "cancers" / "cancer_01" / "case1234"
    folder.mkdir(parents=True)
    films = [f"{name} LINES 40 PIXELS_PER_LINE 24 BITS_PER_PIXEL 12 RESOLUTION 50" for name in NAMES]
    lines = [
        f"{film} {'OVERLAY' if name in marked else 'NON_OVERLAY'}" for film, name in zip(films, NAMES, strict=True)
    ]
    heading = f"ics_version 1.0\nfilename {case}\nDATE_OF_STUDY 2 7 1995\nPATIENT_AGE 61\nFILM\nDENSITY 3\nSEQUENCE\n"
    (folder / f"{case}.ics").write_text(heading + "\n".join(lines) + "\n")
    for name in NAMES:
        stem = folder / f"{case.replace('-', '_')}.{name}"
        Image.fromarray(np.zeros((40, 24), np.uint16)).save(f"{stem}.png")
        if name in marked:
            Path(f"{stem}.OVERLAY").write_text(overlay)
    return root


def run(root: Path) -> Prepared:
    return prepare(PrepareOptions("ddsm", root, root.parent / "manifest.csv", "none"))


def problems(prepared: Prepared) -> list[tuple[str, str]]:
    return [(problem.kind, Path(problem.where).name) for problem in prepared.problems]


def test_a_breast_with_an_overlay_in_one_view_is_abnormal_in_both(tmp_path: Path) -> None:
    prepared = run(ddsm(tmp_path / "ddsm", "LEFT_CC"))
    assert not prepared.problems
    cc, mlo = read_manifest(prepared.manifest).pairs
    assert (cc.right.view, mlo.right.view) == ("CC", "MLO")
    assert cc.labels == mlo.labels == (1, 0, 1)
    assert cc.right.path.name == "A_1234_1.RIGHT_CC.png"
    assert (cc.left.birads, cc.left.pathology, cc.left.density) == ("4", "Malignant", "3")
    assert cc.left.finding == "CALCIFICATION;MASS"
    assert cc.right.pathology == "Normal"


def test_a_boundary_is_an_outline_and_a_core_is_none(tmp_path: Path) -> None:
    cc, mlo = run(ddsm(tmp_path / "ddsm", "LEFT_CC")).pairs
    assert [lesion.bounds() for lesion in cc.left.lesions] == [(10.5, 20.5, 12.5, 22.5), (1, 1, 3, 2)]
    assert not mlo.left.lesions, "its overlay marks one view"


def test_a_chain_code_by_hand() -> None:
    """Start at column 10, row 20; the corners of the square, in the middles of their pixels."""
    assert decode_chain(SQUARE) == [(10.5, 20.5), (12.5, 20.5), (12.5, 22.5), (10.5, 22.5), (10.5, 20.5)]
    assert decode_chain("5 5 0 1 3 5 7 #")[1:] == [(5.5, 4.5), (6.5, 3.5), (7.5, 4.5), (6.5, 5.5), (5.5, 4.5)]


@pytest.mark.parametrize("chain", ["10 20 2 2", "10 20 8 #", "10 #", "ten 20 2 #", ""])
def test_a_broken_chain_code_costs_the_outline_and_not_the_label(chain: str, tmp_path: Path) -> None:
    prepared = run(ddsm(tmp_path / "ddsm", "LEFT_CC", overlay=f"ABNORMALITY 1\nBOUNDARY\n{chain}\n"))
    assert problems(prepared) == [("unreadable annotation", "A_1234_1.LEFT_CC.OVERLAY")]
    assert prepared.pairs[0].labels == (1, 0, 1)
    assert not prepared.pairs[0].left.lesions


def test_an_overlay_that_is_not_there_is_listed_and_the_breast_stays_abnormal(tmp_path: Path) -> None:
    root = ddsm(tmp_path / "ddsm", "LEFT_CC")
    next(root.rglob("*.OVERLAY")).unlink()
    prepared = run(root)
    assert problems(prepared) == [("unreadable annotation", "A_1234_1.LEFT_CC.OVERLAY")]
    assert prepared.pairs[0].labels == (1, 0, 1)


def test_a_film_that_is_only_there_as_published_says_that_it_wants_converting(tmp_path: Path) -> None:
    root = ddsm(tmp_path / "ddsm")
    film = next(root.rglob("*.RIGHT_MLO.png"))
    film.rename(film.with_suffix(".LJPEG"))
    prepared = run(root)
    assert problems(prepared) == [("missing file", "A_1234_1.RIGHT_MLO"), ("one-sided exam", "A_1234_1.LEFT_MLO.png")]
    assert "convert it to PNG or TIFF" in prepared.problems[0].reason
    assert [pair.right.view for pair in prepared.pairs] == ["CC"]


def test_two_cases_of_one_name_are_not_chosen_between(tmp_path: Path) -> None:
    root = ddsm(ddsm(tmp_path / "ddsm") / "again").parent
    ddsm(root / "other", case="B-0001-1")
    prepared = run(root)
    assert problems(prepared) == [("several images", "A-1234-1.ics")] * 2
    assert {pair.patient_id for pair in prepared.pairs} == {"B-0001"}


def test_an_ics_file_without_films_is_listed_and_none_at_all_is_one_sentence(tmp_path: Path) -> None:
    root = ddsm(tmp_path / "ddsm")
    (root / "C-0002-1.ics").write_text("nothing of use\n")
    assert problems(run(root)) == [("unreadable annotation", "C-0002-1.ics")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \.ics file"):
        run(tmp_path / "empty")
