"""Manifest tables: the real ones read entirely, and each bad row is skipped with its reason."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from disasym.data.manifest import KNOWN_PIXEL_ASPECT, ImageRow, Lesion, PairRow, read_manifest
from disasym.errors import ImageError, ManifestError

Table = list[dict[str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images r.png and l.png; the table goes beside them."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("r.png", "l.png"):
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(archive / name)
    (tmp_path / "outside.png").write_bytes(b"not yours")
    return archive


def pair_rows(**changes: str) -> Table:
    """A right and a left row; `changes` are made in the right one."""
    common = {"dataset": "d", "pair_id": "p1", "patient_id": "w1", "view": "CC"}
    right = {**common, "laterality": "R", "path": "r.png", "abnormal": "1", **changes}
    return [right, {**common, "laterality": "L", "path": "l.png", "abnormal": "0"}]


def write(folder: Path, table: Table) -> Path:
    columns = list(dict.fromkeys(column for row in table for column in row))
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(table)
    return path


def test_a_pair_is_right_and_left_whatever_the_order_of_its_rows(folder: Path) -> None:
    manifest = read_manifest(write(folder, pair_rows()[::-1]))
    (pair,) = manifest.pairs
    assert manifest.skipped == []
    assert (pair.right.path, pair.left.path) == (folder / "r.png", folder / "l.png")
    assert (pair.right.laterality, pair.left.laterality) == ("R", "L")
    assert (pair.pair_id, pair.patient_id, pair.view, pair.dataset) == ("p1", "w1", "CC", "d")
    assert pair.labels == (1, 1, 0)


@pytest.mark.parametrize(("right", "labels"), [("0", (0, 0, 0)), ("1", (1, 1, 0))])
def test_a_pair_is_asymmetric_when_a_side_is_abnormal(folder: Path, right: str, labels: tuple[int, ...]) -> None:
    assert read_manifest(write(folder, pair_rows(abnormal=right))).pairs[0].labels == labels


def test_a_manifest_for_inference_needs_no_labels(folder: Path) -> None:
    needed = ("pair_id", "patient_id", "view", "laterality", "path")
    table = [{column: row[column] for column in needed} for row in pair_rows()]
    (pair,) = read_manifest(write(folder, table)).pairs
    assert pair.right.abnormal is None
    assert (pair.right.split, pair.right.pixel_aspect, pair.right.lesions) == (None, 1.0, ())
    with pytest.raises(ManifestError, match="no labels"):
        _ = pair.labels


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"path": "../outside.png"}, "leaves"),
        ({"path": "x/../../outside.png"}, "leaves"),
        ({"path": "/etc/passwd"}, "leaves"),
        ({"path": "../../../../etc/passwd"}, "leaves"),
        ({"path": ""}, "no usable path"),
        ({"path": "r\0.png"}, "no usable path"),
        ({"path": "absent.png"}, "no such file"),
        ({"path": "."}, "no such file"),
        ({"path": "n" * 5000}, "cannot be looked up"),
        ({"mask": "../outside.png"}, "leaves"),
        ({"view": "XCCL"}, "view is 'XCCL'"),
        ({"laterality": "B"}, "laterality is 'B'"),
        ({"abnormal": "yes"}, "abnormal is 'yes'"),
        ({"patient_id": ""}, "no patient_id"),
        ({"pixel_aspect": "nan"}, "pixel_aspect"),
        ({"pixel_aspect": "-1"}, "pixel_aspect"),
        ({"pixel_aspect": "wide"}, "pixel_aspect"),
        ({"lesions": "[{"}, "not JSON"),
        ({"lesions": "[" * 100_000}, "not JSON"),
        ({"lesions": '{"x": 1}'}, "not a list"),
        ({"lesions": '[{"x": 1, "y": 2}]'}, "a lesion is"),
        ({"lesions": '[{"x": 1, "y": 2, "r": 0}]'}, "a lesion is"),
        ({"lesions": '[{"x": NaN, "y": 2, "r": 1}]'}, "a lesion is"),
        ({"lesions": '[{"x": "1", "y": 2, "r": 1}]'}, "a lesion is"),
        ({"lesions": '[{"x0": 5, "y0": 2, "x1": 3, "y1": 4}]'}, "a lesion is"),
        ({"lesions": "[7]"}, "a lesion is"),
    ],
)
def test_a_bad_row_is_skipped_with_its_reason_and_so_is_its_partner(
    folder: Path, changes: dict[str, str], reason: str
) -> None:
    manifest = read_manifest(write(folder, pair_rows(**changes)))
    assert manifest.pairs == []
    (right, why), (left, partner) = manifest.skipped
    assert (right, left) == (changes.get("path", "r.png").strip(), "l.png")
    assert reason in why
    assert "partner" in partner


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pair_rows(patient_id="w2"), "two women are never paired"),
        (pair_rows(dataset="e"), "two women are never paired"),
        (pair_rows(laterality="L"), "two rows of laterality L"),
        (pair_rows(view="MLO"), "mixes the views"),
        (pair_rows(pair_id="p2"), "missing"),
        (pair_rows() + pair_rows()[:1], "3 rows"),
    ],
)
def test_rows_that_are_not_one_pair_are_all_skipped(folder: Path, table: Table, reason: str) -> None:
    manifest = read_manifest(write(folder, table))
    assert manifest.pairs == []
    assert len(manifest.skipped) == len(table)
    assert all(reason in why for _, why in manifest.skipped)


def test_one_bad_pair_leaves_the_others(folder: Path) -> None:
    other = [{**row, "pair_id": "p2", "view": "MLO"} for row in pair_rows()]
    manifest = read_manifest(write(folder, pair_rows(view="?") + other))
    assert [pair.pair_id for pair in manifest.pairs] == ["p2"]
    assert len(manifest.skipped) == 2


def test_absolute_paths_inside_of_the_root_are_used(folder: Path, tmp_path: Path) -> None:
    path = write(folder, pair_rows(path=str(folder / "r.png")))
    assert len(read_manifest(path).pairs) == 1
    moved = tmp_path / "elsewhere.csv"
    path.rename(moved)
    assert len(read_manifest(moved, root=folder).pairs) == 1


def test_an_unknown_aspect_is_the_datasets_own(folder: Path) -> None:
    table = [{**row, "dataset": "cesm"} for row in pair_rows()]
    assert read_manifest(write(folder, table)).pairs[0].right.pixel_aspect == KNOWN_PIXEL_ASPECT["cesm"] == 2.0
    table[0]["pixel_aspect"] = "1.5"
    pair = read_manifest(write(folder, table)).pairs[0]
    assert (pair.right.pixel_aspect, pair.left.pixel_aspect) == (1.5, 2.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column"),
        (b"path,view\nr.png,CC\n", "no column pair_id, patient_id, laterality"),
        (b"pair_id,patient_id,view,laterality,path\n", "no row"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"pair_id,patient_id,view,laterality,path\n" + b"x" * 2_000_000, "field"),
    ],
)
def test_what_is_not_a_manifest_is_a_manifest_error(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=said):
        read_manifest(path)


def test_an_absent_manifest_is_a_manifest_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


def test_lesions_are_circles_boxes_and_masks(folder: Path) -> None:
    spot = np.zeros((8, 8), np.uint8)
    spot[2:4, 5:8] = 255
    Image.fromarray(spot).save(folder / "mask.png")
    listed = '[{"x": 4, "y": 3, "r": 2}, {"x0": 1, "y0": 2, "x1": 3, "y1": 6}]'
    circle, box, mask = read_manifest(write(folder, pair_rows(lesions=listed, mask="mask.png"))).pairs[0].right.lesions
    assert (circle.kind, box.kind, mask.kind) == ("circle", "box", "mask")
    assert circle.bounds() == (2, 1, 6, 5)
    assert circle.mask(8, 8).sum() == 12  # a 4 × 4 square without its corners, whose centres are 2.1 away
    assert box.bounds() == (1, 2, 3, 6)
    assert box.mask(8, 8).sum() == 8
    assert mask.bounds() == (5, 2, 8, 4)
    np.testing.assert_array_equal(mask.mask(8, 8), spot > 0)
    with pytest.raises(ImageError, match="8"):
        mask.mask(9, 8)


def test_an_empty_mask_is_an_image_error(folder: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "mask.png")
    with pytest.raises(ImageError, match="empty"):
        Lesion("mask", path=folder / "mask.png").bounds()


@pytest.mark.parametrize(("dataset", "pairs", "symmetric"), [("mias", 120, 40), ("cesm", 309, 21)])
def test_the_real_manifests_read_entirely(data_root: Path, dataset: str, pairs: int, symmetric: int) -> None:
    manifest = read_manifest(data_root / dataset / "manifest.csv")
    assert (len(manifest.pairs), manifest.skipped) == (pairs, [])
    assert sum(pair.labels[0] == 0 for pair in manifest.pairs) == symmetric
    rows = [row for pair in manifest.pairs for row in (pair.right, pair.left)]
    assert sum(bool(row.lesions) for row in rows) == (82 if dataset == "mias" else 0)
    assert all(isinstance(row, ImageRow) for row in rows)
    assert all(isinstance(pair, PairRow) for pair in manifest.pairs)
