"""The target `tensorrt` without a GPU: all that surrounds NVIDIA's data-centre package, and refusals before any work.

The package itself cannot be had without a GPU's machine. TensorRT-RTX has the same Python API and builds in its place,
less the one class that TensorRT lacks (docs/log.md); its timing cache does nothing, so one of ours stands there.
"""

import ctypes
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from disasym.cli import main
from disasym.engines import trt, trt_cuda
from disasym.errors import EngineError, ExportError, InputError, MissingExtraError
from disasym.export import ExportOptions, export, folder, tensorrt_library, to_tensorrt
from disasym.export.manifest import ONNX, WEIGHTS, read_manifest
from disasym.export.to_tensorrt import build

H100 = {"name": "NVIDIA H100 80GB HBM3", "compute_capability": "SM90", "cuda_of_driver": "13.0"}
# Below TensorRT-RTX with the API of TensorRT: no ComputeCapability, a timing cache that is of one GPU and keeps count.
PACKAGE = """
from tensorrt_rtx_bindings import *
from tensorrt_rtx_bindings import Builder as RtxBuilder
__version__ = "11.4.0.106"
del ComputeCapability
class Cache:
    def __init__(self, given):
        self.of, self.count = (given.split(b" ") if given else [b"SM90", b"0"])
    def serialize(self):
        return memoryview(b"%s %d" % (self.of, int(self.count) + 1))
class Config:
    def __init__(self, config):
        self.__dict__.update(config=config, cache=None)
    def __getattr__(self, name):
        return getattr(self.config, name)
    def __setattr__(self, name, value):
        setattr(self.config, name, value)
    def create_timing_cache(self, given):
        return Cache(given)
    def set_timing_cache(self, cache, ignore_mismatch):
        self.__dict__["cache"] = cache
        return ignore_mismatch or cache.of == b"SM90"
    def get_timing_cache(self):
        return self.cache
class Builder(RtxBuilder):
    def create_builder_config(self):
        return Config(RtxBuilder.create_builder_config(self))
    def build_serialized_network(self, network, config):
        return RtxBuilder.build_serialized_network(self, network, config.config)
"""


@pytest.fixture
def data_centre(first_to_import: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package `tensorrt` and a GPU, as far as the exporter can see."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is absent: pip install '.[rtx]'")
    (first_to_import / "tensorrt.py").write_text(PACKAGE)
    monkeypatch.setattr(tensorrt_library, "find_gpu", lambda: (9, 0))
    monkeypatch.setattr(to_tensorrt, "gpu_facts", lambda: H100)


