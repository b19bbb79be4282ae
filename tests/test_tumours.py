"""The bank of tumours: what is cut, what is left out and why, and a file that cannot lie."""

import contextlib
import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from disasym.data.bank import BORDER, REFERENCE_HEIGHT, TumourBank, make_bank
from disasym.data.enhancing import Spot, enhancing_lesions, names_a_mass
from disasym.data.manifest import load_mammogram, read_manifest
from disasym.data.tumours import build_bank, cut
from disasym.errors import InputError
from disasym.spec import Array
from pairs import breast, write_pairs


@pytest.fixture
def bank(tmp_path: Path) -> TumourBank:
    return build_bank(read_manifest(write_pairs(tmp_path / "pairs", 8)).pairs).bank


def rewritten(path: Path, change: dict[str, np.ndarray]) -> Path:
    """The bank file with some arrays replaced and everything else as it was."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **(arrays | change))
    return path


def described(manifest: Path, **cells: str) -> Path:
    """The manifest with these cells in every abnormal row."""
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [row | (cells if row["abnormal"] == "1" else {}) for row in rows]
    with manifest.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in rows for key in row)), restval="")
        table.writeheader()
        table.writerows(rows)
    return manifest


def test_each_circle_becomes_a_tumour_in_the_middle_of_its_patch(tmp_path: Path) -> None:
    pairs = read_manifest(write_pairs(tmp_path, 8)).pairs
    built = build_bank(pairs)
    assert len(built.bank) == 4
    assert built.bank.datasets == {"made": 4}
    assert built.skipped == ()
    sick = [row for p in pairs for row in (p.right, p.left) if row.lesions]
    for tumour, row in zip(built.bank.tumours, sick, strict=True):
        scale = load_mammogram(row, REFERENCE_HEIGHT, REFERENCE_HEIGHT // 2).geometry.scale_y
        assert tumour.sigma == pytest.approx((9 * scale / BORDER,) * 2, rel=1e-2)
        bright = tumour.pixels > tumour.level + 0.5 * tumour.contrast
        y, x = (float(axis.mean()) for axis in np.nonzero(bright))
        assert (y, x) == pytest.approx([(n - 1) / 2 for n in tumour.pixels.shape], abs=1.5 * scale)
        inside = tumour.distance <= BORDER
        assert (bright & inside).sum() / (bright | inside).sum() > 0.8
        assert tumour.contrast > 0.3


def test_a_box_and_a_mask_give_the_tumour_that_the_circle_gives(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path, 1)
    (pair,) = read_manifest(manifest).pairs
    circle = build_bank([pair]).bank.tumours[0]
    (lesion,) = pair.right.lesions
    box = {"x0": lesion.x0, "y0": lesion.y0, "x1": lesion.x1, "y1": lesion.y1}
    (boxed,) = build_bank(read_manifest(described(manifest, lesions=json.dumps([box]))).pairs).bank.tumours
    np.testing.assert_array_equal(boxed.pixels, circle.pixels)
    mask = np.zeros((128, 96), np.uint8)
    mask[int(lesion.y0) : int(lesion.y1), int(lesion.x0) : int(lesion.x1)] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (masked,) = build_bank(read_manifest(described(manifest, lesions="", mask="mask.png")).pairs).bank.tumours
    np.testing.assert_array_equal(masked.pixels, circle.pixels)


@pytest.mark.parametrize(
    ("circle", "reason"),
    [
        ({"x": 30, "y": 64, "r": 0.5}, "lesion too small"),
        ({"x": 30, "y": 64, "r": 40}, "lesion too large"),
        ({"x": 500, "y": 64, "r": 9}, "lesion outside the breast"),
        ({"x": 8, "y": 20, "r": 9}, "lesion outside the breast"),
    ],
)
def test_a_lesion_that_makes_no_tumour_is_reported_with_its_reason(
    tmp_path: Path, circle: dict[str, float], reason: str
) -> None:
    good = read_manifest(write_pairs(tmp_path / "good", 1)).pairs
    bad = read_manifest(described(write_pairs(tmp_path / "bad", 1), lesions=json.dumps([circle]))).pairs
    built = build_bank([*good, *bad])
    assert len(built.bank) == 1
    ((path, why),) = built.skipped
    assert path == str(bad[0].right.path)
    assert reason in why


def test_a_lesion_no_brighter_than_the_tissue_around_it_is_left_out(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path, 1)
    tissue = breast(np.random.default_rng(1))[:, ::-1]
    (pair,) = read_manifest(manifest).pairs
    Image.fromarray((tissue * 255).astype(np.uint8)).save(pair.right.path)
    with pytest.raises(InputError, match="not brighter than its surroundings"):
        build_bank([pair])


def test_a_damaged_image_is_reported_and_the_others_are_used(tmp_path: Path) -> None:
    pairs = read_manifest(write_pairs(tmp_path, 4)).pairs
    pairs[0].right.path.write_bytes(b"\x89PNG\r\n\x1a\n")
    built = build_bank(pairs)
    assert len(built.bank) == 1
    assert [path for path, _ in built.skipped] == [str(pairs[0].right.path)]


def test_no_annotation_at_all_is_refused_with_the_next_step(tmp_path: Path) -> None:
    pairs = read_manifest(write_pairs(tmp_path, 2)).pairs
    with pytest.raises(InputError, match=r"no image has a circle, box or mask.*--enhancing"):
        build_bank(pairs[1:])


def test_what_is_not_breast_takes_the_level_of_the_ring() -> None:
    view = np.zeros((1024, 512), np.float32)
    view[:, :300] = 0.4
    y, x = np.mgrid[0:1024, 0:512]
    view[(y - 500) ** 2 + (x - 220) ** 2 < 40**2] = 0.8
    tumour = cut(view, Spot(500.5, 220.5, 40.0, 40.0))
    assert tumour.pixels.shape == (205, 205)  # 2·⌈3·40 / 1.177⌉ + 1
    assert tumour.level == pytest.approx(0.4, abs=1e-3)
    np.testing.assert_allclose(tumour.pixels[:, -15:], 0.4, atol=1e-3)


def test_a_bank_is_read_as_it_was_written_and_the_same_bank_gives_the_same_bytes(
    bank: TumourBank, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    bank.save(one)
    loaded = TumourBank.load(one)
    loaded.save(two)
    assert one.read_bytes() == two.read_bytes()
    assert loaded.datasets == bank.datasets
    assert loaded.sha256 == bank.sha256
    for a, b in zip(loaded.tumours, bank.tumours, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert a.sigma == b.sigma


def test_the_metadata_say_what_is_in_the_file_and_nothing_about_women(bank: TumourBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npz")
    with np.load(tmp_path / "bank.npz", allow_pickle=False) as file:
        metadata = json.loads(file["metadata"].tobytes())
    assert metadata == {
        "format": "disasym-tumours-1",
        "reference_height": 1024,
        "count": 4,
        "datasets": {"made": 4},
        "sha256": bank.sha256,
    }


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_one_changed_byte_is_refused_or_changes_nothing(bank: TumourBank, tmp_path: Path, at: int, byte: int) -> None:
    path = tmp_path / "bank.npz"
    bank.save(path)
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte
    path.write_bytes(content)
    with contextlib.suppress(InputError):  # anything else is a bug
        assert TumourBank.load(path).sha256 == bank.sha256


def test_damage_is_refused_in_one_sentence(bank: TumourBank, tmp_path: Path) -> None:
    path = tmp_path / "bank.npz"
    with pytest.raises(InputError, match="there is no tumour bank at"):
        TumourBank.load(path)
    path.write_text("not a bank")
    with pytest.raises(InputError, match="is not a tumour bank"):
        TumourBank.load(path)
    bank.save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="is not a tumour bank"):
        TumourBank.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(InputError, match="is not a tumour bank"):
        TumourBank.load(path)
    bank.save(path)
    with pytest.raises(InputError, match="is damaged: its content has SHA-256"):
        TumourBank.load(rewritten(path, {"sigmas": np.ones((4, 2), np.float32)}))


def test_a_file_of_another_format_is_refused_with_both(bank: TumourBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npz")
    metadata = np.frombuffer(json.dumps({"format": "disasym-tumours-9"}).encode(), np.uint8)
    with pytest.raises(InputError, match=r"disasym-tumours-9.*this version reads \('disasym-tumours-1', 1024\)"):
        TumourBank.load(rewritten(tmp_path / "bank.npz", {"metadata": metadata}))


def test_pickled_objects_are_refused(bank: TumourBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npz")
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(InputError, match="is not a tumour bank"):
        TumourBank.load(rewritten(tmp_path / "bank.npz", {"pixels": objects}))


def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disasym.data.bank.LARGEST_FILE", 1000)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pixels.npy", bytes(2000))
    (tmp_path / "bomb.npz").write_bytes(content.getvalue())
    with pytest.raises(InputError, match="unpacks to 2000 bytes, at most 1000"):
        TumourBank.load(tmp_path / "bomb.npz")


def test_a_bank_scales_with_the_rows_of_the_network(bank: TumourBank) -> None:
    for big, small in zip(bank.tumours, bank.at(256), strict=True):
        assert small.sigma == pytest.approx([s / 4 for s in big.sigma], rel=0.02)
        assert small.level == pytest.approx(big.level, abs=0.02)
        assert small.contrast == pytest.approx(big.contrast, abs=0.05)
    assert bank.at(256) is bank.at(256)


def test_sampling_follows_the_generator_and_reaches_every_tumour(bank: TumourBank) -> None:
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    drawn = [bank.sample(rng, 256) for _ in range(60)]
    assert all(a is bank.sample(again, 256) for a in drawn)
    assert {id(t) for t in drawn} == {id(t) for t in bank.at(256)}


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(InputError, match="at least one tumour"):
        make_bank([])


@pytest.mark.parametrize(
    ("finding", "mass"),
    [
        ("Heterogenously enhancing mass with speculated margin", True),
        ("Two irregular heterogenously enhancing masses and rim enhancing mass", True),
        ("Segmental non mass enhancement", False),
        ("No mass or non mass enhancement", False),
        ("Heterogenously enhancing mass and regional non mass enhancement", True),
        ("Foci of enhancement", False),
        ("Massive calcification", False),
        ("", False),
    ],
)
def test_a_finding_names_a_mass_or_not(finding: str, mass: bool) -> None:
    assert names_a_mass(finding) is mass


def subtraction(spots: list[tuple[int, int, int, float]]) -> Array:
    """An even 512 × 256 breast in noise with bright discs (row, column, radius, brightness)."""
    y, x = np.mgrid[0:512, 0:256]
    view = 0.3 + np.random.default_rng(0).normal(0, 0.03, (512, 256))
    for row, column, radius, brightness in spots:
        view[(y - row) ** 2 + (x - column) ** 2 < radius**2] += brightness
    inside = ((y - 256) / 240) ** 2 + (x / 240) ** 2 < 1
    return np.where(inside, np.clip(view, 0.01, 1), 0).astype(np.float32)


def test_the_enhancing_mass_is_found_and_not_the_clip_on_the_skin() -> None:
    (spot,) = enhancing_lesions(subtraction([(300, 90, 22, 0.25), (256, 212, 11, 0.55)]))
    assert (spot.y, spot.x) == pytest.approx((300, 90), abs=4)
    assert spot.half_height == pytest.approx(22, rel=0.5)


def test_a_gland_that_enhances_as_a_whole_a_band_and_an_even_breast_are_no_mass() -> None:
    assert enhancing_lesions(subtraction([])) == ()
    assert enhancing_lesions(subtraction([(256, 60, 130, 0.4)])) == ()
    band = subtraction([])
    band[240:270][band[240:270] > 0] += 0.4
    assert enhancing_lesions(band) == ()


def test_images_without_annotation_are_searched_only_when_asked_and_only_where_a_mass_is_named(tmp_path: Path) -> None:
    manifest = described(write_pairs(tmp_path, 4), lesions="", finding="Heterogenously enhancing mass")
    pairs = read_manifest(manifest).pairs
    with pytest.raises(InputError, match="--enhancing"):
        build_bank(pairs)
    assert len(build_bank(pairs, enhancing=True).bank) == 2
    other = read_manifest(described(manifest, finding="Segmental non mass enhancement")).pairs
    with pytest.raises(InputError, match="no image has"):
        build_bank(other, enhancing=True)


@pytest.mark.slow
def test_mini_mias_gives_a_bank_of_its_circles(data_root: Path) -> None:
    pairs = read_manifest(data_root / "mias" / "manifest.csv").pairs
    built = build_bank(pairs)
    assert len(built.bank) + len(built.skipped) == sum(len(r.lesions) for p in pairs for r in (p.right, p.left))
    assert len(built.bank) > 60
    assert all(tumour.contrast > 0.04 for tumour in built.bank.tumours)
