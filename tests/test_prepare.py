"""`disasym prepare`: a data set's folder → a manifest that train and infer read, and a list of what was not used."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from disasym.cli import main
from disasym.data.datasets.prepare import Prepared, PrepareOptions, prepare
from disasym.data.manifest import PairRow, read_manifest
from disasym.errors import InputError

MIAS = "mdb001 G CIRC B 535 425 197\nmdb002 G NORM\nmdb003 D NORM\nmdb004 D NORM\nmdb005 F NORM\nmdb006 F NORM\n"
CESM = "Image_name,Side,View,BIRADS,Pathology Classification/ Follow up\n"


def mias(folder: Path, text: str = MIAS, films: int = 6) -> Path:
    folder.mkdir()
    (folder / "Info.txt").write_text(text)
    for film in range(1, films + 1):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / f"mdb{film:03d}.png")
    return folder


def cesm(folder: Path, *rows: str) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "Radiology-manual-annotations.csv").write_text(CESM + "".join(f"{row}\n" for row in rows))
    for woman in "123":
        for side in "RL":
            Image.fromarray(np.zeros((8, 4), np.uint8)).save(folder / "images" / f"P{woman}_{side}_CM_CC.jpg")
    return folder


def women() -> list[str]:
    return [f"P{woman}_{side}_CM_CC,{side},CC,1,Normal" for woman in "123" for side in "RL"]


def problems(prepared: Prepared) -> list[tuple[str, str]]:
    return [(problem.kind, problem.where) for problem in prepared.problems]


def run(dataset: str, folder: Path, **options: object) -> Prepared:
    return prepare(PrepareOptions(dataset, folder, folder.parent / "manifest.csv", **options))  # type: ignore[arg-type]


def facts(pair: PairRow) -> list[tuple[object, ...]]:
    return [(row.path.name, row.laterality, row.view, row.abnormal, row.lesions) for row in (pair.right, pair.left)]


@pytest.mark.parametrize(("dataset", "folder", "pairs"), [("mini-mias", "mias", 120), ("cdd-cesm", "cesm", 309)])
def test_the_real_tables_give_the_pairs_and_labels_of_their_known_manifest(
    dataset: str, folder: str, pairs: int, data_root: Path, tmp_path: Path
) -> None:
    (tmp_path / folder).symlink_to(data_root / folder)
    prepared = run(dataset, tmp_path / folder)
    known = read_manifest(data_root / folder / "manifest.csv")
    found = read_manifest(prepared.manifest)
    assert len(found.pairs) == pairs
    assert not found.skipped
    assert {pair.pair_id: facts(pair) for pair in found.pairs} == {pair.pair_id: facts(pair) for pair in known.pairs}
    assert {pair.right.pixel_aspect for pair in found.pairs} == {pair.right.pixel_aspect for pair in known.pairs}
    parts = [pair.right.split for pair in found.pairs]
    assert parts.count("train") / pairs == pytest.approx(0.8, abs=0.03)
    assert parts.count("test") / pairs == pytest.approx(0.1, abs=0.03)
    assert all(pair.right.split == pair.left.split for pair in found.pairs)
    of_women = {(pair.patient_id, pair.right.split) for pair in found.pairs}
    assert len(of_women) == len({woman for woman, _ in of_women})


def test_a_circle_is_counted_from_the_bottom_and_an_odd_film_is_a_right_breast(tmp_path: Path) -> None:
    pair = run("mini-mias", mias(tmp_path / "mias")).pairs[0]
    assert (pair.right.path.name, pair.left.path.name) == ("mdb001.png", "mdb002.png")
    assert pair.labels == (1, 1, 0)
    assert pair.right.lesions[0].bounds() == (535 - 197, 1023 - 425 - 197, 535 + 197, 1023 - 425 + 197)


def test_a_missing_film_and_its_widowed_partner_are_listed(tmp_path: Path) -> None:
    prepared = run("mini-mias", mias(tmp_path / "mias", MIAS + "mdb007 G NORM\nmdb008 G NORM\n", films=7))
    assert problems(prepared) == [("missing file", "mdb008"), ("one-sided exam", "mdb007.png")]
    with (tmp_path / "manifest.problems.csv").open(newline="") as file:
        assert [row["kind"] for row in csv.DictReader(file)] == ["missing file", "one-sided exam"]


def test_a_lesion_without_a_circle_and_a_film_both_normal_and_not_are_listed(tmp_path: Path) -> None:
    text = MIAS + "mdb003 D CALC B\nmdb007 F CALC B *NOTE 3*\nmdb008 F NORM\n"
    prepared = run("mini-mias", mias(tmp_path / "mias", text, films=8))
    assert problems(prepared) == [
        ("conflicting label", "mdb003"),
        ("unreadable annotation", "mdb007"),
        ("one-sided exam", "mdb004.png"),
    ]
    assert prepared.pairs[-1].labels == (1, 1, 0)


def test_a_table_that_contradicts_a_name_about_the_side_costs_the_image(tmp_path: Path) -> None:
    rows = [*women(), "P4_R_CM_CC,L,CC,1,Normal"]
    prepared = run("cdd-cesm", cesm(tmp_path / "cesm", *rows))
    assert problems(prepared) == [("conflicting label", "Radiology-manual-annotations.csv:8")]
    assert len(prepared.pairs) == 3


def test_two_rows_that_disagree_about_an_image_cost_it_and_a_repeat_does_not(tmp_path: Path) -> None:
    folder = cesm(tmp_path / "cesm", *women(), women()[2], "P1_R_CM_CC,R,CC,5,Malignant")
    prepared = run("cdd-cesm", folder, ratios=(1, 1, 0))
    assert problems(prepared) == [
        ("conflicting label", "Radiology-manual-annotations.csv:2"),
        ("duplicate row", "Radiology-manual-annotations.csv:8"),
        ("one-sided exam", "images/P1_L_CM_CC.jpg"),
    ]


def test_two_files_of_one_name_are_not_chosen_between(tmp_path: Path) -> None:
    folder = cesm(tmp_path / "cesm", *women())
    (folder / "copy").mkdir()
    (folder / "copy" / "P3_L_CM_CC.jpg").write_bytes((folder / "images" / "P1_L_CM_CC.jpg").read_bytes())
    prepared = run("cdd-cesm", folder, ratios=(1, 1, 0))
    assert [kind for kind, _ in problems(prepared)] == ["several images", "one-sided exam"]


def test_an_outline_drawn_by_hand_reaches_the_manifest(tmp_path: Path) -> None:
    folder = cesm(tmp_path / "cesm", *women()[1:], "P1_R_CM_CC,R,CC,4$2,Malignant")
    shape = json.dumps({"name": "polygon", "all_points_x": [0, 3, 3], "all_points_y": [0, 0, 5]}).replace('"', '""')
    (folder / "Radiology_hand_drawn_segmentations_v2.csv").write_text(
        f'#filename,region_shape_attributes\nP1_R_CM_CC.jpg,"{shape}"\nP2_R_CM_CC.jpg,broken\n'
    )
    prepared = run("cdd-cesm", folder)
    assert problems(prepared) == [("unreadable annotation", "Radiology_hand_drawn_segmentations_v2.csv:3")]
    pair = read_manifest(prepared.manifest).pairs[0]
    assert pair.labels == (1, 1, 0)
    assert pair.right.lesions[0].points == ((0, 0), (3, 0), (3, 5))


def test_a_film_that_does_not_open_is_found_when_asked_for(tmp_path: Path) -> None:
    folder = mias(tmp_path / "mias")
    (folder / "mdb006.png").write_bytes(b"no film")
    prepared = run("mini-mias", folder, check_images=True, ratios=(1, 1, 0))
    assert problems(prepared)[-2:] == [("unreadable image", "mdb006.png"), ("one-sided exam", "mdb005.png")]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_writes_the_same_bytes(seed: int, tmp_path: Path) -> None:
    folder = mias(tmp_path / "mias")
    first = run("mini-mias", folder, seed=seed).manifest.read_bytes()
    assert run("mini-mias", folder, seed=seed).manifest.read_bytes() == first


def test_a_manifest_apart_from_its_images_is_refused(tmp_path: Path) -> None:
    folder = mias(tmp_path / "mias")
    with pytest.raises(InputError, match="below its own folder"):
        prepare(PrepareOptions("mini-mias", folder, tmp_path / "elsewhere" / "manifest.csv"))


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prepare", *map(str, arguments)])


def test_the_command_counts_pairs_and_problems(tmp_path: Path) -> None:
    folder = mias(tmp_path / "mias", MIAS + "mdb007 G NORM\n", films=7)
    result = command("mini-mias", folder, "--out", tmp_path / "manifest.csv")
    assert result.exit_code == 0, result.output
    assert "3 pairs of 3 women, 2 symmetric" in result.output
    assert "one-sided exam          1" in result.output


def test_a_folder_without_the_table_is_one_sentence(tmp_path: Path) -> None:
    result = command("mini-mias", tmp_path, "--out", tmp_path / "manifest.csv")
    assert result.exit_code == 2
    assert "holds no Info.txt" in result.output


@pytest.mark.slow
def test_train_takes_the_manifest_as_it_is_written(data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")
    folder = tmp_path / "mias"
    folder.mkdir()
    numbers = (1, 2, 7, 8, 15, 16)
    text = (data_root / "mias" / "Info.txt").read_text(encoding="latin-1").splitlines()
    (folder / "Info.txt").write_text("\n".join(line for line in text if line[:6] in {f"mdb{n:03d}" for n in numbers}))
    for number in numbers:
        (folder / f"mdb{number:03d}.png").write_bytes((data_root / "mias" / f"mdb{number:03d}.png").read_bytes())
    manifest = run("mini-mias", folder).manifest
    options = ["--manifest", manifest, "--out", tmp_path / "run", "--preset", "small", "--epochs", 1, "--no-synthesis"]
    result = CliRunner().invoke(main, ["train", *map(str, options)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "model.safetensors").is_file()
