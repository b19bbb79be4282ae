"""What a manifest may hold beyond circles and boxes: polygons, masks, facts of an exam, and Parquet."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from disasym.data.manifest import Manifest, read_manifest
from disasym.data.rows import Lesion
from disasym.errors import ManifestError


def table(lesions: str) -> list[dict[str, str]]:
    row = {"pair_id": "p", "patient_id": "w", "study_id": "s", "view": "CC", "birads": "4c", "density": "2"}
    return [{**row, "laterality": side, "path": "r.png", "abnormal": "1", "lesions": lesions} for side in "RL"]


def read_csv(folder: Path, lesions: str) -> Manifest:
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(folder / "r.png")
    rows = table(lesions)
    with (folder / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return read_manifest(folder / "m.csv")


def test_a_polygon_covers_the_pixels_whose_centre_is_inside(tmp_path: Path) -> None:
    (pair,) = read_csv(tmp_path, '[{"points": [[1, 2], [6, 2], [6, 5], [1, 5]]}]').pairs
    (lesion,) = pair.right.lesions
    assert (lesion.kind, lesion.bounds()) == ("polygon", (1, 2, 6, 5))
    np.testing.assert_array_equal(lesion.mask(8, 8), Lesion("box", 1, 2, 6, 5).mask(8, 8))
    triangle = Lesion.polygon([(0, 0), (4, 0), (0, 4)]).mask(4, 4)  # centres with x + y < 4
    np.testing.assert_array_equal(triangle.sum(axis=1), [3, 2, 1, 0])


def test_a_polygon_without_area_is_the_box_of_its_pixels() -> None:
    assert Lesion.polygon([(3.5, 4.5)]) == Lesion("box", 3, 4, 4, 5)
    assert Lesion.polygon([(3, 4), (6, 4)]).mask(8, 8).sum() == 4


def test_an_image_may_have_several_masks_and_facts_of_its_exam(tmp_path: Path) -> None:
    (pair,) = read_csv(tmp_path, '[{"mask": "r.png"}, {"mask": "r.png"}]').pairs
    assert [lesion.bounds() for lesion in pair.left.lesions] == [(0, 0, 8, 8)] * 2
    assert (pair.left.study_id, pair.left.birads, pair.left.density) == ("s", "4c", "2")


@pytest.mark.parametrize(
    ("lesions", "reason"),
    [
        ('[{"mask": "../r.png"}]', "leaves"),
        ('[{"mask": "absent.png"}]', "no such file"),
        ('[{"points": [[1, 2], [3, 4]]}]', "a polygon has 2 points"),
        ('[{"points": [[1, 2], [3, 4], [5, "6"]]}]', "a polygon has 2 points"),
    ],
)
def test_a_lesion_that_is_none_costs_its_row(tmp_path: Path, lesions: str, reason: str) -> None:
    manifest = read_csv(tmp_path, lesions)
    assert manifest.pairs == []
    assert reason in manifest.skipped[0][1]


def test_parquet_reads_as_the_same_table_in_csv_does(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is absent: pip install '.[train]'")
    from pyarrow import parquet

    expected = read_csv(tmp_path, "").pairs
    rows = [{**row, "abnormal": 1, "density": 2.0, "lesions": None} for row in table("")]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet").pairs == expected
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(ManifestError, match="not a readable Parquet"):
        read_manifest(tmp_path / "broken.parquet")
