"""Pairs that are scored while the folder is still searched: the results are those of a search before."""

import json
import random
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from again import contents, scored
from dicom_files import breast, view_code, write_mammogram
from disasym.engines import load
from disasym.errors import InputError
from disasym.infer import InferOptions, default_model, run
from disasym.infer.guess import Guesses
from exams import COLUMNS, ROWS, FakeEngine, rows_of, write_exam
from hot import HotEngine

IMPLANT_DISPLACED = "399209000"  # SNOMED CT, context group 4015


def write_films(folder: Path, films: list[tuple[int, str, str]], order: int) -> None:
    """One film each (woman, side, what it is), under names in an order of their own."""
    names = [f"{number:02}.dcm" for number in range(len(films))]
    random.Random(order).shuffle(names)  # noqa: S311 - no secret
    for name, (woman, side, what) in zip(names, films, strict=True):
        cells = np.roll(breast(ROWS, COLUMNS, 3000 + 100 * (what == "another")), 3 * woman + (side == "L"), axis=0)
        cells = cells[:, ::-1] if side == "R" else cells
        tags: dict[str, Any] = {"laterality": side, "patient": str(woman), "study": str(woman)}
        if what == "displaced":
            tags["ViewCodeSequence"] = view_code("399162004", IMPLANT_DISPLACED)
        made = write_mammogram(folder / name, cells, **tags)
        if what == "copied":
            shutil.copy(made, folder / f"copy of {name}")
        if what == "damaged":
            made.write_bytes(made.read_bytes()[:-100])


FILM = st.tuples(
    st.integers(0, 2),
    st.sampled_from("RL"),
    st.sampled_from(["plain"] * 4 + ["another", "displaced", "copied", "damaged"]),
)


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A search that waits after each header until the guesses so far are taken; the pairs that were guessed."""
    guessed: list[str] = []
    header, until = Guesses.header, Guesses.until

    def patient(self: Guesses, found: Any) -> None:
        header(self, found)
        for _ in range(100):
            if self._waiting.empty():
                break
            time.sleep(0.001)
        time.sleep(0.002)

    def noted(self: Guesses, searched: Any) -> Any:
        for job in until(self, searched):
            guessed.extend([job.pair_id] if job else [])
            yield job

    monkeypatch.setattr(Guesses, "header", patient)
    monkeypatch.setattr(Guesses, "until", noted)
    return guessed


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(films=st.lists(FILM, min_size=2, max_size=7), order=st.integers(0, 1000))
def test_whatever_is_guessed_the_tables_and_pictures_are_those_of_a_search_before(
    slowly: list[str], tmp_path_factory: pytest.TempPathFactory, films: list[tuple[int, str, str]], order: int
) -> None:
    folder = tmp_path_factory.mktemp("films")
    write_films(folder / "in", films, order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guesses, "header", lambda *_: None)
        scored(folder / "in", folder / "whole", batch=1)
    scored(folder / "in", folder / "out", batch=1)
    assert contents(folder / "out") == contents(folder / "whole")
    assert all(row["pair_id"] for row in rows_of(folder / "out"))


def test_pairs_are_scored_before_the_search_is_over_and_counted_as_scored(slowly: list[str], tmp_path: Path) -> None:
    for number in range(4):
        write_exam(tmp_path / "in", f"woman{number}", seed=number)
    engine = FakeEngine()
    summary = scored(tmp_path / "in", tmp_path / "out", engine, batch=1)
    assert len(slowly) >= 3, "the last pair may come when the search is over"
    assert (summary.scored, summary.already) == (4, 0)
    assert engine.batches == [1] * 4, "no pair is scored twice"


def test_a_guess_that_was_wrong_leaves_no_row_picture_or_object(slowly: list[str], tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "a")
    cells = np.roll(breast(ROWS, COLUMNS, 3500), 9, axis=0)
    write_mammogram(tmp_path / "in" / "z.dcm", cells, laterality="L", patient="a", study="a")  # a second left breast
    out = tmp_path / "out"
    summary = scored(tmp_path / "in", out, HotEngine(), batch=1, write=("scores", "html", "panels", "seg"))
    assert len(slowly) == 1
    assert (summary.scored, summary.already, summary.gone, summary.count("skipped")) == (0, 0, 0, 3)
    assert rows_of(out) == []
    assert [path for folder in ("images", "layers", "dicom") for path in (out / folder).glob("*")] == []


def test_an_interrupt_ends_the_search_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        write_exam(tmp_path / "in", f"woman{number}", seed=number)
    looked: list[Path] = []
    started = threading.Event()
    scan_module = sys.modules["disasym.dicom.scan"]  # the package has a function of this name
    header = scan_module.read_header

    def watched(path: Path, processing: bool) -> Any:
        looked.append(path)
        started.set()
        time.sleep(0.2)
        return header(path, processing)

    def interrupted(*_: Any) -> Any:
        started.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(scan_module, "read_header", watched)
    monkeypatch.setattr(Guesses, "until", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path / "in", tmp_path / "out")
    assert len(looked) < 40


# Where the time goes


def test_a_run_says_what_each_stage_did_and_leaves_a_trace(tmp_path: Path) -> None:
    for number in range(3):
        write_exam(tmp_path / "in", f"woman{number}", seed=number)
    trace = tmp_path / "trace.json"
    summary = scored(tmp_path / "in", tmp_path / "out", trace=trace)
    stages = {stage.name: stage for stage in summary.stages}
    assert {name: stage.count for name, stage in stages.items()} == {
        "scan": 6,
        "decode": 3,
        "engine": 3,
        "finish": 3,
        "ledger": 3,
    }
    assert all(stage.busy > 0 and stage.rate > 0 for stage in stages.values())
    assert stages["engine"].waited_for_input > 0
    events = json.loads(trace.read_text("utf-8"))
    assert {event["name"] for event in events} >= {*stages, "engine waits for input"}
    pairs = {row["pair_id"] for row in rows_of(tmp_path / "out")}
    assert {event["args"]["pair"] for event in events if event["name"] == "decode"} == pairs
    for event in events:
        assert event["ph"] == "X"
        assert event["ts"] >= 0
        assert event["dur"] >= 0


def test_a_trace_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "a")
    with pytest.raises(InputError, match="the trace cannot be written"):
        scored(tmp_path / "in", tmp_path / "out", trace=tmp_path / "nowhere" / "trace.json")


def test_the_threads_of_an_engine_do_not_spin_where_films_are_decoded_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option is read back from the session; answers are the same to the bit."""
    opened: list[Any] = []
    monkeypatch.setattr(run, "infer_with", lambda engine, *_: opened.append(spinning(engine)))
    run.infer(InferOptions(tmp_path, tmp_path / "out", quiet=True))
    assert opened == ["0"]
    with load(default_model()) as alone, load(default_model(), shared=True) as beside:
        views = np.random.default_rng(0).random((1, 2, alone.info.height, alone.info.width), np.float32)
        assert spinning(alone) == "1"
        for one, other in zip(alone.run(views).named().values(), beside.run(views).named().values(), strict=True):
            np.testing.assert_array_equal(one, other)


def spinning(engine: Any) -> str:
    return str(engine._session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning"))