@pytest.fixture
def relu() -> bytes:
    """views [batch, 4] → y [batch, 4]."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("views", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["views"], ["y"], name="relu")], "graph", ends[:1], ends[1:])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10).SerializeToString()
    )


@pytest.mark.usefixtures("data_centre")
def test_the_facts_say_which_gpu_and_version_it_was_built_with(relu: bytes, tmp_path: Path) -> None:
    built = build(relu, tmp_path, flavour="tensorrt")
    assert built.versions == {"tensorrt": "11.4.0.106"}
    facts = json.loads(json.dumps(built.facts))
    assert facts["flavour"] == "tensorrt"
    assert facts["built_on"] == H100
    assert facts["compute_capabilities"] == ["SM90"]  # the engine is refused on another: engines/trt.py
    assert facts["timing_cache"] == "empty"


@pytest.mark.usefixtures("data_centre")
def test_the_timing_cache_lies_beside_the_log_and_starts_the_next_build(relu: bytes, tmp_path: Path) -> None:
    first = build(relu, tmp_path, flavour="tensorrt")
    assert first.timings == tmp_path / "timing.cache"
    kept = first.timings.read_bytes()
    assert kept == b"SM90 1"
    second = build(relu, tmp_path, flavour="tensorrt", timings=kept)
    assert second.facts["timing_cache"] == "that of the export before"
    assert (tmp_path / "timing.cache").read_bytes() == b"SM90 2"
    assert {path.name for path in tmp_path.iterdir()} >= {"model.engine", "build.log", "layers.json", "timing.cache"}


@pytest.mark.usefixtures("data_centre")
def test_a_timing_cache_of_another_gpu_is_not_used_and_that_is_said(relu: bytes, tmp_path: Path) -> None:
    built = build(relu, tmp_path, flavour="tensorrt", timings=b"SM80 7")
    assert built.facts["timing_cache"] == "empty"
    assert (tmp_path / "timing.cache").read_bytes() == b"SM90 1"
    assert "of another GPU or version: it is not used" in built.log.read_text()


@pytest.mark.usefixtures("data_centre")
def test_compute_capabilities_are_refused_by_the_library_that_has_none(relu: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tensorrt builds for the GPU of this machine and cannot be told SM80, SM90"):
        build(relu, tmp_path, flavour="tensorrt", compute_capabilities=("SM80", "SM90"))


@pytest.mark.slow
@pytest.mark.usefixtures("data_centre")
def test_a_model_repository_holds_the_engine_as_a_plan_and_its_logs_beside(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "to_onnx", lambda model, **metadata: (small_export / ONNX).read_bytes())
    monkeypatch.setattr(trt, "find_gpu", lambda: "no GPU")
    export(small_export / WEIGHTS, tmp_path / "out", ExportOptions(targets=("triton-server-tensorrt",), max_batch=2))
    manifest = read_manifest(tmp_path / "out")
    target, place = manifest.targets["triton-server-tensorrt"], "triton-server-tensorrt"
    plan, config = f"{place}/repository/disasym/1/model.plan", f"{place}/repository/disasym/config.pbtxt"
    assert (target.engine, target.files, target.max_batch) == ("tensorrt", (plan, config), 2)
    assert target.parity == "not run (no GPU)"
    assert (tmp_path / "out" / plan).stat().st_size == target.facts["engine_bytes"]
    text = (tmp_path / "out" / config).read_text()
    assert all(
        line in text for line in ('platform: "tensorrt_plan"', "max_batch_size: 2", "preferred_batch_size: [ 2 ]")
    )
    served = {path.name for path in (tmp_path / "out" / place / "repository").iterdir()}
    assert served == {"disasym"}  # each folder there is a model to the server
    beside = {path.name for path in (tmp_path / "out" / place).iterdir() if path.is_file()}
    assert beside == {"build.log", "layers.json", "timing.cache"}


@pytest.mark.slow
@pytest.mark.usefixtures("data_centre")
def test_an_export_that_is_made_again_starts_from_its_own_timing_cache(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "to_onnx", lambda model, **metadata: (small_export / ONNX).read_bytes())
    monkeypatch.setattr(trt, "find_gpu", lambda: "no GPU")
    for started in ("empty", "that of the export before"):
        export(small_export / WEIGHTS, tmp_path / "out", ExportOptions(targets=("tensorrt",), max_batch=2))
        target = read_manifest(tmp_path / "out").targets["tensorrt"]
        assert target.facts["timing_cache"] == started
        assert target.parity == "not run (no GPU)"
    assert "tensorrt/timing.cache" in read_manifest(tmp_path / "out").files


def test_without_a_gpu_nothing_is_read_and_nothing_is_made(
    tmp_path: Path, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_library, "find_gpu", lambda: "no GPU")
    monkeypatch.setattr(folder, "read_config", lambda weights: pytest.fail("read the weights"))
    monkeypatch.setattr("disasym.cli.sources.real_pairs", lambda *_: pytest.fail("read the pairs"))
    with pytest.raises(
        ExportError, match="target 'tensorrt' cannot be built here, no GPU: export on the machine whose"
    ):
        export(small_export / WEIGHTS, tmp_path / "out", ExportOptions(targets=("onnx", "tensorrt")))
    weights, out = str(small_export / WEIGHTS), str(tmp_path / "out")
    for target in ("tensorrt", "triton-server-tensorrt"):
        result = CliRunner().invoke(main, ["export", weights, "--to", f"onnx,{target}", "--out", out])
        assert result.exit_code == 2
        assert f"target '{target}' cannot be built here, no GPU" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("flavour", "extra"), [("tensorrt-rtx", "rtx"), ("tensorrt", "gpu")])
def test_a_missing_package_is_refused_before_any_work(
    tmp_path: Path, small_export: Path, monkeypatch: pytest.MonkeyPatch, flavour: str, extra: str
) -> None:
    real = importlib.util.find_spec
    absent = tensorrt_library.LIBRARIES[flavour].module
    monkeypatch.setattr(tensorrt_library, "find_gpu", lambda: (9, 0))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else real(name))
    monkeypatch.setattr(folder, "read_config", lambda weights: pytest.fail("read the weights"))
    with pytest.raises(MissingExtraError, match=re.escape(f"pip install 'disasym[{extra}]'")):
        export(small_export / WEIGHTS, tmp_path / "out", ExportOptions(targets=(flavour,)))


class Driver:
    """libcuda with one GPU; the names and their order of arguments are those of cuda.h."""

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def cuInit(self, *flags: int) -> int:  # noqa: N802
        assert flags == (0,)
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = 10 + ordinal
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        assert device.value == 10
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        assert (size, device.value) == (256, 10)
        name.value = H100["name"].encode()
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 13000
        return 0


def test_the_gpu_is_described_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert trt_cuda.gpu_facts() == H100
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(count=0))
    with pytest.raises(EngineError, match="no GPU can be described, no GPU: run this on a machine"):
        trt_cuda.gpu_facts()
