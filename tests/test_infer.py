"""`infer`: what goes in, what comes out, and that no file stops a run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from dicom_files import breast, write_ct, write_mammogram
from disasym.errors import EngineError, InputError
from disasym.infer import InferOptions, Summary, infer
from disasym.infer.jobs import find_work
from exams import COLUMNS, ROWS, files_of, rows_of, write_exam
from pairs import write_pairs
from tolerances import tolerance

SCORES = ("p_asymmetry", "p_abnormal_right", "p_abnormal_left")


def run(source: Path, out: Path, model: Path, **options: object) -> Summary:
    return infer(InferOptions(source=source, out=out, model=model, quiet=True, threads=1, **options))  # type: ignore[arg-type]


# The whole run


def test_every_file_of_a_mixed_folder_gets_one_fate_and_a_reason(tmp_path: Path, small_export: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    right, _ = write_exam(folder, "good")
    for path in write_exam(folder, "inverted"):  # another woman with the same films as MONOCHROME1
        side = "R" if "-R-" in path.name else "L"
        cells = np.roll(breast(ROWS, COLUMNS, 3000 if side == "R" else 4000), side == "L", axis=0)
        cells = 4095 - (cells[:, ::-1] if side == "R" else cells)
        write_mammogram(
            path, cells, laterality=side, patient="2", study="inverted", PhotometricInterpretation="MONOCHROME1"
        )
    (folder / "notes.txt").write_text("CC and MLO")
    (folder / "empty.dcm").touch()
    (folder / "truncated.dcm").write_bytes(right.read_bytes()[:-5000])
    write_ct(folder / "ct.dcm")
    write_mammogram(folder / "alone.dcm", breast(ROWS, COLUMNS), laterality="L", patient="alone", study="alone")
    shutil.copy(right, folder / "zz-duplicate.dcm")

    summary = run(folder, out, small_export)

    files = files_of(out)
    assert {name: fate for name, (fate, _) in files.items()} == {
        "good-R-CC.dcm": "used",
        "good-L-CC.dcm": "used",
        "inverted-R-CC.dcm": "used",
        "inverted-L-CC.dcm": "used",
        "notes.txt": "skipped",
        "empty.dcm": "failed",
        "truncated.dcm": "failed",
        "ct.dcm": "skipped",
        "alone.dcm": "skipped",
        "zz-duplicate.dcm": "skipped",
    }
    assert all(reason for _, reason in files.values())
    assert files["zz-duplicate.dcm"][1] == "duplicate of good-R-CC.dcm (same SOPInstanceUID)"
    good, inverted = rows_of(out)
    for name in SCORES:
        assert abs(float(good[name]) - float(inverted[name])) < tolerance("monochrome1 score")
    assert good["patient_id_hash"] != inverted["patient_id_hash"]
    assert (summary.scored, summary.exit_code) == (2, 1)


def test_skipped_files_alone_do_not_make_a_run_fail(tmp_path: Path, small_export: Path) -> None:
    write_exam(tmp_path / "in", "good")
    (tmp_path / "in" / "notes.txt").write_text("skipped with a reason")
    summary = run(tmp_path / "in", tmp_path / "out", small_export)
    assert (summary.count("used"), summary.count("skipped"), summary.count("failed")) == (2, 1, 0)
    assert summary.exit_code == 0


def test_a_file_that_fails_at_decoding_costs_only_its_pair(tmp_path: Path, small_export: Path) -> None:
    write_exam(tmp_path / "in", "a")
    damaged, _ = write_exam(tmp_path / "in", "b", syntax=uid.RLELossless)
    broken = encapsulate([bytes([2]) + bytes(200)])  # a header that reads well, a stream of nothing
    cells = breast(ROWS, COLUMNS)
    write_mammogram(damaged, cells, laterality="R", patient="b", study="b", syntax=uid.RLELossless, PixelData=broken)
    write_exam(tmp_path / "in", "c")
    summary = run(tmp_path / "in", tmp_path / "out", small_export)
    files = files_of(tmp_path / "out")
    assert files["b-R-CC.dcm"][0] == "failed"
    assert "RLE" in files["b-R-CC.dcm"][1]
    assert files["b-L-CC.dcm"] == ("skipped", "its partner b-R-CC.dcm failed")
    assert (summary.scored, len(rows_of(tmp_path / "out")), summary.exit_code) == (2, 2, 1)


def test_results_do_not_depend_on_workers(tmp_path: Path, small_export: Path) -> None:
    for number in range(5):
        write_exam(tmp_path / "in", f"woman{number}", seed=number)
    written = []
    for workers in (1, 4):
        out = tmp_path / f"out{workers}"
        run(tmp_path / "in", out, small_export, workers=workers, batch=2)
        names = [
            "results.csv",
            "results.jsonl",
            "files.csv",
            "boxes.csv",
            "exams.csv",
            "report.html",
            *(row["panel"] for row in rows_of(out)),
        ]
        written.append({name: (out / name).read_bytes() for name in names})
    assert written[0] == written[1]
    assert len(written[0]) == 6 + 5


def test_both_tables_say_the_same(tmp_path: Path, small_export: Path) -> None:
    write_exam(tmp_path / "in", "a")
    write_exam(tmp_path / "in", "a2", view="MLO")
    run(tmp_path / "in", tmp_path / "out", small_export, write=("scores",))
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text("utf-8").splitlines()]
    for row, line in zip(rows_of(tmp_path / "out"), lines, strict=True):
        assert list(row) == list(line)
        assert all(float(row[name]) == line[name] for name in SCORES)
        assert json.loads(row["boxes"]) == line["boxes"]
        assert row["calibrated"] == str(int(line["calibrated"])) == "0"
        assert all(row[name] == line[name] for name in row if name not in (*SCORES, "boxes", "calibrated"))
        assert row["panel"] == ""
    assert not (tmp_path / "out" / "images").exists()


def test_results_inside_the_folder_are_not_read_as_films(tmp_path: Path, small_export: Path) -> None:
    write_exam(tmp_path, "a")
    out = tmp_path / "deep" / "report"
    first = run(tmp_path, out, small_export)
    shutil.copy(tmp_path / "a-R-CC.dcm", out / "copy.dcm")
    assert run(tmp_path, out, small_export).fates == first.fates
    assert list(files_of(out)) == ["a-L-CC.dcm", "a-R-CC.dcm"]


def test_an_earlier_runs_tables_are_replaced(tmp_path: Path, small_export: Path) -> None:
    write_exam(tmp_path / "in", "a")
    for _ in range(2):
        run(tmp_path / "in", tmp_path / "out", small_export)
    assert len(rows_of(tmp_path / "out")) == 1


def test_an_empty_folder_gives_empty_tables(tmp_path: Path, small_export: Path) -> None:
    (tmp_path / "in").mkdir()
    summary = run(tmp_path / "in", tmp_path / "out", small_export)
    assert (summary.scored, summary.fates, summary.exit_code) == (0, (), 0)
    assert rows_of(tmp_path / "out") == []
    assert files_of(tmp_path / "out") == {}


def test_one_file_is_a_source_too(tmp_path: Path, small_export: Path) -> None:
    right, _ = write_exam(tmp_path / "in", "a")
    run(right, tmp_path / "out", small_export)
    assert files_of(tmp_path / "out")["a-R-CC.dcm"][0] == "skipped"


def test_a_manifest_of_pictures_is_a_source_too(tmp_path: Path, small_export: Path) -> None:
    manifest = write_pairs(tmp_path / "in", 3)
    (tmp_path / "in" / "made-1-L.png").write_bytes(b"no picture")
    manifest.write_text(manifest.read_text() + "made,solo,p9,MLO,R,made-0-R.png,,,,\n")
    summary = run(manifest, tmp_path / "out", small_export)
    files = files_of(tmp_path / "out")
    assert [row["pair_id"] for row in rows_of(tmp_path / "out")] == ["made-0", "made-2"]
    assert {row["paired_by"] for row in rows_of(tmp_path / "out")} == {"manifest"}
    assert files["made-1-L.png"][0] == "failed"
    assert files["made-1-R.png"] == ("skipped", "its partner made-1-L.png failed")
    assert files["made-0-R.png"] == ("used", "paired by manifest; its partner in pair 'solo' is missing")
    assert (summary.exit_code, len(files)) == (1, 6)


def test_a_manifest_and_a_folder_agree_on_the_same_films(tmp_path: Path, small_export: Path) -> None:
    write_exam(tmp_path / "in", "a")
    run(tmp_path / "in", tmp_path / "films", small_export)
    manifest = tmp_path / "in" / "table.csv"
    manifest.write_text(
        "pair_id,patient_id,view,laterality,path\nx,a,CC,R,a-R-CC.dcm\nx,a,CC,L,a-L-CC.dcm\n", encoding="utf-8"
    )
    run(manifest, tmp_path / "table", small_export)
    (film,), (row,) = rows_of(tmp_path / "films"), rows_of(tmp_path / "table")
    assert {name: film[name] for name in SCORES} == {name: row[name] for name in SCORES}
    assert film["patient_id_hash"] == row["patient_id_hash"]


def test_a_file_name_that_is_not_text_is_written_escaped(tmp_path: Path, small_export: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    try:
        (folder / "film-\udcff.dcm").touch()
    except OSError:
        pytest.skip("this file system takes only names that are text")
    run(folder, tmp_path / "out", small_export)
    assert list(files_of(tmp_path / "out")) == ["film-\\udcff.dcm"]


@pytest.mark.slow
def test_the_eight_real_films_give_four_pairs(tmp_path: Path, small_export: Path, films: list[dict[str, Path]]) -> None:
    summary = run(films[0]["rcc"].parent.parent, tmp_path / "out", small_export)
    assert (summary.scored, summary.count("used"), summary.exit_code) == (4, 8, 0)
    found = [(row["view"], row["paired_by"]) for row in rows_of(tmp_path / "out")]
    assert sorted(found) == [("CC", "cbis-ddsm-stem")] * 2 + [("MLO", "cbis-ddsm-stem")] * 2
    for row in rows_of(tmp_path / "out"):
        with Image.open(tmp_path / "out" / row["panel"]) as picture:
            picture.verify()


# What is refused before anything is read


def test_a_source_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_work(tmp_path / "nowhere")


def test_results_are_not_mixed_with_what_is_read(tmp_path: Path) -> None:
    write_exam(tmp_path, "a")
    with pytest.raises(InputError, match="the folder that is read"):
        find_work(tmp_path, tmp_path / "x" / "..")
    with pytest.raises(InputError, match="is a file"):
        find_work(tmp_path, tmp_path / "a-R-CC.dcm")
    with pytest.raises(InputError, match="overwritten"):
        find_work(tmp_path / "a-R-CC.dcm", tmp_path)


def test_a_bad_model_leaves_no_trace(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "a")
    with pytest.raises(EngineError, match="no model"):
        run(tmp_path / "in", tmp_path / "out", tmp_path / "none")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [{"batch": 0}, {"workers": 0}, {"threads": -1}, {"write": ("scores", "dreams")}])
def test_an_impossible_option_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"at least 1|dreams"):
        InferOptions(source=Path(), out=Path(), **option)  # type: ignore[arg-type]
