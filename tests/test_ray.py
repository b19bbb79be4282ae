"""A run on a Ray cluster: the same rows as on one machine, each once, whatever is killed; and what it refuses."""

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_files import breast, write_mammogram
from disasym.errors import EngineError, InputError, MissingExtraError
from disasym.infer import InferOptions, infer
from disasym.infer.jobs import find_work
from disasym.infer.on_ray import infer_on_ray
from disasym.infer.ray_stages import (
    PAIR,
    ElsewhereEngine,
    Model,
    Note,
    ScoreBlock,
    finish_block,
    items_of,
    load_block,
    look,
    sees,
    unpacked,
)
from disasym.infer.run import default_model
from disasym.infer.wanted import Wanted
from exams import FakeEngine, write_exam
from pairs import write_pairs
from ray_cluster import Killing, two_machines

TABLES = ("results.csv", "results.jsonl", "files.csv", "boxes.csv", "exams.csv")
MANY = 200


def options(source: Path, out: Path, **others: Any) -> InferOptions:
    return InferOptions(source, out, threads=1, quiet=True, **{"write": ("scores",), **others})


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in TABLES}


# What a machine does, without a cluster


def block_of(entries: list[Any]) -> dict[str, Any]:
    return {PAIR: np.array([entry[PAIR] for entry in entries], object)}


def through(stage: Any, block: dict[str, Any], **known: Any) -> dict[str, Any]:
    return {PAIR: np.concatenate([made[PAIR] for made in stage(block, **known)])}


def test_the_stages_one_after_the_other_make_the_rows_of_a_local_run(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "one")
    _, left = write_exam(tmp_path / "in", "two", seed=1)
    left.write_bytes(left.read_bytes()[:-2000])
    infer(options(tmp_path / "in", tmp_path / "out"))
    jobs = find_work(tmp_path / "in").jobs

    model = Model(default_model(), "auto", "cpu", 1)
    opened = look(model)
    assert opened.info is not None
    block = through(load_block, block_of(items_of(jobs)), height=opened.info.height, width=opened.info.width)
    block = through(ScoreBlock(model, 4, opened), block)
    ended = list(
        unpacked(
            through(
                finish_block,
                block,
                name=opened.name,
                info=opened.info,
                asked=Wanted(panels=False, report=False, dicom=()),
            )
        )
    )

    assert [end.row.line() for end in ended if hasattr(end, "row")] == (
        (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    )


def test_no_patient_is_sent_to_a_machine(tmp_path: Path) -> None:
    for side in "RL":
        write_mammogram(tmp_path / f"{side}.dcm", breast(200, 120), laterality=side, patient="canary-4711")
    (entry,) = items_of(find_work(tmp_path).jobs)
    for canary in (b"canary-4711", b"Canary", b"19501231", b"20200102"):
        assert canary not in entry[PAIR]
    (job,) = unpacked(block_of([entry]))
    assert job.right.patient.patient_id == job.left.patient.patient_id == ""


def test_a_machine_with_another_model_is_refused_with_both(small_export: Path) -> None:
    first = look(Model(default_model(), "auto", "cpu", 1))
    second = look(Model(small_export, "auto", "cpu", 1))
    assert first.info is not None
    assert second.info is not None
    with pytest.raises(EngineError, match=f"{first.info.model_sha256[:12]} and {second.info.model_sha256[:12]}"):
        ScoreBlock(Model(small_export, "auto", "cpu", 1), 4, first)
    with pytest.raises(EngineError, match=r"disasym 0\.0\.0 and "):
        ScoreBlock(Model(default_model(), "auto", "cpu", 1), 4, replace(first, version="0.0.0"))


def test_a_machine_without_the_model_or_the_films_says_so(tmp_path: Path) -> None:
    assert look(Model(tmp_path / "absent", "auto", "cpu", 1)).problem.startswith("no model at")
    assert sees(tmp_path / "film.dcm") == (socket.gethostname(), False)
    write_exam(tmp_path, "one")
    assert sees(tmp_path / "one-R-CC.dcm") == (socket.gethostname(), True)


def test_batches_that_do_not_fit_on_a_machine_are_told_to_who_started_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_exam(tmp_path, "one")
    write_exam(tmp_path, "two", seed=1)
    monkeypatch.setattr("disasym.infer.ray_stages.load", lambda *_, **__: FakeEngine(most=1))
    model = Model(tmp_path, "auto", "cpu", 1)
    block = through(load_block, block_of(items_of(find_work(tmp_path).jobs)), height=64, width=32)
    ended = list(unpacked(through(ScoreBlock(model, 2, look(model)), block)))
    assert [type(end).__name__ for end in ended] == ["Scored", "Scored", "Note"]
    assert isinstance(ended[2], Note)
    assert "did not fit into memory" in ended[2].text


def test_an_engine_that_is_elsewhere_runs_nothing_here() -> None:
    engine = ElsewhereEngine("fake", FakeEngine().info)
    with pytest.raises(EngineError, match="not here"):
        engine.run(np.zeros((1, 2, 64, 32), np.float32))


# What is refused before anything is read


def test_without_ray_one_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'disasym\[ray\]'"):
        infer_on_ray(options(tmp_path, tmp_path / "out"), "auto")
    assert not (tmp_path / "out").exists()


def test_an_address_of_rays_client_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="with --ray auto"):
        infer_on_ray(options(tmp_path, tmp_path / "out"), "ray://host:10001")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nobody", "host:many"])
