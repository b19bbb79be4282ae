"""A run that is killed and given again, or given twice: each result once, and never of two models."""

import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from again import contents, scored
from disasym import engines
from disasym.errors import InputError
from disasym.infer.finish import Finished, finish
from disasym.infer.jobs import Job, find_films, find_work
from disasym.infer.ledger import LEDGER
from disasym.infer.results import read_rows
from disasym.infer.stages import IMAGES, Failed, Loaded, Scored, Scorer, load_pair
from disasym.infer.store import Store, settings_of
from disasym.infer.wanted import Wanted
from exams import FakeEngine, files_of, rows_of, write_exam
from hot import HotEngine
from pairs import write_pairs

TESTS = Path(__file__).parent


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three women, one pair each."""
    for number in range(3):
        write_exam(tmp_path / "in", f"woman{number}", seed=number)
    return tmp_path / "in"


# Killed


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")
def test_a_run_killed_at_any_moment_and_given_again_ends_like_one_that_was_left_alone(films: Path) -> None:
    command = [sys.executable, str(TESTS / "kills.py"), str(films.parent), "50"]
    paths = {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | paths)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["random"] == 50
    assert all(told["steps"].values()), told


def test_a_run_that_stops_in_the_middle_goes_on_there(films: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    scored(films, whole)
    engine = FakeEngine()
    plain = engine._infer

    def stopped(views: np.ndarray) -> dict[str, np.ndarray]:
        if len(engine.batches) == 1:
            raise KeyboardInterrupt
        return plain(views)

    engine._infer = stopped  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        scored(films, out, engine)
    summary = scored(films, out)
    assert summary.scored + summary.already == 3
    assert contents(out) == contents(whole)


def test_onnxruntime_gives_a_pair_the_same_numbers_wherever_a_run_was_cut(tmp_path: Path, small_export: Path) -> None:
    jobs = find_work(write_pairs(tmp_path, 5)).jobs
    pairs = [pair for job in jobs if isinstance(pair := load_pair(job, 256, 128), Loaded)]
    with engines.load(small_export, threads=1) as engine:
        whole = Scorer(engine, 4).score(pairs)
        for cut in range(1, 5):
            assert alike(Scorer(engine, 4).score(pairs[cut:]), whole[cut:])
        assert alike(Scorer(engine, 2).score(pairs), whole), "a batch that was halved for lack of memory"


def alike(some: Sequence[Scored | Failed], others: Sequence[Scored | Failed]) -> bool:
    """Equal to the last bit, images too."""
    for one, other in zip(some, others, strict=True):
        assert isinstance(one, Scored)
        assert isinstance(other, Scored)
        if (one.asymmetry, one.abnormal) != (other.asymmetry, other.abnormal):
            return False
        if not all(np.array_equal(getattr(one, name), getattr(other, name)) for name in IMAGES):
            return False
    return True


# Given again


def test_a_second_run_scores_nothing_and_its_tables_are_the_same(films: Path, tmp_path: Path) -> None:
    out, engine = tmp_path / "out", HotEngine()
    first = scored(films, out, engine, write=("scores", "panels"))
    before, runs = contents(out), len(engine.batches)
    second = scored(films, out, engine, write=("scores", "panels"))
    assert (first.scored, first.already) == (3, 0)
    assert (second.scored, second.already) == (0, 3)
    assert second.fates == first.fates
    assert len(engine.batches) == runs
    assert contents(out) == before


def test_new_films_alone_are_scored_and_the_tables_are_those_of_one_run(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scored(films, out)
    write_exam(films, "a-new-woman", seed=5)
    summary = scored(films, out)
    assert (summary.scored, summary.already) == (1, 3)
    scored(films, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert files_of(out)["a-new-woman-R-CC.dcm"][0] == "used"


def test_a_film_that_changed_is_scored_again_and_nothing_of_its_old_result_stays(films: Path, tmp_path: Path) -> None:
    out, write = tmp_path / "out", ("scores", "panels", "seg")
    scored(films, out, HotEngine(), write=write)
    (before,) = (row for row in read_rows(out) if "woman1" in str(_films(films)[row.pair_id]))
    assert before.dicom
    write_exam(films, "woman1", seed=9)
    assert scored(films, out, HotEngine(heat=0.9), write=write).scored == 1
    cold = HotEngine(heat=0.1)
    write_exam(films, "woman1", seed=4)
    assert scored(films, out, cold, write=write).scored == 1
    (after,) = (row for row in read_rows(out) if row.pair_id == before.pair_id)
    assert (after.dicom, after.boxes) == ("", ())
    assert not any((out / name).exists() for name in before.dicom.split())


def _films(folder: Path) -> dict[str, Path]:
    return {job.pair_id: job.right.path for job in find_work(folder).jobs}


def test_films_that_are_gone_leave_the_tables_and_come_back_without_being_scored(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scored(films, out)
    before = contents(out)
    shutil.move(films / "woman1-R-CC.dcm", tmp_path / "away.dcm")
    summary = scored(films, out)
    assert (summary.scored, summary.already, summary.gone) == (0, 2, 1)
    assert len(rows_of(out)) == 2
    assert files_of(out)["woman1-L-CC.dcm"][0] == "skipped"
    shutil.move(tmp_path / "away.dcm", films / "woman1-R-CC.dcm")
    summary = scored(films, out)
    assert (summary.scored, summary.already, summary.gone) == (0, 3, 0)
    assert contents(out) == before


def test_a_folder_of_films_may_be_moved(films: Path, tmp_path: Path) -> None:
    scored(films, tmp_path / "out")
    films.rename(tmp_path / "moved")
    assert scored(tmp_path / "moved", tmp_path / "out").already == 3


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    manifest, whole, out = write_pairs(tmp_path / "in", 3), tmp_path / "whole", tmp_path / "out"
    scored(manifest, whole)
    *_, second, first = sorted(float(row["p_abnormal_right"]) for row in rows_of(whole))
    assert scored(manifest, out, FakeEngine(limit=(second + first) / 2)).count("failed") == 2
    with sqlite3.connect(out / LEDGER) as base:
        ((problems,),) = base.execute("SELECT problems FROM pairs WHERE state = 'failed'").fetchall()
    base.close()
    assert json.loads(problems) == {"right": "not scored: too bright", "left": "not scored: too bright"}
    summary = scored(manifest, out)
    assert (summary.scored, summary.already, summary.exit_code) == (1, 2, 0)
    assert contents(out) == contents(whole)


def test_a_manifest_goes_on_too(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path / "in", 3)
    scored(manifest, tmp_path / "out")
    (tmp_path / "in" / "made-1-L.png").write_bytes((tmp_path / "in" / "made-0-L.png").read_bytes() + b" ")
    summary = scored(manifest, tmp_path / "out")
    assert (summary.scored, summary.already) == (1, 2)


# Never two models


def test_results_of_another_model_or_of_other_settings_are_refused_before_anything_is_read(
    films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    scored(films, out, HotEngine())
    before = contents(out)
    with pytest.raises(InputError, match=r"model 000000000000 \(now 111111111111\).*name another folder.*--fresh"):
        scored(films, out, HotEngine(model="1" * 64))
    with pytest.raises(InputError, match=r"write scores \(now scores,panels\)"):
        scored(films, out, HotEngine(), write=("scores", "panels"))
    assert contents(out) == before


def test_fresh_begins_anew_and_leaves_nothing_of_the_other_model(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scored(films, out, HotEngine(), write=("scores", "panels", "seg"))
    shutil.rmtree(films)
    write_exam(films, "another", seed=3)
    (out / "images" / "my own.png").touch()
    summary = scored(films, out, HotEngine(model="1" * 64), write=("scores", "panels"), fresh=True)
    assert (summary.scored, summary.already, summary.gone) == (1, 0, 0)
    (row,) = read_rows(out)
    assert row.model_sha256 == "1" * 64
    assert {path.name for path in (out / "images").iterdir()} == {Path(row.panel).name, "my own.png"}
    assert list((out / "dicom").iterdir()) == []


@pytest.mark.parametrize("content", [b"no database" * 1000, b""])
def test_a_damaged_ledger_is_one_sentence_and_fresh_replaces_it(films: Path, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out"
    scored(films, out)
    (out / LEDGER).write_bytes(content)
    if content:
        with pytest.raises(InputError, match=r"ledger\.sqlite is damaged .*--fresh"):
            scored(films, out)
    assert scored(films, out, fresh=True).scored == 3


def test_a_ledger_of_a_later_version_is_refused(films: Path, tmp_path: Path) -> None:
    scored(films, tmp_path / "out")
    base = sqlite3.connect(tmp_path / "out" / LEDGER)
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(InputError, match="has format 99, this version of disasym reads 2"):
        scored(films, tmp_path / "out")


# Out of memory


def test_a_batch_that_does_not_fit_is_told_and_the_rows_are_the_same(films: Path, tmp_path: Path) -> None:
    scored(films, tmp_path / "whole", batch=4)
    engine = FakeEngine(most=2)
    summary = scored(films, tmp_path / "out", engine, batch=4)
    assert engine.batches == [4, 2, 2]
    assert summary.notes == ("batches of 4 pairs did not fit into memory, so 2 were scored at a time",)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    with sqlite3.connect(tmp_path / "out" / LEDGER) as base:
        runs = base.execute("SELECT scored, already, failed, batch, notes FROM runs").fetchall()
    base.close()
    assert runs == [(3, 0, 0, 2, summary.notes[0])]


# Results by other ways than a run


def test_results_may_come_in_any_order_and_study_by_study(films: Path, tmp_path: Path) -> None:
    scored(films, tmp_path / "whole", HotEngine(), write=("scores", "panels"))
    out, engine = tmp_path / "out", HotEngine()
    asked = Wanted(panels=True, report=False, dicom=())
    works = [find_films(sorted(films.glob(f"woman{number}-*")), films) for number in (2, 0, 1)]
    with Store(out, settings_of(engine, asked)) as kept:
        for work in works:
            (job,) = kept.plan(work.jobs)
            kept.begin(job)
            kept.keep(_finished(job, engine, asked))
        joined = tuple(sorted((job for work in works for job in work.jobs), key=lambda job: job.right.path))
        kept.write_tables(replace(works[0], jobs=joined))
        with pytest.raises(ValueError, match="kept twice"):
            kept.keep(_finished(job, engine, asked))
    assert contents(out) == contents(tmp_path / "whole")


def _finished(job: Job, engine: FakeEngine, asked: Wanted) -> Finished | Failed:
    """By way of other processes, as it were."""
    pair = pickle.loads(pickle.dumps(load_pair(pickle.loads(pickle.dumps(job)), 256, 128)))  # noqa: S301 - our own
    assert isinstance(pair, Loaded)
    (end,) = Scorer(engine, 2).score([pair])
    assert isinstance(end, Scored)
    made: Finished | Failed = pickle.loads(pickle.dumps(finish(end, engine, asked)))  # noqa: S301 - our own
    return made


def test_no_table_is_written_of_a_pair_without_an_end(films: Path, tmp_path: Path) -> None:
    work, asked = find_work(films), Wanted(panels=False, report=False, dicom=())
    with Store(tmp_path / "out", settings_of(FakeEngine(), asked)) as kept:
        kept.begin(work.jobs[0])
        with pytest.raises(InputError, match="was not scored"):
            kept.write_tables(work)
