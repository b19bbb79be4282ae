"""`disasym prepare inbreast`: small files in the format of the release."""

import plistlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dicom_files import write_mammogram
from disasym.cli import main
from disasym.data.datasets.inbreast import parse_regions
from disasym.data.datasets.prepare import Prepared, PrepareOptions, prepare
from disasym.data.manifest import load_pair, read_manifest
from disasym.errors import ImageError, InputError

HEADER = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads\n"
ANNA, BERTA, CLARA = "6c613a14b80a8591", "036aff49b8ac84f0", "fe7d005dcbbfb46d"
# A woman with both views, one who came twice, and one with CC alone.
ROWS = (
    ("R", "CC", "200902", "20586908", "2", "2", ANNA),
    ("L", "CC", "200902", "20586934", "2", "5", ANNA),
    ("R", "MLO", "200902", "20586960", "2", "1", ANNA),
    ("L", "MLO", "200902", "20586986", "2", "4a", ANNA),
    ("R", "CC", "200901", "24055024", "     ", "1", BERTA),
    ("L", "CC", "200901", "24055078", "", "1", BERTA),
    ("R", "CC", "201001", "24065270", "1", "1", BERTA),
    ("L", "CC", "201001", "24065289", "1", "3", BERTA),
    ("R", "CC", "201001", "22678622", "4", "1", CLARA),
    ("L", "CC", "201001", "22678646", "4", "6", CLARA),
)


def annotation(*regions: tuple[str, list[tuple[float, float]]]) -> bytes:
    """An OsiriX property list, with some of the keys that nobody asks for."""
    listed = [
        {
            "Area": 0.5,
            "Center": "(1.0, 2.0, 0.0)",
            "IndexInImage": index,
            "Name": name,
            "NumberOfPoints": len(points),
            "Point_mm": ["(0.1, 0.2, 0.0)" for _ in points],
            "Point_px": [f"({x:.6f}, {y:.6f})" for x, y in points],
            "Type": 15,
        }
        for index, (name, points) in enumerate(regions)
    ]
    return plistlib.dumps({"Images": [{"ImageIndex": 0, "NumberOfROIs": len(listed), "ROIs": listed}]})


MASS = ("Mass", [(4.5, 10.0), (12.5, 10.0), (12.5, 20.0), (4.5, 20.0)])


def release(root: Path, *more: tuple[str, ...], rows: tuple[tuple[str, ...], ...] = ROWS, separator: str = ";") -> Path:
    """The folder of the release; its DICOM headers name a side and no view."""
    (root / "AllDICOMs").mkdir(parents=True)
    (root / "AllXML").mkdir()
    lines = [HEADER]
    for side, view, date, number, density, birads, woman in (*rows, *more):
        lines.append(f"removed;removed;{side};{view};{date};{number};{density};{birads}\n")
        short = view.replace("MLO", "ML")
        path = root / "AllDICOMs" / f"{number}_{woman}_MG_{side}_{short}_ANON.dcm"
        write_mammogram(path, laterality=side, patient="", ViewPosition=None, ViewCodeSequence=None, StudyDate=None)
        if birads != "1":
            (root / "AllXML" / f"{number}.xml").write_bytes(annotation(MASS))
    (root / "INbreast.csv").write_text("".join(lines).replace(";", separator))
    return root


def run(root: Path, split: str = "none", **options: object) -> Prepared:
    return prepare(PrepareOptions("inbreast", root, root.parent / "manifest.csv", split, **options))  # type: ignore[arg-type]


def problems(prepared: Prepared) -> list[tuple[str, str]]:
    return [(problem.kind, Path(problem.where).name) for problem in prepared.problems]


def test_women_come_from_the_file_names_and_exams_from_the_dates(tmp_path: Path) -> None:
    prepared = run(release(tmp_path / "INbreast Release 1.0"), check_images=True)
    assert not prepared.problems
    pairs = {(p.right.study_id, p.view): p for p in read_manifest(prepared.manifest).pairs}
    assert sorted(pairs) == [
        (f"{BERTA}-200901", "CC"),
        (f"{BERTA}-201001", "CC"),
        (f"{ANNA}-200902", "CC"),
        (f"{ANNA}-200902", "MLO"),
        (f"{CLARA}-201001", "CC"),
    ]
    assert len({pair.patient_id for pair in pairs.values()}) == 3
    assert {pair.dataset for pair in pairs.values()} == {"inbreast"}