def test_an_address_without_a_cluster_is_refused_at_once(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match=f"no Ray cluster at {address} .*host:6379"):
        infer_on_ray(options(tmp_path, tmp_path / "out"), address)


# On two machines


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is absent: pip install '.[ray]'")
    with two_machines() as found:
        yield found


@pytest.mark.slow
def test_two_hundred_pairs_have_the_rows_of_a_local_run_whatever_is_killed(tmp_path: Path, cluster: Any) -> None:
    folder, out = tmp_path / "in", tmp_path / "ray"
    for number in range(MANY // 2):
        for view in ("CC", "MLO"):
            right, _ = write_exam(folder / f"{number:03}", f"{number:03}", view, seed=number % 20)
    right.write_bytes(right.read_bytes()[:-2000])
    undisturbed = infer(options(folder, tmp_path / "local"))

    results = out / "results.jsonl"
    killing = Killing(lambda: results.exists() and results.stat().st_size > 0, ("load_block", "ScoreBlock"))
    killing.start()
    summary = infer_on_ray(options(folder, out), cluster.address)

    assert killing.killed == ["load_block", "ScoreBlock"]
    assert (summary.scored, summary.already, summary.exit_code) == (MANY - 1, 0, 1)
    assert undisturbed.scored == MANY - 1
    assert tables(out) == tables(tmp_path / "local")

    again = infer_on_ray(options(folder, out), cluster.address)
    assert (again.scored, again.already) == (0, MANY - 1)
    assert tables(out) == tables(tmp_path / "local")


@pytest.mark.slow
def test_a_machine_that_cannot_open_the_model_is_named_before_anything_is_done(tmp_path: Path, cluster: Any) -> None:
    manifest = write_pairs(tmp_path / "in", 2)
    with pytest.raises(EngineError, match=r"\S+: no model at .*absent"):
        infer_on_ray(options(manifest, tmp_path / "out", model=tmp_path / "absent"), cluster.address)
    assert not (tmp_path / "out" / "results.jsonl").exists()
    with pytest.raises(EngineError, match="no GPU"):
        infer_on_ray(options(manifest, tmp_path / "out", device="cuda"), cluster.address)


@pytest.mark.slow
def test_a_film_that_ends_every_process_is_given_up_and_the_same_command_goes_on(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = write_pairs(tmp_path / "in", 10), tmp_path / "ray"

    def deadly(block: Any, **_: Any) -> Any:
        os._exit(1)

    with monkeypatch.context() as patch:
        patch.setattr("disasym.infer.ray_connection.STALLED", 15)
        patch.setattr("disasym.infer.on_ray.load_block", deadly)
        with pytest.raises(EngineError, match=r"nothing happened on the cluster for 15 s: .*the same command goes on"):
            infer_on_ray(options(manifest, out), cluster.address)
    assert not (out / "results.csv").exists()

    assert infer_on_ray(options(manifest, out), cluster.address).scored == 10
    infer(options(manifest, tmp_path / "local"))
    assert tables(out) == tables(tmp_path / "local")


@pytest.mark.slow
def test_a_machine_that_is_lost_loses_nothing(tmp_path: Path, cluster: Any) -> None:
    manifest, out = write_pairs(tmp_path / "in", 24), tmp_path / "ray"
    told: list[str] = []

    def lose(display: Any, count: int) -> None:
        if not told:
            told.append("lost")
            cluster.remove_node(cluster.second, allow_graceful=False)

    infer(options(manifest, tmp_path / "local", write=None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("disasym.infer.progress.Display.scored", lose)
        infer_on_ray(options(manifest, out, write=None), cluster.address)

    assert told == ["lost"]
    assert tables(out) == tables(tmp_path / "local")
    pictures = {path.name: path.read_bytes() for path in (out / "images").iterdir()}
    assert pictures == {path.name: path.read_bytes() for path in (tmp_path / "local" / "images").iterdir()}
    assert len(pictures) == 24
