"""The tables of a run: columns, whole rows, and what a full disk leaves."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disasym.dicom import Fate
from disasym.errors import InputError
from disasym.infer.results import (
    BOXES,
    COLUMNS,
    CSV,
    FILES,
    JSONL,
    LesionBox,
    LiveRows,
    Row,
    panel_name,
    read_rows,
    write_boxes,
    write_fates,
    write_rows,
)

ROW = Row(
    pair_id="8dff61592e12cfcd",
    exam_id="0f1e2d3c4b5a6978",
    study_uid="1.2.3",
    patient_id_hash="15d9a270d628d2c6",
    view="CC",
    right_sop_uid="1.2.4",
    left_sop_uid="1.2.5",
    p_asymmetry=0.4,
    p_abnormal_right=0.612832,
    p_abnormal_left=1e-06,
    paired_by="study",
    model_sha256="0" * 64,
    engine="onnxruntime",
    boxes=(LesionBox("L", 10.25, 20.0, 110.0, 220.5, 0.75, "cam"),),
    panel="images/8dff61592e12cfcd.png",
    dicom="dicom/8dff61592e12cfcd-sr.dcm",
)


def test_the_columns_of_the_specification_stand_in_their_order() -> None:
    specified = (
        "study_uid patient_id_hash view right_sop_uid left_sop_uid p_asymmetry p_abnormal_right p_abnormal_left"
        " paired_by model_sha256 engine"
    )
    assert ("pair_id", "exam_id", *specified.split(), "boxes", "panel", "dicom", "calibrated") == COLUMNS


def test_a_row_reads_back_and_probabilities_have_six_digits(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    write_rows(folder, [ROW.line()])
    header, line = (folder / CSV).read_text().splitlines()
    assert header == ",".join(COLUMNS)
    assert ",0.400000,0.612832,0.000001," in line
    assert list(read_rows(folder)) == [ROW]


def test_no_box_found_and_nobody_looked_are_told_apart(tmp_path: Path) -> None:
    rows = [replace(ROW, boxes=()), replace(ROW, boxes=None)]
    write_rows(tmp_path, [row.line() for row in rows])
    assert list(read_rows(tmp_path)) == rows
    with (tmp_path / CSV).open(newline="") as file:
        assert [row["boxes"] for row in csv.DictReader(file)] == ["[]", ""]


def test_boxes_stand_one_a_row_with_the_uid_of_their_own_film(tmp_path: Path) -> None:
    right = LesionBox("R", 0.0, 1.5, 20.0, 30.0, 0.5, "abnormality")
    write_boxes(tmp_path, [replace(ROW, boxes=(right, *(ROW.boxes or ()))), replace(ROW, boxes=None)])
    assert (tmp_path / BOXES).read_text().splitlines() == [
        "pair_id,view,sop_uid,laterality,x0,y0,x1,y1,score,outline",
        "8dff61592e12cfcd,CC,1.2.4,R,0.00,1.50,20.00,30.00,0.500000,abnormality",
        "8dff61592e12cfcd,CC,1.2.5,L,10.25,20.00,110.00,220.50,0.750000,cam",
    ]


@given(st.text())
def test_any_identifier_survives_the_tables(tmp_path: Path, pair_id: str) -> None:
    pair_id = pair_id.replace("\0", "")
    write_rows(tmp_path, [replace(ROW, pair_id=pair_id).line()])
    with (tmp_path / CSV).open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["pair_id"], json.loads((tmp_path / JSONL).read_bytes())["pair_id"]) == (pair_id, pair_id)


@given(st.text())
@example("0.")  # the dot of the suffix makes two of it
@example("a..b")
def test_a_picture_gets_a_safe_name_whatever_the_identifier(pair_id: str) -> None:
    assert re.fullmatch(r"images/[a-z0-9][a-z0-9._-]*\.png", panel_name(pair_id))
    assert ".." not in panel_name(pair_id)
    assert len(panel_name(pair_id)) < 100


def test_pictures_of_different_pairs_have_different_names_also_where_case_does_not_count() -> None:
    names = ["a", "A", "a-", "../a", "..\\a", "a/b", "a b", "", "é", "x" * 200, "x" * 201, "con/../a"]
    assert len({panel_name(name).lower() for name in names}) == len(names)


@pytest.mark.parametrize("limit", [50, 700, 1500])
def test_a_full_disk_leaves_whole_rows_and_one_sentence(tmp_path: Path, limit: int) -> None:
    pytest.importorskip("resource", reason="file size limits are a POSIX feature")
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from disasym.infer.results import LiveRows\n"
        "from disasym.errors import InputError\n"
        "from test_results import ROW\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        "    with LiveRows(Path(sys.argv[1])) as rows:\n"
        "        for _ in range(20): rows.append(ROW.line())\n"
        "except InputError as error: print(error)\n"
    )
    tests = Path(__file__).parent
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(tests), str(tests.parent)]}\n{script}"]
    result = subprocess.run([*command, tmp_path, str(limit)], check=True, capture_output=True, text=True)
    assert "the results cannot be written" in result.stdout
    written = (tmp_path / JSONL).read_bytes()
    assert len(written) <= limit
    assert not written or written.endswith(b"\n")
    for line in (tmp_path / JSONL).read_text().splitlines():
        assert Row.read(line) == ROW


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        LiveRows(tmp_path / "file" / "out")


def test_a_new_run_removes_the_fates_of_the_old_one(tmp_path: Path) -> None:
    write_fates(tmp_path, [Fate(Path("a.dcm"), "used", "paired by study")])
    LiveRows(tmp_path).close()
    assert not (tmp_path / FILES).exists()


def test_fates_are_written_with_forward_slashes(tmp_path: Path) -> None:
    write_fates(tmp_path, [Fate(Path("a") / "b, c.dcm", "failed", 'it says "no"')])
    assert (tmp_path / FILES).read_text() == 'path,fate,reason\n"a/b, c.dcm",failed,"it says ""no"""\n'