def test_each_image_has_its_own_label_by_birads_with_letters(tmp_path: Path) -> None:
    pairs = {p.pair_id: p for p in run(release(tmp_path / "inbreast")).pairs}
    cc, mlo = pairs[f"inbreast-{ANNA}-200902-CC"], pairs[f"inbreast-{ANNA}-200902-MLO"]
    assert (cc.labels, mlo.labels) == ((1, 1, 1), (1, 0, 1)), "Bi-Rads 2 is abnormal, as in the paper"
    assert (mlo.left.birads, mlo.left.density, mlo.left.finding) == ("4a", "2", "Mass")
    assert pairs[f"inbreast-{BERTA}-200901-CC"].right.density == ""


def test_women_are_shared_out_six_to_two_to_two(tmp_path: Path) -> None:
    rows = tuple(
        (side, "CC", "201001", f"{woman:04d}{'RL'.index(side)}", "1", "1", f"{woman:016x}")
        for woman in range(20)
        for side in "RL"
    )
    parts = [pair.right.split for pair in run(release(tmp_path / "inbreast", rows=rows), "ratios").pairs]
    assert [parts.count(name) for name in ("train", "validation", "test")] == [12, 4, 4]
    twice = run(release(tmp_path / "again"), "ratios", seed=3).pairs
    assert len({pair.right.split for pair in twice if pair.patient_id == BERTA}) == 1, "her exams stay together"


def test_outlines_are_polygons_in_the_pixels_of_the_file_and_one_point_is_one_pixel(tmp_path: Path) -> None:
    root = release(tmp_path / "inbreast")
    dots = ("Calcifications", [(7.25, 8.75)])
    region = ("Espiculated Region", [(1.0, 1.0), (5.0, 1.0), (5.0, 5.0)])
    muscle = ("PectoralMuscle", [(0.0, 0.0), (9.0, 0.0), (0.0, 9.0)])
    (root / "AllXML" / "20586934.xml").write_bytes(annotation(dots, region, ("Unnamed", []), muscle))
    prepared = run(root)
    assert not prepared.problems
    left = next(pair.left for pair in read_manifest(prepared.manifest).pairs if pair.left.path.name[:8] == "20586934")
    assert [lesion.bounds() for lesion in left.lesions] == [(7, 8, 8, 9), (1, 1, 5, 5)]
    assert list(left.lesions[1].points) == [(1, 1), (5, 1), (5, 5)]
    assert left.finding == "Calcification;Spiculated Region"


def test_the_manifest_can_be_loaded_although_the_headers_name_no_view(tmp_path: Path) -> None:
    prepared = run(release(tmp_path / "inbreast"))
    views = load_pair(read_manifest(prepared.manifest).pairs[0], 64, 32)
    assert views.shape == (2, 64, 32)
    assert views.max() == 1


def test_a_header_of_another_side_than_the_table_costs_the_image(tmp_path: Path) -> None:
    root = release(tmp_path / "inbreast")
    path = next(root.rglob("22678646_*"))
    write_mammogram(path, laterality="R", ViewPosition=None, ViewCodeSequence=None)
    pair = next(pair for pair in run(root).pairs if pair.left.path == path)
    with pytest.raises(ImageError, match="the manifest says L CC, the file R CC"):
        load_pair(pair, 64, 32)
    prepared = run(root, check_images=True)
    assert problems(prepared) == [
        ("unreadable image", path.name),
        ("one-sided exam", f"22678622_{CLARA}_MG_R_CC_ANON.dcm"),
    ]


def test_a_table_that_contradicts_a_file_name_costs_the_image(tmp_path: Path) -> None:
    root = release(tmp_path / "inbreast")
    path = next(root.rglob("22678646_*"))
    path.rename(path.with_name(path.name.replace("_L_", "_R_")))
    prepared = run(root)
    assert [kind for kind, _ in problems(prepared)] == ["conflicting label", "one-sided exam"]
    assert "the table says L CC, the file's name R CC" in prepared.problems[0].reason


def test_repeated_exposures_other_views_and_lone_breasts_make_no_pair(tmp_path: Path) -> None:
    again = ("R", "CC", "201001", "22678700", "4", "1", CLARA)
    other = ("R", "FB", "201001", "22678800", "4", "1", CLARA)
    alone = ("L", "MLO", "200801", "50998177", "3", "2", CLARA)
    prepared = run(release(tmp_path / "inbreast", again, other, alone))
    kinds = [kind for kind, _ in problems(prepared)]
    assert kinds == ["unusable row", "one-sided exam", "several images", "several images", "several images"]
    assert "view is 'FB'" in prepared.problems[0].reason
    assert CLARA not in {pair.patient_id for pair in prepared.pairs}


