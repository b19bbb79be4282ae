"""`disasym evaluate`: which pairs, what is said about them, what is written, and whether it is evidence."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("sklearn", reason="scikit-learn is absent: pip install '.[evaluate]'")

from disasym.cli import main
from disasym.errors import InputError
from disasym.evaluate.evidence import BUNDLED, doubts
from disasym.evaluate.part import read_part
from disasym.export.manifest import read_manifest as read_export
from disasym.metrics import auc
from pairs import write_pairs

OTHER = "0" * 64  # the SHA-256 of no model


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Eight pairs: four for training, one for validation, three for the test."""
    path = write_pairs(tmp_path / "data", 8)
    parts = ["train"] * 4 + ["validation"] + ["test"] * 3
    return with_splits(path, {f"made-{at}": part for at, part in enumerate(parts)})


def with_splits(path: Path, splits: dict[str, str], **columns: dict[str, str]) -> Path:
    """The manifest again with a column `split`, and others by pair_id."""
    rows = rows_of(path)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [*rows[0], *({"split", *columns} - set(rows[0]))])
        table.writeheader()
        for row in rows:
            more = {name: values.get(row["pair_id"], row.get(name, "")) for name, values in columns.items()}
            table.writerow({**row, "split": splits.get(row["pair_id"], ""), **more})
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def evaluate(manifest: Path, out: Path, model: Path, *arguments: object) -> Result:
    told = ["evaluate", "--manifest", manifest, "--out", out, "--model", model, "--threads", 1, "--bootstraps", 50]
    return CliRunner().invoke(main, [str(each) for each in (*told, *arguments)], prog_name="disasym")


# The whole command


def test_the_test_pairs_are_scored_and_every_table_says_the_same(
    tmp_path: Path, manifest: Path, small_export: Path
) -> None:
    result = evaluate(manifest, tmp_path / "out", small_export)
    assert result.exit_code == 0, result.output
    assert "split test: 3 of 3 pairs, 3 women" in result.stdout
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (found["split"], found["pairs"], found["evidence"]) == ("test", {"chosen": 3, "scored": 3}, True)
    told = rows_of(tmp_path / "out" / "predictions.csv")
    assert [row["pair_id"] for row in told] == ["made-5", "made-6", "made-7"]
    labels = [float(row[f"abnormal_{side}"]) for row in told for side in ("right", "left")]
    scores = [float(row[f"p_abnormal_{side}"]) for row in told for side in ("right", "left")]
    area = auc(labels, scores)
    assert found["metrics"][0]["figures"]["auc"]["value"] == area
    (row,) = (r for r in rows_of(tmp_path / "out" / "metrics.csv") if (r["level"], r["figure"]) == ("side", "auc"))
    assert float(row["value"]) == pytest.approx(area, abs=1e-6)
    assert f"{area:.3f} [" in (tmp_path / "out" / "report.md").read_text()
    assert f"{area:.3f} [" in result.stdout


def test_calibration_and_lesions_are_in_every_table_and_drawn(
    tmp_path: Path, manifest: Path, small_export: Path
) -> None:
    result = evaluate(manifest, tmp_path / "out", small_export, "--split", "all")
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    metrics = {(row["level"], row["group"], row["figure"]): row for row in rows_of(out / "metrics.csv")}
    scores = [
        float(row[f"p_abnormal_{side}"]) for row in rows_of(out / "predictions.csv") for side in ("right", "left")
    ]
    labels = [float(row[f"abnormal_{side}"]) for row in rows_of(out / "predictions.csv") for side in ("right", "left")]
    brier = np.mean((np.array(scores) - labels) ** 2)
    assert float(metrics["side", "", "brier"]["value"]) == pytest.approx(brier, abs=1e-5)
    assert metrics["image", "map", "mean_tiou"]["entries"] == "4", "every second pair has a lesion on one side"
    assert (
        metrics["lesion", "", "froc_sensitivity_at_1"]["entries"],
        metrics["lesion", "", "froc_sensitivity_at_1"]["positives"],
    ) == ("16", "4")
    found = json.loads((out / "evaluation.json").read_text())
    assert found["lesions"]["map"]["figures"]["iou"]["value"] == pytest.approx(
        float(metrics["image", "map", "iou"]["value"]), abs=1e-6
    )
    assert {row["curve"] for row in rows_of(out / "curves.csv")} == {"reliability", "froc"}
    report = (out / "report.md").read_text()
    for name in ("roc.png", "reliability.png", "froc.png"):
        assert f"]({name})" in report
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert "heat map alone" in result.stdout


def test_a_model_without_heat_maps_locates_nothing_and_an_old_picture_goes(
    tmp_path: Path, manifest: Path, scores_export: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "froc.png").write_bytes(b"of another evaluation")
    assert evaluate(manifest, tmp_path / "out", scores_export, "--quiet").exit_code == 0
    assert "Not looked for: the model makes no heat map" in (tmp_path / "out" / "report.md").read_text()
    assert not (tmp_path / "out" / "froc.png").exists()


