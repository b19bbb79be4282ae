"""What is planned, which women train and test, what is refused, and what becomes of a run that fails."""

import csv
import dataclasses
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from disasym.comparisons import METHODS
from disasym.data.manifest import load_mammogram, read_manifest
from disasym.data.tumours import TumourBank, build_bank
from disasym.efficientnet import EfficientNetLite0Head
from disasym.errors import InputError
from disasym.evaluate.truth import Truth
from disasym.model import DisAsymNet
from disasym.reproduce import ReproduceOptions, plan, reproduce
from disasym.reproduce.banks import banks_of_each
from disasym.reproduce.cell import finish, locate
from disasym.reproduce.frozen import pair_features, side_features
from disasym.reproduce.options import ABLATIONS, COMPARISONS, FROZEN
from disasym.reproduce.plan import DONE, FAILED, Cell, cells
from disasym.reproduce.study import folds_of, read_studies, some_of
from disasym.reproduce.timing import duration
from disasym.train.dataset import foreign_bank
from disasym.train.processes import Processes
from pairs import write_pairs
from reproductions import data, options


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return data(tmp_path_factory.mktemp("data"))


def planned(told: ReproduceOptions) -> list[Cell]:
    return cells(told, read_studies(told, Processes()))


def test_every_method_of_the_tables_is_a_method_and_all_of_them_are_used() -> None:
    assert {*COMPARISONS, *ABLATIONS} == set(METHODS)


def test_a_run_that_two_tables_need_is_planned_once(made: tuple[Path, Path], tmp_path: Path) -> None:
    listed = planned(options(*made, tmp_path, methods=(), fractions=(0.5, 1.0)))
    assert len({cell.folder for cell in listed}) == len(listed)
    whole = {cell.method for cell in listed if cell.fraction == 1}
    half = {cell.method for cell in listed if cell.fraction == 0.5}
    assert (whole, half) == (set(METHODS), set(COMPARISONS))
    assert len(listed) == 2 * (10 + 6)
    assert [cell.fraction for cell in listed] == sorted((cell.fraction for cell in listed), reverse=True)
    first = [cell.method for cell in listed if cell.fraction == 1 and cell.fold == 0]
    assert first == [
        cell.method for cell in listed if cell.fraction == 1 and cell.fold == 1
    ]  # all methods, then a fold


