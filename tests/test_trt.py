"""The TensorRT engines over a fake GPU that does everything as late as it may, and what they say without any."""

import dataclasses
import importlib.util
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from disasym.engines import load, trt
from disasym.engines.base import Engine
from disasym.engines.trt import TrtEngine, find_obstacle
from disasym.engines.trt_cuda import find_gpu
from disasym.errors import EngineError, InputError, MissingExtraError
from disasym.export.manifest import ONNX, read_manifest, write_manifest
from disasym.export.verify import verify
from disasym.spec import Array, Outputs
from fake_cuda import VERSION, Event, Machine, Stream, install
from fake_plans import FLAVOURS, LARGEST, target_of, with_plan
from networks import pairs_for
from processes import run_python


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def exported(small_export: Path, tmp_path: Path, flavour: str) -> Path:
    return with_plan(small_export, tmp_path / "export", flavour)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, flavour: str) -> Machine:
    return install(monkeypatch, flavour, LARGEST)


def opened(folder: Path, chunk: int = 2) -> Engine:
    engine = load(folder, device="cuda")
    assert isinstance(engine, TrtEngine)
    engine._chunk = chunk
    return engine


def same(first: Outputs, second: Outputs) -> bool:
    return all(np.allclose(value, second.named()[name], atol=1e-5) for name, value in first.named().items())


@pytest.fixture(scope="module")
def views() -> Array:
    return pairs_for("small", LARGEST)


def test_every_batch_gives_what_the_model_gives_in_its_order(
    exported: Path, small_export: Path, machine: Machine, views: Array
) -> None:
    with load(small_export, "onnxruntime") as reference, opened(exported) as engine:
        for pairs in (7, 1, 5, 2):
            assert same(engine.run(views[:pairs]), reference.run(views[:pairs])), pairs
        again = engine.run(views)
        assert not any(
            np.shares_memory(value, engine.run(views).named()[name]) for name, value in again.named().items()
        )
    assert (machine.depth(), machine.device, machine.pinned) == (0, {}, [])


def test_memory_and_graphs_are_reused_over_the_calls(exported: Path, machine: Machine, views: Array) -> None:
    with opened(exported) as engine:
        engine.run(views[:6])
        before = machine.allocations
        for _ in range(3):
            engine.run(views[:6])
        assert machine.allocations == before
        assert len(machine.captured) == 1


@pytest.mark.parametrize("flavour", ["tensorrt"], indirect=True)
def test_with_a_plugin_every_run_has_one_shape_and_gives_the_same(
    exported: Path, small_export: Path, machine: Machine, views: Array
) -> None:
    manifest = read_manifest(exported)
    plugged = target_of("tensorrt", facts={"compute_capabilities": "as documented", "plugin": {"nodes": 4}})
    write_manifest(exported, dataclasses.replace(manifest, targets={"tensorrt": plugged}))
    with load(small_export, "onnxruntime") as reference, opened(exported, chunk=3) as engine:
        for pairs in (1, 7, 2):
            assert same(engine.run(views[:pairs]), reference.run(views[:pairs])), pairs
        assert {shape[0] for shape in machine.captured} == {3}


@pytest.mark.parametrize("left_out", [(Stream, "wait_for_event"), (Event, "synchronize")])
def test_the_fake_finds_out_an_engine_that_does_not_wait(
    exported: Path, machine: Machine, views: Array, monkeypatch: pytest.MonkeyPatch, left_out: tuple[type, str]
) -> None:
    with opened(exported) as engine:
        expected = engine.run(views)
        monkeypatch.setattr(*left_out, lambda self, event=None: self)
        with pytest.raises((EngineError, AssertionError)):  # NaN is refused; other pairs' numbers differ
            assert same(engine.run(views), expected)


def test_a_batch_without_room_is_a_memory_error_and_a_smaller_one_runs(
    exported: Path, machine: Machine, views: Array
) -> None:
    with opened(exported, chunk=4) as engine:
        machine.room = 5_000_000
        with pytest.raises(MemoryError, match="a batch of 4 pairs does not fit into memory: cuMemAlloc"):
            engine.run(views[:4])
        engine.run(views[:1])
        machine.refuse = "Error Code 2: OutOfMemory (Requested size was 5 bytes.)"
        with pytest.raises(MemoryError, match="OutOfMemory"):
            engine.run(views[:1])
        machine.refuse = "Error Code 1: Myelin"
        with pytest.raises(EngineError, match="TensorRT failed on 1 pairs: Error Code 1: Myelin"):
            engine.run(views[:1])
        machine.refuse = ""
        engine.run(views[:1])
    assert machine.depth() == 0