def test_the_same_evaluation_writes_the_same_bytes(tmp_path: Path, manifest: Path, small_export: Path) -> None:
    for name in ("a", "b"):
        assert evaluate(manifest, tmp_path / name, small_export, "--quiet").output == ""
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_scores_are_those_of_infer(tmp_path: Path, manifest: Path, small_export: Path) -> None:
    assert evaluate(manifest, tmp_path / "out", small_export, "--split", "all", "--batch", 3).exit_code == 0
    told = ["infer", manifest, "--out", tmp_path / "infer", "--model", small_export, "--write", "scores", "--batch", 3]
    assert CliRunner().invoke(main, [str(each) for each in (*told, "--threads", 1)]).exit_code == 0
    theirs = {row["pair_id"]: row for row in rows_of(tmp_path / "infer" / "results.csv")}
    ours = rows_of(tmp_path / "out" / "predictions.csv")
    assert len(ours) == len(theirs) == 8
    for row in ours:
        for name in ("p_asymmetry", "p_abnormal_right", "p_abnormal_left"):
            assert row[name] == theirs[row["pair_id"]][name]


def test_two_models_are_compared_level_by_level(tmp_path: Path, manifest: Path, small_export: Path) -> None:
    result = evaluate(manifest, tmp_path / "out", small_export, "--split", "all", "--against", small_export)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out" / "comparison.csv")
    assert [row["level"] for row in rows] == ["side", "pair", "woman"]
    for row in rows:
        assert (float(row["difference"]), float(row["low"]), float(row["delong_p"])) == (0, 0, 1)
    assert "## Against the other model" in (tmp_path / "out" / "report.md").read_text()
    evaluate(manifest, tmp_path / "out", small_export)
    assert not (tmp_path / "out" / "comparison.csv").exists()  # it spoke of another evaluation


def test_groups_have_rows_of_their_own(tmp_path: Path, manifest: Path, small_export: Path) -> None:
    result = evaluate(manifest, tmp_path / "out", small_export, "--split", "all", "--by", "laterality,view")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out" / "metrics.csv")
    assert {(row["column"], row["group"]) for row in rows if row["level"] == "side"} == {
        ("", ""),
        ("laterality", "L"),
        ("laterality", "R"),
        ("view", "MLO"),
    }
    assert all("10 of each are needed" in row["note"] for row in rows if row["column"] == "view")


def test_a_damaged_file_costs_its_pair_and_is_named(tmp_path: Path, manifest: Path, small_export: Path) -> None:
    (manifest.parent / "made-6-L.png").write_bytes(b"no picture")
    result = evaluate(manifest, tmp_path / "out", small_export)
    assert result.exit_code == 1
    assert "made-6-L.png" in result.stderr
    assert [row["pair_id"] for row in rows_of(tmp_path / "out" / "predictions.csv")] == ["made-5", "made-7"]
    (left,) = rows_of(tmp_path / "out" / "left_out.csv")
    assert (Path(left["path"]).name, left["fate"]) == ("made-6-L.png", "failed")


