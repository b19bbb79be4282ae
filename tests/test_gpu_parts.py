"""Parts of the engines' GPU command: what is another model is not timed, and what is told is what was found."""

import dataclasses
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="Triton is absent: pip install '.[gpu]'")

import onnx
import torch
from onnx import numpy_helper

from benchmarks import gpu_parity, gpu_race
from benchmarks.gpu_device import Runner, _right, deltas, outputs_of
from benchmarks.gpu_models import PAIRS, SOURCE, WEIGHTS, _pairs, has_kernel, models, pairs
from benchmarks.gpu_parity import CHECK, objection, parity, part_of
from benchmarks.gpu_part import CUT, FAIL, INFO, PASS, Part, Record, read_records, record
from benchmarks.gpu_race import field_of, heat_of, pace_seconds, race_rows
from benchmarks.gpu_training import alike
from disasym.bench.contenders import Contender, Field
from disasym.bench.rows import Row
from disasym.errors import InputError
from disasym.export.manifest import ONNX, read_manifest, write_manifest
from disasym.export.parity import synthetic_pairs
from disasym.files import sha256_of
from disasym.model import ModelOutputs
from disasym.spec import OUTPUTS


@pytest.fixture
def work(tmp_path: Path, small_export: Path) -> Path:
    """As the part `models` and one export leave it."""
    folder = tmp_path / "work"
    shutil.copytree(small_export, folder / "fp32")
    manifest = read_manifest(small_export)
    np.save(folder / PAIRS, synthetic_pairs(manifest.height, manifest.width, 2))
    (folder / SOURCE).write_text('"synthetic"')
    return folder


def part_in(work: Path, name: str) -> Part:
    out = work.parent / "out"
    out.mkdir(exist_ok=True)
    return Part(name, tuple(name.split()[1:]), out, "cpu", time.monotonic() + 300, work=work)


def test_an_engine_that_is_the_model_passes_and_is_raced(work: Path) -> None:
    part = part_in(work, "parity onnx fp32")
    parity(part)
    (found,) = read_records(part.out)
    assert (found.part, found.check, found.status) == (part_of("onnx", "fp32"), CHECK, PASS)
    assert found.detail.startswith("|Δ asymmetry| ")
    assert found.detail.endswith("on 2 synthetic pairs, batches 1 and 3, cpu")
    assert [each.name for each in field_of(part).contenders] == ["eager fp32", "onnxruntime fp32"]


