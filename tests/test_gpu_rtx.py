"""The probe of TensorRT-RTX: every way in which an attempt can end is told for what it is. No engine runs here.

The library in its place runs ONNX (`fake_cuda`); what the real one says without a GPU is asked of the real one.
"""

import dataclasses
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="Triton is absent: pip install '.[gpu]'")

import torch

import fake_cuda
from benchmarks import gpu_rtx
from benchmarks.gpu_models import RTX, again, rebuild
from benchmarks.gpu_part import FAIL, INFO, PASS, Part, Record, read_records, record
from benchmarks.gpu_rtx import BUILD, RUN, OnTorch, RefusedError, capabilities_that_run, probe, run_once, told
from disasym.checkpoint import load_model
from disasym.engines import obstacle
from disasym.engines.trt import find_obstacle
from disasym.errors import ExportError
from disasym.export import ExportOptions, export
from disasym.export.manifest import ONNX, checked_file, read_manifest
from disasym.export.parity import synthetic_pairs
from disasym.spec import Array

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec(gpu_rtx.MODULE) is None, reason="TensorRT-RTX is absent: pip install '.[rtx]'"
)


class Everywhere(dict[int, Any]):
    """Memory of PyTorch in the place of the device's."""

    def __contains__(self, address: object) -> bool:
        return True


class AtOnce(list[Callable[[], None]]):
    """A stream's work, done when it is given."""

    def append(self, work: Callable[[], None]) -> None:
        work()


@pytest.fixture
def machine() -> fake_cuda.Machine:
    machine = fake_cuda.Machine()
    machine.device, machine.stacks.depth = Everywhere(), 1
    machine.streams[0] = SimpleNamespace(work=AtOnce())  # type: ignore[assignment]
    return machine


@pytest.fixture
def library(machine: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = fake_cuda.library(machine, gpu_rtx.MODULE, gpu_rtx.LARGEST)
    monkeypatch.setitem(sys.modules, gpu_rtx.MODULE, found)
    return found


@pytest.fixture(scope="module")
def graph(small_export: Path) -> bytes:
    return (small_export / ONNX).read_bytes()


@pytest.fixture(scope="module")
def small(small_export: Path, graph: bytes) -> tuple[bytes, Array, dict[str, Array]]:
    """What `_small` makes, of the export that all tests share, in float32."""
    network = load_model(small_export / "model.safetensors")
    views = synthetic_pairs(network.config.height, network.config.width, gpu_rtx.LARGEST)
    with torch.inference_mode():
        expected = {name: value.numpy() for name, value in network(torch.from_numpy(views))._asdict().items()}
    return graph, views, expected


def part_in(out: Path, name: str) -> Part:
    return Part(name, tuple(name.split()[1:]), out, "cpu", time.monotonic() + 300, work=out)


def attempt(
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    small: tuple[bytes, Array, dict[str, Array]],
    plan: bytes | ExportError,
    name: str = "default",
) -> list[Record]:
    """Run an attempt whose builder gives this plan, or refuses."""
    asked: list[tuple[str, ...]] = []

    def build(model: bytes, folder: Path, *, max_batch: int, compute_capabilities: tuple[str, ...]) -> Any:
        asked.append(compute_capabilities)
        if isinstance(plan, ExportError):
            raise plan
        (folder / "model.engine").write_bytes(plan)
        return SimpleNamespace(
            engine=folder / "model.engine", facts={"engine_bytes": len(plan), "seconds": 1.0, "attention": {}}
        )

    monkeypatch.setattr("disasym.export.to_tensorrt.build", build)
    monkeypatch.setattr(gpu_rtx, "_small", lambda part, attempt: small)
    probe(part_in(out, f"probe {name}"))
    assert asked == [gpu_rtx.CAPABILITIES[name]]
    return read_records(out)


def test_an_engine_that_runs_and_agrees_is_found_and_is_the_one_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: ModuleType, small: Any
) -> None:
    attempt(tmp_path, monkeypatch, small, ExportError("no"), "current")
    records = attempt(tmp_path, monkeypatch, small, small[0], "sm89")
    assert [(one.part, one.check, one.status) for one in records] == [
        ("probe current", BUILD, INFO),
        ("probe sm89", BUILD, INFO),
        ("probe sm89", RUN, PASS),
    ]
    assert "runs and agrees with eager: |Δ asymmetry|" in records[2].detail
    assert capabilities_that_run(records) == ("sm89", ("SM89",))
    answer, *ends = told(records)
    assert answer == "TensorRT-RTX on this GPU: runs, built for SM89"
    assert [end.split(":")[0].strip() for end in ends] == ["current", "sm89"]


def test_the_default_is_preferred_where_several_run() -> None:
    records = [Record(f"probe {name}", RUN, PASS, "") for name in ("sm80", "default", "current")]
    assert capabilities_that_run(records) == ("default", ())
    assert told(records)[0] == "TensorRT-RTX on this GPU: runs, built for the default capabilities"
    assert capabilities_that_run([Record("probe default", BUILD, PASS, "")]) is None
    assert told([]) == ["TensorRT-RTX on this GPU: was not probed"]