def test_no_patient_identifier_is_written(tmp_path: Path, manifest: Path, small_export: Path) -> None:
    rows = rows_of(manifest)
    names = {row["pair_id"]: f"Erika-{row['pair_id']}" for row in rows}
    with_splits(manifest, {row["pair_id"]: "test" for row in rows}, patient_id=names)
    result = evaluate(manifest, tmp_path / "out", small_export)
    assert result.exit_code == 0, result.output
    assert "Erika" not in result.output + "".join(path.read_text("latin-1") for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "tset"), "no split 'tset', it has test (3 pairs), train (4 pairs), validation (1 pairs)"),
        (("--by", "hospital"), "no groups by hospital"),
        (("--against", "nowhere"), "no model at nowhere"),
    ],
)
def test_a_wrong_command_is_refused_with_what_there_is(
    tmp_path: Path, manifest: Path, small_export: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = evaluate(manifest, tmp_path / "out", small_export, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


# Which pairs


def test_without_any_split_all_pairs_are_taken_and_with_splits_but_no_test_one_must_be_named(tmp_path: Path) -> None:
    path = write_pairs(tmp_path, 4)
    assert (read_part(path, None).name, len(read_part(path, None).pairs)) == ("all", 4)
    with_splits(path, {f"made-{at}": "fold1" for at in range(4)})
    with pytest.raises(InputError, match=r"no split 'test', it has fold1 \(4 pairs\)"):
        read_part(path, None)


def test_a_table_of_splits_takes_the_place_of_the_manifests(tmp_path: Path, manifest: Path) -> None:
    table = tmp_path / "split.csv"
    table.write_text("dataset,pair_id,split\nmade,made-0,test\nmade,made-1,train\nother,made-2,test\n")
    part = read_part(manifest, None, table)
    assert [pair.rows.pair_id for pair in part.pairs] == ["made-0"]
    assert {pair.split for pair in part.others} == {"train", ""}


def test_a_pair_in_two_splits_is_refused(tmp_path: Path, manifest: Path) -> None:
    lines = manifest.read_text().splitlines()
    lines[-1] = lines[-1].removesuffix("test") + "train"
    manifest.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="right side is in split 'test', its left in 'train'"):
        read_part(manifest, None)
    table = tmp_path / "split.csv"
    table.write_text("dataset,pair_id,split\nmade,made-0,test\nmade,made-0,train\n")
    with pytest.raises(InputError, match="'made-0' is in 'test' and in 'train'"):
        read_part(manifest, None, table)


# Evidence


def test_test_pairs_are_no_ground_for_doubt_and_all_others_are(manifest: Path) -> None:
    model = Path("export")
    assert doubts(read_part(manifest, "test"), model, OTHER) == ()
    (training,) = doubts(read_part(manifest, "train"), model, OTHER)
    assert training.startswith("4 of 4 pairs are training pairs")
    (validation,) = doubts(read_part(manifest, "validation"), model, OTHER)
    assert "a model chosen by them looks better" in validation
    assert len(doubts(read_part(manifest, "all"), model, OTHER)) == 2


def test_pairs_without_a_split_are_a_doubt_that_names_the_runs_own_table(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "data", 2)
    (unknown,) = doubts(read_part(path, None), Path("export"), OTHER)
    assert unknown == "the split of 2 of 2 pairs is unknown: the model may know them"
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.safetensors").touch()
    (run / "split.csv").write_text("dataset,pair_id,split\nmade,made-0,train\nmade,made-1,test\n")
    unknown, trained = doubts(read_part(path, None), run / "model.safetensors", OTHER)
    assert f"--splits {run / 'split.csv'} says which" in unknown
    assert trained.startswith("the model was trained on 1 of these pairs")
    assert doubts(read_part(path, "test", run / "split.csv"), run / "model.safetensors", OTHER) == ()


def test_a_woman_with_training_pairs_too_is_a_doubt(tmp_path: Path) -> None:
    path = write_pairs(tmp_path, 2)
    with_splits(path, {"made-0": "train", "made-1": "test"}, patient_id={"made-0": "w", "made-1": "w"})
    (shared,) = doubts(read_part(path, "test"), Path("export"), OTHER)
    assert shared.startswith("1 of the women have training pairs too")


@pytest.mark.parametrize(("dataset", "known"), [("mias", True), ("CDD-CESM", True), ("", True), ("inbreast", False)])
def test_the_bundled_weights_prove_nothing_on_what_they_were_trained_on(
    tmp_path: Path, dataset: str, known: bool
) -> None:
    path = write_pairs(tmp_path, 2)
    both = ("made-0", "made-1")
    with_splits(path, dict.fromkeys(both, "test"), dataset=dict.fromkeys(both, dataset))
    part = read_part(path, "test")
    found = doubts(part, BUNDLED, read_export(BUNDLED).model_sha256)
    assert bool(found) == known
    assert all("bundled demonstration weights were trained on" in doubt for doubt in found)
    assert doubts(part, BUNDLED, OTHER) == ()


def test_a_copy_of_the_bundled_weights_under_another_name_is_known_by_its_hash(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "data", 4, dataset="mias")
    with_splits(path, {f"mias-{at}": "test" for at in range(4)})
    shutil.copytree(BUNDLED, tmp_path / "ours")
    result = evaluate(path, tmp_path / "out", tmp_path / "ours")
    assert result.exit_code == 0, result.output
    assert "NO EVIDENCE" in result.stdout
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.index("NO EVIDENCE") < report.index("AUC")
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["evidence"] is False


def test_data_sets_together_are_a_doubt_and_each_has_its_own_figures(tmp_path: Path, small_export: Path) -> None:
    path = write_pairs(tmp_path / "data", 4)
    numbers = range(4)
    sets = {f"made-{at}": "xy"[at // 2] for at in numbers}
    with_splits(path, {f"made-{at}": "test" for at in numbers}, dataset=sets)
    result = evaluate(path, tmp_path / "out", small_export)
    assert "2 data sets together" in result.stdout
    rows = [row for row in rows_of(tmp_path / "out" / "metrics.csv") if row["level"] == "woman"]
    columns = {(row["column"], row["group"]) for row in rows}
    assert columns == {("", ""), ("dataset", "x"), ("dataset", "y")}


def test_real_films_are_evaluated(tmp_path: Path, data_root: Path) -> None:
    rows = rows_of(data_root / "mias" / "manifest.csv")[:12]
    for row in rows:
        (tmp_path / row["path"]).symlink_to(data_root / "mias" / row["path"])
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    result = evaluate(tmp_path / "manifest.csv", tmp_path / "out", BUNDLED)
    assert result.exit_code == 0, result.output
    told = rows_of(tmp_path / "out" / "predictions.csv")
    assert len(told) == 6
    assert np.isfinite([float(row["p_asymmetry"]) for row in told]).all()
    assert "NO EVIDENCE" in result.stdout
