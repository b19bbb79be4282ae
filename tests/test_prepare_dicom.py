"""`disasym prepare` for data sets of DICOM files, CMMD and VinDr-Mammo: small files in the published format."""

from pathlib import Path

import pytest

from dicom_files import write_mammogram
from disasym.data.datasets.prepare import Prepared, PrepareOptions, prepare
from disasym.data.manifest import PairRow, read_manifest
from disasym.errors import InputError

CMMD = "ID1,LeftRight,Age,number,abnormality,classification,subtype\n"
VINDR = "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split\n"
FINDINGS = "image_id,finding_categories,finding_birads,xmin,ymin,xmax,ymax\n"


def cmmd(folder: Path, *rows: str, women: int = 3) -> Path:
    """Both breasts in CC of some women, below the folders that the downloader of the archive makes."""
    (folder / "CMMD").mkdir(parents=True)
    (folder / "CMMD_clinicaldata_revision.csv").write_text(CMMD + "".join(f"{row}\n" for row in rows))
    for woman in range(1, women + 1):
        series = folder / "CMMD" / f"D1-{woman:04d}" / "1.3.6.1" / "1.3.6.2"
        series.mkdir(parents=True)
        for number, side in enumerate("LR", 1):
            write_mammogram(series / f"1-{number}.dcm", laterality=side, patient=f"D1-{woman:04d}")
    return folder


def biopsied(*women: int) -> list[str]:
    return [f"D1-{woman:04d},{side},44,2,mass,Malignant,HER2" for woman in women for side in "LR"]