def test_threads_take_turns_and_leave_no_context_behind(exported: Path, machine: Machine, views: Array) -> None:
    with opened(exported) as engine:
        alone = [engine.run(views[at : at + 1]) for at in range(3)]
        found: list[bool] = []

        def work(at: int) -> None:
            found.append(same(engine.run(views[at : at + 1]), alone[at]) and machine.depth() == 0)

        threads = [threading.Thread(target=work, args=(at,)) for at in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 3


def test_what_is_wrong_is_refused_before_it_reaches_the_gpu(exported: Path, machine: Machine, views: Array) -> None:
    with opened(exported) as engine:
        before = machine.captured
        with pytest.raises(InputError, match="a batch of 8 pairs is above the 7"):
            engine.run(np.concatenate([views, views[:1]]))
        with pytest.raises(InputError, match="float64"):
            engine.run(views.astype(np.float64))
        with pytest.raises(InputError, match="nan"):
            engine.run(np.where(views == views.max(), np.float32("nan"), views))
        assert machine.captured == before


def test_a_flipped_byte_a_damaged_plan_and_another_model_are_refused(
    exported: Path, machine: Machine, flavour: str
) -> None:
    manifest, right = read_manifest(exported), (exported / ONNX).read_bytes()
    info = load(exported, "eager").info
    wrong = dataclasses.replace(info, height=512, max_batch=LARGEST)
    with pytest.raises(EngineError, match="is not the model its manifest describes"):
        TrtEngine(exported / ONNX, wrong, manifest.targets[flavour])
    with pytest.raises(EngineError, match="takes batches of 1 to 7, its manifest says 1 to 9"):
        TrtEngine(exported / ONNX, dataclasses.replace(info, max_batch=9), manifest.targets[flavour])
    (exported / ONNX).write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(EngineError, match="is damaged or belongs to another export"):
        load(exported, device="cuda")
    (exported / ONNX).write_bytes(right[:1000])
    with pytest.raises(EngineError, match=rf"cannot open .*{ONNX}: Serialization assertion failed"):
        TrtEngine(exported / ONNX, info, manifest.targets[flavour])
    assert machine.depth() == 0


def test_what_keeps_an_engine_from_running_is_one_clause(
    machine: Machine, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = trt.MODULES[flavour][0]
    for target, clause in (
        (target_of(flavour), ""),
        (target_of(flavour, versions={module: "1.2.3"}), f"built by {module} 1.2.3, this is {VERSION}"),
        (target_of(flavour, facts={"compute_capabilities": ["SM120"]}), "built for compute capability SM120"),
        (target_of(flavour, facts={"compute_capabilities": ["SM89"]}), ""),
    ):
        assert trt.problem(target, "cuda").startswith(clause)
        assert bool(trt.problem(target, "cuda")) == bool(clause)
    real = importlib.util.find_spec
    for absent, says in (("pycuda", r"CUDA toolkit.*disasym\[cuda\]"), (module, "pip install 'disasym")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, gone=absent: None if name == gone else real(name))
        found = find_obstacle(target_of(flavour))
        assert found is not None
        assert found.clause == f"{absent} is not installed"
        with pytest.raises(MissingExtraError, match=says):
            raise found.error


@pytest.mark.parametrize(
    ("capability", "documented"),
    [((8, 0), True), ((8, 9), True), ((9, 0), False), ((10, 0), False), ((12, 0), True), ((13, 0), True)],
)
def test_a_gpu_that_tensorrt_rtx_does_not_support_is_named_before_the_engine_is_opened(
    machine: Machine, flavour: str, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], documented: bool
) -> None:
    """An H200, which has 9.0, refused every engine: docs/log.md."""
    monkeypatch.setattr(trt, "find_gpu", lambda: capability)
    found = find_obstacle(target_of(flavour))
    assert (found is None) == (documented or flavour == "tensorrt")
    if found:
        number = ".".join(map(str, capability))
        assert found.clause == f"TensorRT-RTX does not support compute capability {number}, which this GPU has"
        assert "ask for another engine: aotinductor" in str(found.error)


@pytest.mark.skipif(not isinstance(find_gpu(), str), reason="there is a GPU here")
def test_without_a_gpu_the_engine_is_not_run_and_neither_pycuda_nor_tensorrt_is_imported(
    exported: Path, flavour: str
) -> None:
    (found,) = verify(exported)
    assert (found.verdict, found.parity) == ("not run", "not run (no GPU)")
    with pytest.raises(EngineError, match=f"the {flavour} engine cannot run here, no GPU: run it on a machine with"):
        load(exported, flavour, "cuda")
    assert "pycuda" not in sys.modules
    script = """
import sys
from pathlib import Path
from disasym.engines import load
from disasym.errors import EngineError
try:
    load(Path(sys.argv[1]), device="cuda")
except EngineError as error:
    print(*sorted({"torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx_bindings", "pycuda"} & sys.modules.keys()))
"""
    assert run_python(script, exported) == ""
