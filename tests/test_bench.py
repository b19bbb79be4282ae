"""`disasym bench`, run for real on a small export; and contenders that die, that differ and that do not fit."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from disasym.bench import race
from disasym.bench.child import answered
from disasym.bench.run import JSONL, BenchOptions, Report, bench
from disasym.bench.screen import merit
from disasym.cli import main

pytestmark = pytest.mark.slow


def short(export: Path, out: Path, **changes: Any) -> Report:
    """A race, or a stream, that is over in seconds."""
    settings: dict[str, Any] = {"batches": (1, 2), "seconds": 1.0, "turns": 5, "engines": ("onnxruntime",)}
    return bench(BenchOptions(models=(str(export),), out=out, **settings | changes))


def test_a_race_gives_rows_a_table_and_a_picture(small_export: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is absent: pip install '.[bench]'")
    asked = ["bench", str(small_export), "--out", str(tmp_path), "--batch", "1,2", "--seconds", "60", "--rounds", "5"]
    result = CliRunner().invoke(main, [*asked, "--engine", "onnxruntime"], prog_name="disasym")
    assert result.exit_code == 0, result.output
    assert "onnxruntime fp32" in result.output
    rows = [json.loads(line) for line in (tmp_path / JSONL).read_text().splitlines()]
    raced = {(row["contender"], row["batch"]): row for row in rows if row["kind"] == "race"}
    assert set(raced) == {(name, batch) for name in ("eager fp32", "onnxruntime fp32") for batch in (1, 2)}
    for (name, _), row in raced.items():
        assert row["turns"] == 5
        assert row["p50_ms"] > 0
        assert row["pairs_per_second"] > 0
        assert row["peak_bytes"] > row["open_bytes"] > 0
        assert row["start_again"]["seconds"] > 0
        assert row["machine"]["cores"] >= 1
        assert row["model_sha256"]
        if name != "eager fp32":
            assert 0 < max(row["delta"].values()) < 1e-3
            assert row["differs"] == []
    picture = np.asarray(Image.open(tmp_path / "bench.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_a_contender_that_dies_in_its_turn_is_reported_and_the_race_goes_on(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = race._turn

    def deadly(racer: race.Racer) -> None:
        if racer.contender.engine == "onnxruntime" and len(racer.turns) == 2:
            os.kill(racer.running.pid, signal.SIGKILL)
        turn(racer)

    monkeypatch.setattr(race, "_turn", deadly)
    report = short(small_export, tmp_path)
    dead = next(each for each in report.absent if each.name == "onnxruntime fp32, batch 1 and above")
    assert "SIGKILL" in dead.reason
    assert {row.contender for row in report.rows} == {"eager fp32"}
    assert report.exit_code == 1  # nothing was measured beside the reference


def test_a_contender_that_gives_other_results_gets_no_speed(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disasym.bench.rows.tolerance", lambda _, output: -1.0 if output == "cam" else 1.0)
    report = short(small_export, tmp_path, batches=(1,))
    (row,) = (row for row in report.rows if row.contender == "onnxruntime fp32")
    assert merit(row) == "differs: cam"
    assert report.exit_code == 1


def test_a_batch_that_would_not_fit_is_not_tried(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disasym.bench.race.available_bytes", lambda: 0)
    report = short(small_export, tmp_path, seconds=60.0)
    assert {row.batch for row in report.rows} == {1}
    reasons = {each.name: each.reason for each in report.absent}
    assert "not tried: it would need about" in reasons["onnxruntime fp32, batch 2 and above"]


def test_a_batch_that_does_not_fit_is_an_answer_of_the_contender() -> None:
    class Full:
        def prepare(self, batch: int) -> dict[str, Any]:
            raise MemoryError(f"a batch of {batch} pairs\ndoes not fit")

    answer = answered(Full(), {"do": "prepare", "batch": 2})  # type: ignore[arg-type]
    assert answer == {"error": "a batch of 2 pairs does not fit", "memory": True}


@pytest.mark.parametrize(
    ("exams", "warm", "windows"),
    [(10, 4, 4), (3, 0, 2)],  # 5 batches of 4, one to warm up; one batch of 4 and a rest of 2
)
def test_a_stream_runs_every_pair_and_counts_none_of_the_warm_up(
    small_export: Path, tmp_path: Path, exams: int, warm: int, windows: int
) -> None:
    report = short(small_export, tmp_path, exams=exams, batches=(4,), seconds=60.0, threads=1)
    assert {row.contender for row in report.streamed} == {"eager fp32", "onnxruntime fp32"}
    for row in report.streamed:
        assert (row.pairs, row.warm_up_pairs, len(row.windows), row.cut) == (2 * exams, warm, windows, "")
        assert row.pairs_per_second == pytest.approx((2 * exams - warm) / row.seconds)
    lines = [json.loads(line) for line in (tmp_path / JSONL).read_text().splitlines()]
    assert [line["pairs"] for line in lines if line["kind"] == "stream"] == [2 * exams] * 2
    assert report.exit_code == 0
