"""`disasym prepare cbis-ddsm`: films and masks laid out as the archive's downloader lays them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from dicom_files import write_film
from disasym.data.datasets.cbis import TABLES
from disasym.data.datasets.prepare import Prepared, PrepareOptions, prepare
from disasym.data.manifest import read_manifest
from disasym.errors import InputError

COLUMNS = (
    "patient_id",
    "breast_density",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "assessment",
    "pathology",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
)


def row(
    side: str, number: int = 1, kind: str = "mass", pathology: str = "MALIGNANT", stem: str = "Mass-Training"
) -> list[str]:
    """A row of the table, whose film, crop and mask `cbis` writes. A newline ends the path, as in the published one."""
    film = f"{stem}_P_00001_{side}_CC"
    crop, mask = (f"{film}_{number}/1.2/1.3/{name}" for name in ("000000.dcm", "000001.dcm"))
    where = f"{film}/1.2/1.3/000000.dcm"
    return ["P_00001", "3", side, "CC", str(number), kind, "4", pathology, where, crop, f"{mask}\n"]


def cbis(folder: Path, *rows: list[str], renamed: bool = False) -> Path:
    """The tables, all rows in the first of masses, and every file that they name: films 40 × 24, crops 10 × 10."""
    folder.mkdir()
    for name in TABLES:
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *(rows if name == "mass_case_description_train_set.csv" else ())])
    for cells in rows:
        for place, written in enumerate(cells[8:]):
            path = folder / written.strip()
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (10, 10) if place == 1 else (40, 24)
            write_film(path, np.ones(size, np.uint16), side=cells[2])
            if renamed:
                path.rename(path.with_name({"000000.dcm": "1-1.dcm", "000001.dcm": "1-2.dcm"}[path.name]))
    return folder


def run(folder: Path) -> Prepared:
    return prepare(PrepareOptions("cbis-ddsm", folder, folder.parent / "manifest.csv", "none"))


def problems(prepared: Prepared) -> list[tuple[str, str]]:
    return [(problem.kind, problem.where) for problem in prepared.problems]


@pytest.mark.parametrize("renamed", [False, True])
def test_rows_of_abnormalities_become_films_with_all_their_masks(renamed: bool, tmp_path: Path) -> None:
    rows = (row("RIGHT"), row("LEFT"), row("LEFT", 2, "calcification", "BENIGN_WITHOUT_CALLBACK"))
    prepared = run(cbis(tmp_path / "cbis", *rows, renamed=renamed))
    assert not prepared.problems
    (pair,) = read_manifest(prepared.manifest).pairs
    assert (pair.labels, pair.right.view) == ((1, 1, 1), "CC")
    assert (pair.left.pathology, pair.left.finding, pair.left.density) == ("Malignant", "mass;calcification", "3")
    masks = [lesion.path for lesion in pair.left.lesions]
    assert [mask.parts[-4] for mask in masks if mask] == [f"Mass-Training_P_00001_LEFT_CC_{n}" for n in (1, 2)]


def test_a_mask_in_the_column_of_the_crop_is_known_by_its_size(tmp_path: Path) -> None:
    swapped = row("LEFT")
    folder = cbis(tmp_path / "cbis", row("RIGHT"), swapped)
    crop, mask = folder / swapped[9], folder / swapped[10].strip()
    crop.rename(folder / "kept")
    mask.rename(crop)
    (folder / "kept").rename(mask)
    (pair,) = run(folder).pairs
    assert [lesion.path for lesion in pair.left.lesions] == [crop]


def test_a_film_that_is_there_twice_is_used_once_with_the_masks_of_both(tmp_path: Path) -> None:
    prepared = run(cbis(tmp_path / "cbis", row("RIGHT"), row("LEFT"), row("LEFT", kind="calc", stem="Calc-Training")))
    assert problems(prepared) == [("duplicate row", "mass_case_description_train_set.csv, row 3")]
    assert len(prepared.pairs[0].left.lesions) == 2


def test_a_path_of_another_side_than_the_columns_costs_the_row(tmp_path: Path) -> None:
    wrong = row("LEFT")
    wrong[2] = "RIGHT"
    prepared = run(cbis(tmp_path / "cbis", row("RIGHT"), row("LEFT"), wrong))
    assert problems(prepared) == [("conflicting label", "mass_case_description_train_set.csv, row 3")]
    assert len(prepared.pairs) == 1


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    folder = cbis(tmp_path / "cbis", row("RIGHT"), row("LEFT"))
    (folder / "calc_case_description_test_set.csv").unlink()
    (folder / row("LEFT")[10].strip()).unlink()
    prepared = run(folder)
    assert problems(prepared) == [
        ("missing file", "calc_case_description_test_set.csv"),
        ("unreadable annotation", "mass_case_description_train_set.csv, row 2"),
    ]
    assert not prepared.pairs[0].left.lesions


def test_the_published_tables_are_understood_row_by_row(data_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cbis"
    folder.mkdir()
    listed: set[tuple[str, ...]] = set()
    for table in sorted((data_root / "annotations" / "cbis_ddsm_csv").glob("*.csv")):
        (folder / table.name).write_bytes(table.read_bytes())
        with table.open(newline="") as file:
            listed |= {
                (cells["patient_id"], cells["left or right breast"], cells["image view"], cells["image file path"])
                for cells in csv.DictReader(file)
            }
    with pytest.raises(InputError, match="no pair in"):
        run(folder)
    with (tmp_path / "manifest.problems.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(listed) > 3000
    assert {problem["kind"] for problem in found} == {"missing file"}, (
        "the images are not here, and nothing else is wrong"
    )
    assert len(found) == len(listed)