def test_an_engine_of_other_weights_fails_and_is_not_raced(work: Path) -> None:
    graph = onnx.load_from_string((work / "fp32" / ONNX).read_bytes())
    (bias,) = (each for each in graph.graph.initializer if each.name == "asyc.asymmetry.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
    (work / "fp32" / ONNX).write_bytes(graph.SerializeToString())
    manifest = read_manifest(work / "fp32")
    files = {**manifest.files, ONNX: sha256_of(work / "fp32" / ONNX)}
    write_manifest(work / "fp32", dataclasses.replace(manifest, files=files))
    part = part_in(work, "parity onnx fp32")
    parity(part)
    (found,) = read_records(part.out)
    assert found.status == FAIL
    assert "asymmetry over 0.0001" in found.detail
    field = field_of(part)
    assert [each.name for each in field.contenders] == ["eager fp32"]
    assert [each.reason for each in field.absent if each.name == "onnxruntime fp32"] == [f"parity: {found.detail}"]


def test_what_was_not_checked_or_not_to_the_end_is_not_timed_but_a_peer_that_is_further_away_is() -> None:
    name = part_of("onnx", "fp32")
    assert objection([], "onnx", "fp32") == "parity: was not checked"
    assert objection([Record(name, CHECK, CUT, "killed")], "onnx", "fp32") == "parity: killed"
    assert objection([Record(name, CHECK, INFO, "no GPU")], "onnx", "fp32") == "parity: no GPU"
    assert objection([Record(name, CHECK, PASS, ""), Record(name, "x", FAIL, "died")], "onnx", "fp32") == "parity: died"
    assert objection([Record(name, CHECK, PASS, "")], "onnx", "fp32") == ""
    peer = part_of("autocast fp16", "fp32")
    assert objection([Record(peer, CHECK, INFO, "normal over 0.02")], "autocast fp16", "fp32") == ""
    assert objection([Record(peer, CHECK, FAIL, "out of memory")], "autocast fp16", "fp32") == "parity: out of memory"


def test_an_engine_that_was_not_exported_or_cannot_run_here_is_told_and_does_not_fail(work: Path) -> None:
    for name, words in {
        "parity tensorrt-rtx fp16": "the export fp16 was not made",
        "parity tensorrt-rtx fp32": "fp32 holds no tensorrt-rtx",
    }.items():
        part = part_in(work, name)
        parity(part)
        last = read_records(part.out)[-1]
        assert (last.status, last.detail) == (INFO, words)


def test_an_engine_that_the_probe_saw_run_and_that_cannot_be_opened_is_not_waved_through(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_parity, "RTX", "onnx")
    monkeypatch.setattr(gpu_parity, "obstacle", lambda target: ("cuda", "pycuda is not installed"))
    part = part_in(work, "parity onnx fp32")
    parity(part)
    record(part.out, Record("probe default", "run", PASS, ""))
    parity(part)
    assert [(one.status, one.detail) for one in read_records(part.out) if one.part == part.name] == [
        (INFO, "pycuda is not installed"),
        (CUT, "pycuda is not installed, though TensorRT-RTX runs on this GPU"),
    ]


def test_each_contender_runs_in_one_heat_and_the_reference_in_both() -> None:
    def contender(engine: str, precision: str, outputs: tuple[str, ...] = OUTPUTS) -> Contender:
        name = f"{engine} {precision}" + ("" if outputs == OUTPUTS else ", scores")
        return Contender(name, Path("x"), engine, engine, precision, outputs, "cuda", None)

    every = (
        contender("eager", "fp32"),
        contender("eager", "fp32", OUTPUTS[:2]),
        contender("tensorrt-rtx", "fp16"),
        contender("tensorrt-rtx", "bf16"),
        contender("autocast", "fp16"),
        contender("autocast", "bf16"),
        contender("torch.compile", "fp32"),
    )
    manifest: Any = None
    field = Field(every, (), manifest)
    first, second = ([each.name for each in heat_of(field, heat).contenders] for heat in gpu_race.HEATS)
    assert first == ["eager fp32", "eager fp32, scores", "tensorrt-rtx fp16", "autocast fp16"]
    assert second == ["eager fp32", "tensorrt-rtx bf16", "autocast bf16", "torch.compile fp32"]


def test_the_race_is_given_what_is_left_when_all_are_started() -> None:
    assert pace_seconds(200.0, 5) == 200 - gpu_race.MARGIN - 5 * gpu_race.START
    assert pace_seconds(30.0, 5) == 10.0


def test_rows_come_back_as_they_were_written_and_the_reference_once() -> None:
    row = Row("eager fp32", "eager", "fp32", OUTPUTS, "cuda", "eager", 8, 5, 30, 1.0, 2.0, None, 8000.0, 1.0, 1.0, 1.0,
              {"normal": 0.5}, (), None, None, None, {}, {})  # fmt: skip
    other = dataclasses.replace(row, contender="x", delta={"normal": float("nan")}, differs=("normal",))
    lines = [{**each.as_json(), "heat": heat} for heat in gpu_race.HEATS for each in (row, other)]
    found = race_rows([*lines, {"kind": "absent"}, {"kind": "device"}])
    assert found[0] == row
    assert [each.contender for each in found] == ["eager fp32", "x"]
    assert np.isnan(found[1].delta["normal"])
    assert found[1].differs == ("normal",)


def test_on_the_gpu_what_differs_on_the_timed_views_is_not_timed_and_a_peer_is_told(tmp_path: Path) -> None:
    part = Part("device fp16", ("fp16",), tmp_path, "cpu", time.monotonic() + 60)
    scores = OUTPUTS[:2]
    right = {"asymmetry": torch.tensor([0.5]), "abnormal": torch.tensor([[0.2, 0.7]])}
    wrong = {**right, "abnormal": torch.tensor([[0.7, 0.2]])}
    blank = {**right, "abnormal": torch.tensor([[0.2, torch.nan]])}

    def broken(views: torch.Tensor) -> object:
        raise RuntimeError("out of memory")

    runners = [
        Runner("eager fp32", "eager", "fp32", scores, lambda views: right),
        Runner("tensorrt-rtx fp16", "tensorrt-rtx", "fp16", scores, lambda views: tuple(right.values())),
        Runner("tensorrt-rtx bf16", "tensorrt-rtx", "bf16", scores, lambda views: wrong),
        Runner("aotinductor fp32", "aotinductor", "fp32", scores, lambda views: blank),
        Runner("autocast fp16", "autocast", "fp16", scores, lambda views: wrong),
        Runner("torch.compile fp32", "torch.compile", "fp32", scores, broken),
    ]
    alive = _right(part, runners, torch.zeros(1, 2, 4, 4))
    assert [one.name for one in alive] == ["eager fp32", "tensorrt-rtx fp16", "autocast fp16"]
    assert alive[2].differs == ("abnormal",)
    assert [(one.check, one.status, one.detail) for one in read_records(tmp_path)] == [
        ("tensorrt-rtx bf16, batch 1", FAIL, "|Δ abnormal| 5.0e-01"),
        ("aotinductor fp32, batch 1", FAIL, "|Δ abnormal| nan"),
        ("autocast fp16, batch 1", INFO, "|Δ abnormal| 5.0e-01"),
        ("torch.compile fp32, batch 1", INFO, "RuntimeError: out of memory"),
    ]


def test_outputs_are_named_however_they_are_returned() -> None:
    values = [torch.full((1,), float(place)) for place in range(5)]
    wanted = dict(zip(OUTPUTS, values, strict=True))
    assert outputs_of(ModelOutputs(*values), OUTPUTS) == outputs_of(values, OUTPUTS) == outputs_of(wanted, ()) == wanted
    assert deltas({"cam": torch.tensor([1.0]).half()}, {**wanted, "cam": torch.tensor([0.25])}) == {"cam": 0.75}


def test_losses_that_drift_no_further_than_rounding_are_alike_and_others_are_not() -> None:
    exact = torch.tensor([[1.0, 0.5, 0, 0, 1.0, 0], [0.8, 0.4, 0, 0, 0.9, 0]])
    plain = exact * 1.02
    assert "the kernel 4.0e-02, the reference 2.0e-02" in alike(exact, plain, exact * 0.96)
    with pytest.raises(AssertionError, match=r"the kernel 6\.0e-02, the reference 2\.0e-02"):
        alike(exact, plain, exact * 1.06)
    bad = exact.clone()
    bad[1, 4] = torch.nan
    with pytest.raises(AssertionError, match="with the kernel refinement in step 2 is not finite"):
        alike(exact, plain, bad)


def test_a_package_holds_the_kernel_only_if_its_code_names_it(tmp_path: Path) -> None:
    for name, code in {"with": b"\x7fELF attention_forward_0\0", "without": b"\x7fELF disasym::bilateral"}.items():
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("model/data/aotinductor/model/wrapper.so", code)
    assert has_kernel(tmp_path / "with")
    assert not has_kernel(tmp_path / "without")


def test_real_pairs_are_taken_from_the_file_that_was_named_and_refused_at_another_size(tmp_path: Path) -> None:
    views = synthetic_pairs(64, 32, 2)
    np.savez_compressed(tmp_path / "pairs.npz", views=views.astype(np.float16))
    found, source = _pairs(tmp_path / "pairs.npz", 64, 32)
    assert (source, found.dtype.name, found.shape) == ("real", "float32", views.shape)
    np.testing.assert_allclose(found, views, atol=2**-11)
    with pytest.raises(InputError):
        _pairs(tmp_path / "pairs.npz", 128, 32)


@pytest.mark.slow
def test_the_weights_and_pairs_are_the_same_each_time(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        part = part_in(tmp_path / name, "models")
        models(part)
        made.append((sha256_of(part.work / WEIGHTS), pairs(part.work)))
    assert made[0][0] == made[1][0]
    assert made[0][1][1] == made[1][1][1] == "synthetic"
    np.testing.assert_array_equal(made[0][1][0], made[1][1][0])