def vindr(folder: Path, *findings: str, birads: str = "2111", exams: int = 2) -> Path:
    """Exams of one view; `birads` of the breasts in turn, left before right."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for place, grade in enumerate(birads):
        exam, side = f"e{place // 2}", "LR"[place % 2]
        rows.append(f"{exam},s,{exam}{side},{side},CC,40,24,BI-RADS {grade},DENSITY C,training\n")
        if place // 2 < exams:
            (folder / "images" / exam).mkdir(parents=True, exist_ok=True)
            write_mammogram(folder / "images" / exam / f"{exam}{side}.dicom", laterality=side, patient=exam)
    (folder / "breast-level_annotations.csv").write_text(VINDR + "".join(rows))
    (folder / "finding_annotations.csv").write_text(FINDINGS + "".join(f"{row}\n" for row in findings))
    return folder


def run(dataset: str, folder: Path, **options: object) -> Prepared:
    return prepare(PrepareOptions(dataset, folder, folder.parent / "manifest.csv", "none", **options))  # type: ignore[arg-type]


def problems(prepared: Prepared) -> list[tuple[str, str]]:
    return [(problem.kind, problem.where) for problem in prepared.problems]


def sides(pair: PairRow) -> list[tuple[str, str, bool | None]]:
    return [(row.path.name, row.laterality, row.abnormal) for row in (pair.right, pair.left)]


def test_cmmd_takes_side_and_view_from_the_headers_and_the_label_from_the_table(tmp_path: Path) -> None:
    prepared = run("cmmd", cmmd(tmp_path / "cmmd", *biopsied(1, 2, 3)))
    found = read_manifest(prepared.manifest)
    assert not prepared.problems
    assert not found.skipped
    assert [pair.pair_id for pair in found.pairs] == ["cmmd-D1-0001-CC", "cmmd-D1-0002-CC", "cmmd-D1-0003-CC"]
    assert sides(found.pairs[0]) == [("1-2.dcm", "R", True), ("1-1.dcm", "L", True)]
    assert (found.pairs[0].right.pathology, found.pairs[0].right.finding) == ("Malignant", "mass")


def test_a_breast_that_cmmd_says_nothing_about_is_not_taken_for_normal(tmp_path: Path) -> None:
    folder = cmmd(tmp_path / "cmmd", *biopsied(1, 2), "D1-0003,R,50,2,calcification,Benign,")
    left = "CMMD/D1-0003/1.3.6.1/1.3.6.2/1-1.dcm"
    prepared = run("cmmd", folder)
    assert len(prepared.pairs) == 2
    assert ("no label", left) in problems(prepared)
    kept = run("cmmd", folder, keep_unlabelled=True)
    assert sides(kept.pairs[2]) == [("1-2.dcm", "R", True), ("1-1.dcm", "L", None)]


def test_two_rows_that_disagree_about_a_breast_cost_its_pair(tmp_path: Path) -> None:
    folder = cmmd(tmp_path / "cmmd", *biopsied(1, 2, 3), "D1-0003,R,44,2,mass,Benign,", biopsied(1)[0])
    prepared = run("cmmd", folder)
    table, right = "CMMD_clinicaldata_revision.csv", "CMMD/D1-0003/1.3.6.1/1.3.6.2/1-2.dcm"
    assert problems(prepared)[:3] == [
        ("duplicate row", f"{table}:9"),
        ("conflicting label", f"{table}:7"),
        ("conflicting label", right),
    ]
    assert len(prepared.pairs) == 2


def test_a_woman_without_a_row_and_a_row_without_a_woman_are_listed(tmp_path: Path) -> None:
    folder = cmmd(tmp_path / "cmmd", *biopsied(1, 2), "D1-0009,L,44,2,mass,Malignant,", ",L,44,2,mass,Benign,")
    assert problems(run("cmmd", folder)) == [
        ("unusable row", "CMMD_clinicaldata_revision.csv:7"),
        ("unusable row", "CMMD/D1-0003/1.3.6.1/1.3.6.2/1-1.dcm"),
        ("unusable row", "CMMD/D1-0003/1.3.6.1/1.3.6.2/1-2.dcm"),
        ("missing file", "D1-0009 L"),
    ]


def test_every_row_of_the_published_cmmd_table_is_understood(data_root: Path, tmp_path: Path) -> None:
    folder = cmmd(tmp_path / "cmmd")
    (folder / "CMMD_clinicaldata_revision.csv").write_bytes(
        (data_root / "annotations" / "cmmd_csv" / "cmmd_raw_label.csv").read_bytes()
    )
    prepared = run("cmmd", folder, keep_unlabelled=True)
    kinds = prepared.counts()
    assert set(kinds) == {"missing file", "no label"}
    assert kinds["missing file"] + 3 == 1872  # D1-0001 R, D1-0002 L, D1-0003 L have a file here
    assert [[row.abnormal for row in (pair.right, pair.left)] for pair in prepared.pairs] == [
        [True, None],
        [None, True],
        [None, True],
    ]


def test_vindr_calls_birads_1_normal_and_keeps_boxes_categories_and_density(tmp_path: Path) -> None:
    folder = vindr(
        tmp_path / "vindr",
        "e0L,\"['Mass', 'Skin Thickening']\",BI-RADS 4,1.5,2,10,20.25",
        "e0L,\"['Mass']\",BI-RADS 3,3,3,5,5",
        "e0R,\"['No Finding']\",,,,,",
        birads="4112",
    )
    prepared = run("vindr-mammo", folder)
    assert not prepared.problems
    first, second = read_manifest(prepared.manifest).pairs
    assert (first.labels, second.labels) == ((1, 0, 1), (1, 1, 0))
    assert (first.left.finding, first.left.birads, first.left.density) == ("Mass;Skin Thickening", "4", "C")
    assert [lesion.bounds() for lesion in first.left.lesions] == [(1.5, 2, 10, 20.25), (3, 3, 5, 5)]
    assert not second.right.lesions


NO_BOXES = ("Mass,,1,1,2,2", "\"['Mass']\",,5,1,2,2", "\"['Mass']\",,nan,1,2,2", "\"['Mass']\",,,,,")


@pytest.mark.parametrize("finding", NO_BOXES)
def test_a_finding_of_vindr_that_is_no_box_is_listed_and_the_label_stays(finding: str, tmp_path: Path) -> None:
    prepared = run("vindr-mammo", vindr(tmp_path / "vindr", f"e0L,{finding}"))
    assert problems(prepared) == [("unreadable annotation", "finding_annotations.csv:2")]
    assert prepared.pairs[0].labels == (1, 0, 1)


def test_a_header_of_another_side_than_the_table_costs_the_image_where_headers_are_read(tmp_path: Path) -> None:
    folder = vindr(tmp_path / "vindr")
    write_mammogram(folder / "images" / "e1" / "e1L.dicom", laterality="R", patient="e1")
    prepared = run("vindr-mammo", folder, check_images=True)
    assert problems(prepared) == [
        ("unreadable image", "images/e1/e1L.dicom"),
        ("one-sided exam", "images/e1/e1R.dicom"),
    ]
    assert "the table says L CC, the file R CC" in prepared.problems[0].reason


def test_names_that_lead_elsewhere_and_files_that_are_not_there_are_listed(tmp_path: Path) -> None:
    folder = vindr(tmp_path / "vindr", exams=1)
    table = folder / "breast-level_annotations.csv"
    table.write_text(table.read_text().replace("e1,s,e1L", "../e1,s,e1L"))
    assert problems(run("vindr-mammo", folder)) == [
        ("refused path", f"{table.name}:4"),
        ("missing file", f"{table.name}:5"),
    ]


def test_an_archive_without_a_usable_pair_says_what_was_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pair in .*missing file 4.*problems\.csv"):
        run("vindr-mammo", vindr(tmp_path / "vindr", exams=0))
