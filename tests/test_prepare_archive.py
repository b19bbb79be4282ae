"""`disasym prepare csv`: a table of one's own, with its own names of columns."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from disasym.cli import main
from disasym.data.manifest import read_manifest

HEADER = "patient_id,study_id,view,laterality,path,abnormal,birads,finding"
ROWS = (
    "Canary-1,2020,CC,R,a/1.png,0,1,",
    "Canary-1,2020,CC,Left,a/2.png,1,4,mass",
    "Canary-1,2022,CC,RIGHT,a/3.png,,1,",
    "Canary-1,2022,CC,l,a/4.png,,2,cyst",
)


def archive(folder: Path, *rows: str, header: str = HEADER, name: str = "images.csv") -> Path:
    (folder / "a").mkdir(parents=True)
    (folder / name).write_text("\n".join([header, *rows]))
    for number in range(1, 5):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "a" / f"{number}.png")
    return folder


def command(folder: Path, *arguments: str) -> Result:
    given = ["prepare", "csv", str(folder), "--split", "none", "--out", str(folder / "m.csv"), *arguments]
    return CliRunner().invoke(main, given)


def problems(folder: Path) -> list[str]:
    return (folder / "m.problems.csv").read_text().splitlines()[1:]


def test_two_exams_of_a_woman_are_two_pairs_of_one_woman(tmp_path: Path) -> None:
    folder = archive(tmp_path / "archive", *ROWS)
    result = command(folder)
    assert result.exit_code == 0, result.output
    assert "2 pairs of 1 women, 0 symmetric" in result.output
    pairs = read_manifest(folder / "m.csv").pairs
    of_files = {pair.right.path.name: pair for pair in pairs}
    assert of_files["1.png"].labels == (1, 0, 1)
    assert of_files["3.png"].labels == (1, 0, 1), "BI-RADS 2 is abnormal where the table does not say otherwise"
    assert of_files["3.png"].left.finding == "cyst"


def test_the_manifest_names_no_woman(tmp_path: Path) -> None:
    folder = archive(tmp_path / "archive", *ROWS, "Canary-2,1,CC,X,a/1.png,0,,")
    output = command(folder).output
    for text in (output, (folder / "m.csv").read_text(), (folder / "m.problems.csv").read_text()):
        assert "Canary" not in text


def test_other_names_of_columns_and_semicolons_are_taken(tmp_path: Path) -> None:
    header = "Woman;View;Side;File;study_id;abnormal"
    rows = ("7;CC;R;a/1.png;1;0", "7;CC;L;a/2.png;1;0")
    folder = archive(tmp_path / "archive", *rows, header=header, name="export.csv")
    given = ("patient_id=Woman", "view=View", "laterality=Side", "path=File")
    result = command(folder, *(word for text in given for word in ("--column", text)))
    assert result.exit_code == 0, result.output
    assert read_manifest(folder / "m.csv").pairs[0].labels == (0, 0, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "no column laterality, it has patient_id, view, Side, path: give --column laterality=ITS_NAME"),
        (("--column", "laterality=Seite"), "no column Seite"),
        (("--column", "side=Side"), "--column side=…: the columns are patient_id, view, laterality, path"),
        (("--column", "laterality"), "--column takes OURS=THEIRS"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    given: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    folder = archive(tmp_path / "archive", "1,CC,R,a/1.png", header="patient_id,view,Side,path")
    result = command(folder, *given)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_every_row_that_cannot_be_used_is_listed(tmp_path: Path) -> None:
    rows = (
        ",1,CC,R,a/1.png,0,,",
        "9,1,CC,R,a/2.png,yes,,",
        "9,1,CC,both,a/3.png,0,,",
        "9,1,ML,R,a/4.png,0,,",
        "9,1,CC,R,/etc/hostname,0,,",
        "9,1,CC,R,a/5.png,0,,",
    )
    folder = archive(tmp_path / "archive", *rows)
    result = command(folder)
    assert result.exit_code == 2
    assert [line.split(",")[:2] for line in problems(folder)] == [
        ["unusable row", "images.csv:2"],
        ["unusable row", "images.csv:3"],
        ["unusable row", "images.csv:4"],
        ["unusable row", "images.csv:5"],
        ["refused path", "images.csv:6"],
        ["missing file", "images.csv:7"],
    ]


def test_rows_that_disagree_about_the_side_of_a_file_cost_the_image(tmp_path: Path) -> None:
    folder = archive(tmp_path / "archive", *ROWS, ROWS[0].replace(",R,", ",L,"))
    assert command(folder).exit_code == 0
    assert [line.split(",")[0] for line in problems(folder)] == ["conflicting label", "one-sided exam"]
    assert len(read_manifest(folder / "m.csv").pairs) == 1


def test_a_label_against_its_birads_is_listed_and_counts(tmp_path: Path) -> None:
    folder = archive(tmp_path / "archive", ROWS[0].replace(",0,1,", ",0,5,"), ROWS[1])
    assert command(folder).exit_code == 0
    assert problems(folder) == ['conflicting label,images.csv:2,"abnormal 0, BI-RADS 5: abnormal counts"']
    assert read_manifest(folder / "m.csv").pairs[0].labels == (1, 0, 1)


def test_two_tables_are_not_chosen_between(tmp_path: Path) -> None:
    folder = archive(tmp_path / "archive", *ROWS, name="one.csv")
    (folder / "two.csv").write_text(HEADER)
    result = command(folder)
    assert result.exit_code == 2
    assert "holds 2 CSV tables and no images.csv" in " ".join(result.output.split())