def test_an_engine_that_runs_and_is_another_model_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: ModuleType, small: Any
) -> None:
    plan, views, expected = small
    moved = {**expected, "abnormal": expected["abnormal"][:, ::-1]}  # the sides mixed up
    records = attempt(tmp_path, monkeypatch, (plan, views, moved), plan)
    assert records[-1].status == FAIL
    assert "runs, and abnormal differ" in records[-1].detail
    assert capabilities_that_run(records) is None
    assert told(records)[0] == "TensorRT-RTX on this GPU: does not run"
    assert "abnormal differ" in told(records)[1]


def test_an_engine_that_writes_only_some_pairs_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: ModuleType, machine: fake_cuda.Machine, small: Any
) -> None:
    whole = fake_cuda.Execution._run
    monkeypatch.setattr(fake_cuda.Execution, "_run", lambda self, addresses, pairs: whole(self, addresses, 1))
    records = attempt(tmp_path, monkeypatch, small, small[0])
    assert records[-1].status == FAIL
    assert "|Δ asymmetry| nan" in records[-1].detail


def test_refusals_are_told_in_the_words_of_the_library_and_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: ModuleType, machine: fake_cuda.Machine, small: Any
) -> None:
    cases = {
        "default": (ExportError("no kernel for 9.0"), "", BUILD, "refused: no kernel for 9.0"),
        "sm80": (b"no engine", "", RUN, "cannot open the engine: Serialization assertion failed.; and what follows"),
        "sm89": (small[0], "invalid device function", RUN, "does not run 4 pairs: invalid device function"),
    }
    for name, (plan, refuse, check, words) in cases.items():
        machine.refuse = refuse
        last = attempt(tmp_path, monkeypatch, small, plan, name)[-1]
        assert (last.part, last.check, last.status) == (f"probe {name}", check, INFO)
        assert words in last.detail


def test_without_the_library_the_probe_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, gpu_rtx.MODULE, None)
    probe(part_in(tmp_path, "probe default"))
    (only,) = read_records(tmp_path)
    assert (only.check, only.status) == (BUILD, INFO)
    assert "cannot be imported" in only.detail


def test_outputs_are_those_of_each_batch_and_its_size(library: ModuleType, small: Any) -> None:
    plan, views, expected = small
    engine = OnTorch(library, plan, "cpu", 0)
    for pairs in (slice(0, 3), slice(2, 4), slice(0, 1), slice(1, 2)):
        found = engine(torch.from_numpy(views[pairs].copy()))
        for name, value in expected.items():
            np.testing.assert_allclose(found[name].numpy(), value[pairs], atol=1e-3)
    with pytest.raises(RefusedError, match="refuses 5 pairs"):
        engine(torch.from_numpy(views[[0, 1, 2, 3, 0]]))


@needs_rtx
def test_without_a_gpu_the_real_library_refuses_in_its_own_words() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here: the probe itself asks it")
    library = importlib.import_module(gpu_rtx.MODULE)
    with pytest.raises(RefusedError, match=r"tensorrt_rtx_bindings .* cannot open the engine: .*(Error|assertion)"):
        run_once(library, b"no engine", np.zeros((1, 2, 64, 32), np.float32), "cpu")


@needs_rtx
@pytest.mark.slow
def test_an_engine_built_again_is_noted_in_its_manifest_and_is_not_refused_for_its_list(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir()
    export(small_export / "model.safetensors", work / "fp32", ExportOptions("fp32", ("onnx", RTX), "scores", 2))
    before = read_manifest(work / "fp32")
    part = dataclasses.replace(part_in(out, "again"), work=work)
    again(part)
    assert read_manifest(work / "fp32") == before
    record(out, Record("probe sm89", RUN, PASS, ""))
    again(part)
    after = read_manifest(work / "fp32")
    assert [(one.check, one.status) for one in read_records(out) if one.part == "again"] == [
        ("engines", INFO),
        ("fp32", PASS),
    ]
    target = after.targets[RTX]
    assert target.facts["compute_capabilities"] == ["SM89", "CURRENT"]
    assert target.facts["batches"] == {"smallest": 1, "tuned_for": 2, "largest": 2}
    assert after.files["model.onnx"] == before.files["model.onnx"]
    assert after.files[target.files[0]] != before.files[target.files[0]]
    for name in after.files:
        checked_file(work / "fp32", after, name)
    monkeypatch.setattr("disasym.engines.trt.find_gpu", lambda: (9, 0))
    found = find_obstacle(target)
    assert found is None or found.clause == "pycuda is not installed"
    listed = dataclasses.replace(target, facts={**target.facts, "compute_capabilities": ["SM89"]})
    assert obstacle(listed)[1] == "built for compute capability SM89, this GPU has SM90"


def test_an_engine_that_cannot_be_built_again_is_a_failure(tmp_path: Path, small_export: Path) -> None:
    shutil.copytree(small_export, tmp_path / "fp32")
    manifest = json.loads((tmp_path / "fp32" / "manifest.json").read_text())
    assert RTX not in manifest["targets"]
    with pytest.raises(KeyError):
        rebuild(tmp_path / "fp32", ("SM89",))
