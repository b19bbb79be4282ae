"""The probe of TensorRT-RTX: every way in which an attempt can end is told for what it is. No engine runs here.

The library in its place runs ONNX (`fake_cuda`); what the real one says without a GPU is asked of the real one.
"""

import importlib.util
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
from benchmarks.gpu_part import FAIL, INFO, PASS, Part, Record, read_records
from benchmarks.gpu_rtx import BUILD, RUN, OnTorch, RefusedError, probe, run_once, runs_here, told
from disasym.checkpoint import load_model
from disasym.errors import ExportError
from disasym.export.manifest import ONNX
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

    def build(model: bytes, folder: Path, *, max_batch: int) -> Any:
        if isinstance(plan, ExportError):
            raise plan
        (folder / "model.engine").write_bytes(plan)
        return SimpleNamespace(
            engine=folder / "model.engine", facts={"engine_bytes": len(plan), "seconds": 1.0, "attention": {}}
        )

    monkeypatch.setattr("disasym.export.to_tensorrt.build", build)
    monkeypatch.setattr(gpu_rtx, "_small", lambda part, attempt: small)
    probe(part_in(out, f"probe {name}"))
    return read_records(out)


def test_an_engine_that_runs_and_agrees_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: ModuleType, small: Any
) -> None:
    attempt(tmp_path, monkeypatch, small, ExportError("no"), "int8")
    assert not runs_here(read_records(tmp_path))
    records = attempt(tmp_path, monkeypatch, small, small[0])
    assert [(one.part, one.check, one.status) for one in records] == [
        ("probe int8", BUILD, INFO),
        ("probe default", BUILD, INFO),
        ("probe default", RUN, PASS),
    ]
    assert "runs and agrees with eager: |Δ asymmetry|" in records[2].detail
    assert runs_here(records)
    answer, *ends = told(records)
    assert answer == "TensorRT-RTX on this GPU: runs"
    assert [end.split(":")[0].strip() for end in ends] == ["int8", "default"]


def test_an_engine_that_was_built_and_not_run_is_no_answer() -> None:
    assert not runs_here([Record("probe default", BUILD, PASS, "")])
    assert told([]) == ["TensorRT-RTX on this GPU: was not probed"]


def test_an_engine_that_runs_and_is_another_model_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: ModuleType, small: Any
) -> None:
    plan, views, expected = small
    moved = {**expected, "abnormal": expected["abnormal"][:, ::-1]}  # the sides mixed up
    records = attempt(tmp_path, monkeypatch, (plan, views, moved), plan)
    assert records[-1].status == FAIL
    assert "runs, and abnormal differ" in records[-1].detail
    assert not runs_here(records)
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
        "no builder": (ExportError("no kernel for 9.0"), "", BUILD, "refused: no kernel for 9.0"),
        "no plan": (b"no engine", "", RUN, "cannot open the engine: Serialization assertion failed.; and what follows"),
        "no run": (small[0], "invalid device function", RUN, "does not run 4 pairs: invalid device function"),
    }
    for name, (plan, refuse, check, words) in cases.items():
        machine.refuse = refuse
        (out := tmp_path / name).mkdir()
        last = attempt(out, monkeypatch, small, plan)[-1]
        assert (last.part, last.check, last.status) == ("probe default", check, INFO)
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