def test_no_woman_stands_in_two_parts_of_a_fold_and_each_is_tested_once(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    pairs = read_manifest(made[0]).pairs
    for scored in ("best", "last"):
        found = folds_of(pairs, options(*made, tmp_path, folds=3, scored=scored))
        tested = [pair.patient_id for fold in found for pair in fold.test]
        assert sorted(tested) == sorted({pair.patient_id for pair in pairs})
        for fold in found:
            women = [{pair.patient_id for pair in part} for part in (fold.train, fold.validation, fold.test)]
            assert not women[0] & women[1]
            assert not women[2] & (women[0] | women[1])
            assert bool(women[1]) == (scored == "best")
            assert len(fold.train) + len(fold.validation) + len(fold.test) == len(pairs)


def test_a_smaller_share_of_the_women_is_part_of_a_larger_one(made: tuple[Path, Path]) -> None:
    pairs = read_manifest(made[0]).pairs
    shares = [{pair.pair_id for pair in some_of(pairs, tenths / 10, seed=0)} for tenths in range(1, 11)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(shares))
    assert len(shares[4]) == pytest.approx(12, abs=2)
    assert len(shares[9]) == len(pairs)


def test_the_split_of_the_manifest_is_followed_and_its_absence_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"24 pairs have no whole split .* give --folds 5"):
        planned(options(*made, tmp_path, folds=0))
    rows = list(csv.DictReader(made[0].read_text().splitlines()))
    for number, row in enumerate(rows):
        row["split"] = ("train", "train", "validation", "test")[number // 2 % 4]
    split = made[0].parent / "split.csv"
    with split.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    listed = planned(options(split, made[1], tmp_path, folds=0, fractions=(1.0,)))
    assert [len(part) for part in (listed[0].parts.train, listed[0].parts.validation, listed[0].parts.test)] == [
        12,
        6,
        6,
    ]
    assert {cell.fold for cell in listed} == {0}


def test_every_method_gets_the_same_budget_and_only_a_head_that_starts_at_zero_its_own_rate(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    init = tmp_path / "lite0.safetensors"
    lite = {"preset": "lite", "init": init, "freeze": "shallow", "head_lr_factor": 10.0}
    told = _with(options(*made, tmp_path), **lite)
    runs = {method: told.run_options(method, tmp_path / method) for method in METHODS}
    assert {name for name, run in runs.items() if run.head_lr_factor == 10} == set(ABLATIONS)
    for name, run in runs.items():
        same = dataclasses.replace(run, method="asyc", out=tmp_path, head_lr_factor=10.0, resume=False, cache=None)
        assert same == dataclasses.replace(told.training, method="asyc", cache=None), name
    with pytest.raises(InputError, match="with --freeze asyc no method would learn"):
        _with(options(*made, tmp_path), **{**lite, "freeze": "asyc"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": ("table9",)}, "unknown part 'table9'"),
        ({"methods": ("magic",)}, "unknown method 'magic'"),
        ({"parts": ()}, "no part of the paper"),
        ({"methods": (FROZEN,)}, "frozen-features needs ImageNet weights .* --frozen FILE"),
        ({"fractions": (0.25, 1.0)}, r"a training fraction is 0\.25: give tenths"),
        ({"fractions": (1.1,)}, r"a training fraction is 1\.1"),
        ({"folds": 1}, "1 folds: give 2 or more"),
        ({"scored": "worst"}, "the scored epoch is 'worst'"),
    ],
)
def test_impossible_wishes_are_refused(
    made: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        options(*made, tmp_path, **change)


def test_what_cannot_work_is_said_before_anything_is_trained(made: tuple[Path, Path], tmp_path: Path) -> None:
    own = tmp_path / "own.npz"
    build_bank(read_manifest(made[0]).pairs).bank.save(own)
    with pytest.raises(InputError, match="every tumour bank was made from 'made'"):
        reproduce(options(made[0], own, tmp_path / "out"))
    with pytest.raises(InputError, match="nothing to run: asyc is in none of table1"):
        reproduce(options(*made, tmp_path / "out", methods=("asyc",), parts=("table1",)))
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_a_plan_trains_nothing_and_says_how_long_everything_takes(made: tuple[Path, Path], tmp_path: Path) -> None:
    told = options(*made, tmp_path, methods=("resnet18",), parts=("table1",))
    found = plan(told)
    assert (found.count(DONE), len(found.cells), found.files) == (0, 2, ())
    assert found.seconds_left is not None
    assert found.seconds_left > 0
    assert not (tmp_path / "runs").exists()
    rows = list(csv.DictReader((tmp_path / "plan.csv").read_text().splitlines()))
    assert [(row["method"], row["fold"], row["state"]) for row in rows] == [
        ("resnet18", "0", "waiting"),
        ("resnet18", "1", "waiting"),
    ]
    with pytest.raises(InputError, match=r"holds another experiment: lr was 0\.0001 and is now 0\.01"):
        plan(_with(told, lr=0.01))


@pytest.mark.slow
def test_a_run_that_fails_is_noted_the_others_go_on_and_it_is_tried_again(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, said = options(*made, tmp_path, methods=("resnet18",), parts=("table1",)), list[str]()

    def broken(cell: Cell, *others: Any) -> None:
        if cell.fold == 0:
            raise InputError("epoch 1: a loss is not finite")
        finish(cell, *others)

    monkeypatch.setattr("disasym.reproduce.run.finish", broken)
    found = reproduce(told, said.append)
    assert (found.exit_code, found.count(FAILED), found.count(DONE)) == (1, 1, 1)
    assert "failed: epoch 1: a loss is not finite" in said
    report = (tmp_path / "report.md").read_text()
    assert "1 of 2 runs are finished." in report
    assert "failed: made: resnet18, fold 1 of 2: epoch 1: a loss is not finite" in report
    assert "| ResNet-18, single view | 1 |" in report
    monkeypatch.undo()
    assert reproduce(told).exit_code == 0
    assert not list(tmp_path.rglob("failed.json"))


def test_pairs_that_cannot_be_used_are_left_out_with_their_reasons(made: tuple[Path, Path], tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path / "broken", 12, dataset="broken")
    (manifest.parent / "broken-3-L.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((128, 96), np.uint8)).save(manifest.parent / "broken-4-R.png")
    lines = manifest.read_text().splitlines()
    lines = [line.replace(",0,NORM", ",,NORM") if ",broken-5-L.png," in line else line for line in lines]
    manifest.write_text("\n".join(lines) + "\n")
    (study,) = read_studies(options(manifest, made[1], tmp_path, folds=2), Processes())
    assert len(study.pairs) == 9
    reasons = dict(study.left_out)
    assert set(reasons) == {"broken-3", "broken-4", "broken-5"}
    assert reasons["broken-5"] == "a side has no label"
    assert all(reasons.values())


def test_with_several_manifests_each_gives_tumours_to_the_others(tmp_path: Path) -> None:
    manifests = [write_pairs(tmp_path / name, 6, seed=number, dataset=name) for number, name in enumerate("ab")]
    paths = banks_of_each(manifests, tmp_path / "tumours")
    banks = [_loaded(path) for path in paths]
    assert [set(foreign_bank(name, banks).datasets) for name in "ab"] == [{"b"}, {"a"}]
    before = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in banks_of_each(manifests, tmp_path / "tumours")] == before


@pytest.mark.parametrize(("right", "left"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_map_is_held_against_the_lesions_of_its_own_breast(
    made: tuple[Path, Path], right: float, left: float
) -> None:
    """A map that is hot where the circle is, or in the other breast: IoR 1 or 0."""
    pair = next(p for p in read_manifest(made[0]).pairs if p.right.lesions)
    breast = load_mammogram(pair.right, 64, 32)
    truth = Truth.of(pair.right, breast.geometry, 64, 32).mask
    row, column = (int(index.mean()) // 8 for index in np.nonzero(truth))
    cam = torch.zeros(1, 2, 8, 4)
    cam[0, 0, row, column], cam[0, 1, row, column] = right, left
    classified = SimpleNamespace(cam=cam)
    model = SimpleNamespace(config=SimpleNamespace(height=64, width=32), classify=lambda _: classified)
    (found,), unreadable = locate(cast("DisAsymNet", model), [pair], Processes())
    assert found[:2] == (pair.pair_id, "R")
    assert (found[2].ior > 0.3) == (right == 1)
    assert (found[2].ior == 0) == (right == 0)
    assert unreadable == []


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (4.4, 89, 600, 12000, 400000)] == [
        "4 s",
        "89 s",
        "10 min",
        "3 h 20 min",
        "4.6 days",
    ]


def test_settings_that_are_damaged_are_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"epochs": 1')
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        reproduce(options(*made, tmp_path))
    (tmp_path / "settings.json").write_text(json.dumps({**options(*made, tmp_path).settings, "folds": 7}))
    with pytest.raises(InputError, match="folds was 7 and is now 2"):
        reproduce(options(*made, tmp_path))


def _with(told: ReproduceOptions, **changes: Any) -> ReproduceOptions:
    return dataclasses.replace(told, training=dataclasses.replace(told.training, **changes))


def _loaded(path: Path) -> TumourBank:
    return TumourBank.load(path)


@pytest.mark.slow
def test_the_trivial_model_is_a_row_of_its_own_and_knows_no_right_from_left(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_file(EfficientNetLite0Head().state_dict(), tmp_path / "lite0.safetensors")
    told = options(*made, tmp_path, parts=("table1",), methods=(FROZEN,), frozen=tmp_path / "lite0.safetensors")
    assert plan(told).seconds_left
    found = reproduce(told)
    assert [cell.state for cell in found.cells] == [DONE, DONE]
    assert "| Frozen EfficientNet-Lite0, logistic regression | 2 |" in (tmp_path / "report.md").read_text()
    rows = list(csv.DictReader((found.cells[0].folder / "predictions.csv").read_text().splitlines()))
    assert len({row["p_abnormal_right"] for row in rows}) > 1
    pooled = np.random.default_rng(0).random((3, 2, 5))
    swapped = pooled[:, ::-1]
    np.testing.assert_array_equal(pair_features(swapped), pair_features(pooled))
    sides = side_features(pooled).reshape(3, 2, 10)
    np.testing.assert_array_equal(side_features(swapped).reshape(3, 2, 10), sides[:, ::-1])