def test_files_that_are_missing_or_unknown_or_doubled_are_listed(tmp_path: Path) -> None:
    root = release(tmp_path / "inbreast")
    next(root.rglob("24055078_*")).unlink()
    next(root.rglob("24065289_*")).rename(root / "AllDICOMs" / "renamed.dcm")
    twin = next(root.rglob("22678646_*"))
    write_mammogram(twin.with_name(twin.name.replace(CLARA, ANNA)), laterality="L")
    write_mammogram(root / "AllDICOMs" / f"99999999_{ANNA}_MG_R_CC_ANON.dcm")
    assert problems(run(root)) == [
        ("unusable row", "renamed.dcm"),
        ("missing file", "INbreast.csv:7"),
        ("missing file", "INbreast.csv:9"),
        ("several images", "INbreast.csv:11"),
        ("no label", f"99999999_{ANNA}_MG_R_CC_ANON.dcm"),
        *[
            ("one-sided exam", f"{number}_{woman}_MG_R_CC_ANON.dcm")
            for number, woman in (("24055024", BERTA), ("24065270", BERTA), ("22678622", CLARA))
        ],
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<plist>not really",
        plistlib.dumps({"Images": [{"ROIs": [{"Name": "Mass"}]}]}),
        plistlib.dumps({"Images": [{"ROIs": [{"Name": "Mass", "Point_px": ["(1.0)"]}]}]}),
        plistlib.dumps({"Images": [{"ROIs": [{"Name": "Mass", "Point_px": ["(nan, 2.0)"]}]}]}),
        b'<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "b">]><plist><dict><key>Images</key></dict></plist>',
    ],
)
def test_an_annotation_that_is_none_costs_the_outlines_and_not_the_label(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"point|property list|not enough values"):
        parse_regions(content)
    root = release(tmp_path / "inbreast")
    (root / "AllXML" / "20586934.xml").write_bytes(content)
    prepared = run(root)
    assert problems(prepared) == [("unreadable annotation", "20586934.xml")]
    assert next(p for p in prepared.pairs if p.view == "CC" and p.patient_id == ANNA).labels == (1, 1, 1)


def test_birads_and_outlines_that_contradict_each_other_are_listed_and_birads_counts(tmp_path: Path) -> None:
    root = release(tmp_path / "inbreast")
    (root / "AllXML" / "20586934.xml").unlink()  # Bi-Rads 5
    (root / "AllXML" / "22678622.xml").write_bytes(annotation(MASS))  # Bi-Rads 1
    prepared = run(root)
    assert problems(prepared) == [("unreadable annotation", "20586934.xml"), ("conflicting label", "22678622.xml")]
    clara = next(pair for pair in prepared.pairs if pair.patient_id == CLARA)
    assert (clara.labels, clara.right.lesions) == ((1, 0, 1), ())


def test_a_spreadsheet_wants_saving_and_commas_do_as_well(tmp_path: Path) -> None:
    root = release(tmp_path / "inbreast", separator=",")
    assert len(run(root).pairs) == 5
    (root / "INbreast.csv").rename(root / "INbreast.xls")
    with pytest.raises(InputError, match=r"save its table as INbreast\.csv"):
        run(root)


def test_converted_pictures_do_where_there_is_no_dicom_file(tmp_path: Path) -> None:
    root = release(tmp_path / "inbreast")
    for path in [*root.rglob("22678*.dcm")]:
        Image.fromarray(np.zeros((40, 24), np.uint8)).save(path.with_suffix(".png"))
        if "_R_" in path.name:
            path.unlink()
    clara = next(pair for pair in run(root).pairs if pair.patient_id == CLARA)
    assert (clara.right.path.suffix, clara.left.path.suffix) == (".png", ".dcm")


def test_the_command_names_the_ratios_of_the_paper(tmp_path: Path) -> None:
    root = release(tmp_path / "inbreast")
    result = CliRunner().invoke(main, ["prepare", "inbreast", str(root), "--out", str(tmp_path / "manifest.csv")])
    assert result.exit_code == 0, result.output
    assert "5 pairs of 3 women" in result.output
