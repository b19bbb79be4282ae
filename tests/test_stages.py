"""The stages of a run: order, bounded memory, batches that fail, and one fate a file."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.data import loading as loading_module
from disasym.dicom import Fate
from disasym.errors import InputError
from disasym.infer import stages as stages_module
from disasym.infer.fates import one_each
from disasym.infer.jobs import Job, find_work
from disasym.infer.stages import Failed, Loaded, Scored, Scorer, load_all, load_pair, load_views, score_all
from exams import FakeEngine, jobs_of
from pairs import write_pairs


def test_pairs_keep_their_order_and_few_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_of(tmp_path, 12)
    begun = 0
    lock = threading.Lock()

    def counted(job: Job, *_: object) -> Failed:
        nonlocal begun
        with lock:
            begun += 1
        return Failed(job, {job.right.path: "not read"})

    monkeypatch.setattr(stages_module, "load_pair", counted)
    with ThreadPoolExecutor(3) as pool:
        for taken, pair in enumerate(load_all(jobs, 64, 32, pool, ahead=4), start=1):
            assert pair.job is jobs[taken - 1]
            assert begun <= taken + 4


def test_an_unforeseen_error_costs_one_pair_and_its_text_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs_of(tmp_path, 1)[0]

    def broken(*_: object) -> None:
        raise ZeroDivisionError("while reading the film of Jane Canary")

    monkeypatch.setattr(loading_module, "load", broken)
    failed = load_pair(job, 64, 32)
    assert isinstance(failed, Failed)
    assert set(failed.problems) == {job.right.path, job.left.path}
    assert all("ZeroDivisionError" in why and "Canary" not in why for why in failed.problems.values())


def loaded(jobs: tuple[Job, ...], height: int = 64, width: int = 32) -> list[Loaded]:
    pairs = [load_pair(job, height, width) for job in jobs]
    return [pair for pair in pairs if isinstance(pair, Loaded)]


def test_failed_pairs_ride_along_and_do_not_shorten_a_batch(tmp_path: Path) -> None:
    pairs: list[Loaded | Failed] = [*loaded(jobs_of(tmp_path, 5))]
    pairs[1] = Failed(pairs[1].job, {})
    engine = FakeEngine()
    done = list(score_all(pairs, Scorer(engine, 2)))
    assert [len(batch) for batch in done] == [3, 2]
    assert engine.batches == [2, 2]
    assert [pair.job for batch in done for pair in batch] == [pair.job for pair in pairs]


def test_the_engine_always_runs_the_same_number_of_pairs(tmp_path: Path) -> None:
    pairs = loaded(jobs_of(tmp_path, 5))
    engine = FakeEngine()
    done = [pair for batch in score_all(pairs, Scorer(engine, 4)) for pair in batch]
    assert engine.batches == [4, 4]
    assert [pair.job for pair in done] == [pair.job for pair in pairs]


def test_a_batch_that_does_not_fit_into_memory_is_halved_for_good_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = loaded(jobs_of(tmp_path, 9))
    engine = FakeEngine(most=2)
    scorer = Scorer(engine, 5)
    assert scorer.note == ""
    done = [pair for batch in score_all(pairs, scorer) for pair in batch]
    assert [pair.job for pair in done] == [pair.job for pair in pairs]
    assert all(isinstance(pair, Scored) for pair in done)
    assert engine.batches == [5, 2, 2, 2, 2, 2]
    assert scorer.note == "batches of 5 pairs did not fit into memory, so 2 were scored at a time"
    assert [record.getMessage() for record in caplog.records] == [scorer.note]


def test_a_pair_that_does_not_fit_alone_fails(tmp_path: Path) -> None:
    scorer = Scorer(FakeEngine(most=0), 2)
    assert all(isinstance(pair, Failed) for pair in scorer.score(loaded(jobs_of(tmp_path, 3))))
    assert scorer.batch == 1


def test_a_pair_that_the_engine_refuses_fails_alone(tmp_path: Path) -> None:
    pairs = loaded(jobs_of(tmp_path, 4))
    means = [float(pair.right.pixels.mean()) for pair in pairs]
    brightest = int(np.argmax(means))
    engine = FakeEngine(limit=sorted(means)[-2])
    done = Scorer(engine, 4).score(pairs)
    assert set(engine.batches) == {4}, "halves are filled up, so that the others get what they would without it"
    assert [isinstance(pair, Failed) for pair in done] == [at == brightest for at in range(4)]
    failed = done[brightest]
    assert isinstance(failed, Failed)
    assert set(failed.problems.values()) == {"not scored: too bright"}


def test_what_is_no_probability_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = loaded(jobs_of(tmp_path, 1))
    engine = FakeEngine()
    good = engine._infer
    monkeypatch.setattr(engine, "_infer", lambda views: good(views) | {"abnormal": np.full((1, 2), 1.5, np.float32)})
    (failed,) = Scorer(engine, 1).score(pairs)
    assert isinstance(failed, Failed)
    assert "1.5" in next(iter(failed.problems.values()))


def test_the_first_readable_pairs_become_views(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path, 3)
    (tmp_path / "made-0-R.png").write_bytes(b"")
    views = load_views(manifest, 64, 32, most=1)
    assert views.shape == (1, 2, 64, 32)
    assert views.dtype == np.float32
    np.testing.assert_array_equal(views[0, 0], loaded(find_work(manifest).jobs)[0].right.pixels)
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="no pair"):
        load_views(manifest, 64, 32)


# Fates

FATES = st.lists(
    st.builds(
        Fate,
        st.sampled_from("abc").map(Path),
        st.sampled_from(["used", "skipped", "failed"]),
        st.sampled_from(["one", "two"]),
    )
)


@given(FATES)
def test_each_path_ends_with_one_fate_the_weightiest(fates: list[Fate]) -> None:
    ends = one_each(fates)
    assert [fate.path for fate in ends] == sorted({fate.path for fate in fates})
    for end in ends:
        of_path = [fate for fate in fates if fate.path == end.path]
        kinds = {fate.fate for fate in of_path}
        assert end.fate == next(kind for kind in ("failed", "used", "skipped") if kind in kinds)
        assert set(end.reason.split("; ")) == {fate.reason for fate in of_path}
