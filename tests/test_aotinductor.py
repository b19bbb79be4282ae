"""The AOTInductor target: compiled once, the same model, and refused where it was not compiled for."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from disasym.checkpoint import save_model
from disasym.engines import Engine, load, obstacle
from disasym.engines.aoti import instruction_sets
from disasym.errors import EngineError, ExportError, InputError
from disasym.export import ExportOptions, export
from disasym.export.manifest import MANIFEST, PT2, WEIGHTS, Parity, read_manifest
from disasym.export.parity import synthetic_pairs
from disasym.export.to_aotinductor import Chosen, Unrounded, laid_out, stem, to_aotinductor, traced
from disasym.model import PRESETS, DisAsymNet
from networks import TINY

pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(tiny_aotinductor: Path) -> Path:
    return tiny_aotinductor


@pytest.fixture
def engine(tiny: Path) -> Engine:
    return load(tiny, "aotinductor", threads=1)


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "export"))


def edit(folder: Path, field: str, value: object) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    content["targets"]["aotinductor"][field] = value
    (folder / MANIFEST).write_text(json.dumps(content))


def test_the_compiled_network_is_the_model(tiny: Path, engine: Engine) -> None:
    measured = read_manifest(tiny).targets["aotinductor"].parity
    assert isinstance(measured, Parity)
    assert not measured.beyond()
    views = synthetic_pairs(64, 32, 4)
    with engine, load(tiny, "eager") as eager:
        assert (engine.info.max_batch, engine.info.precision) == (4, "fp32")
        for batch in (1, 2, 4):
            found, expected = engine.run(views[:batch]), eager.run(views[:batch])
            for name, value in found.named().items():
                np.testing.assert_allclose(value, expected.named()[name], atol=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_in_half_precision_it_is_the_model_and_gives_float32(tiny: Path, tmp_path: Path, precision: str) -> None:
    options = ExportOptions(precision, ("aotinductor",), "scores", max_batch=2)
    manifest = export(tiny / WEIGHTS, tmp_path / "out", options)
    target = manifest.targets["aotinductor"]
    assert isinstance(target.parity, Parity)
    assert max(target.parity.measured.values()) > 1e-6, "nothing ran in half precision"
    with load(tmp_path / "out", "aotinductor", threads=1) as engine:
        assert engine.info.precision == precision
        found = engine.run(synthetic_pairs(64, 32, 2)).named()
    assert {str(value.dtype) for value in found.values()} == {"float32"}


def test_layouts_that_export_saw_without_cudnn_are_not_remembered() -> None:
    """Where they were, scores on a GPU were wrong by 0.47: convolutions answered in another layout than was read."""
    network = Chosen(DisAsymNet(TINY).eval(), ("asymmetry", "abnormal"))
    program = traced(network, torch.zeros(2, 2, 64, 32), {0: torch.export.Dim("batch", min=1, max=4)})
    modes = {value.fake_mode for node in program.graph.nodes if hasattr(value := node.meta.get("val"), "fake_mode")}
    assert modes
    assert not any(mode.cache_enabled for mode in modes)


def test_what_is_laid_out_for_a_device_is_a_copy() -> None:
    model = DisAsymNet(TINY)
    copied = laid_out(model, "cpu", torch.float16)
    copied.asyc.encoder.get_parameter("conv1.convolution.weight").data.zero_()
    assert model.asyc.encoder.get_parameter("conv1.weight").any()


def test_grey_values_meet_the_first_weights_unrounded() -> None:
    torch.manual_seed(0)
    first = torch.nn.Conv2d(1, 4, 3)
    x = torch.rand(2, 1, 8, 8)
    exact = first(x).half()
    with torch.autocast("cpu", torch.float16):
        assert torch.equal(Unrounded(first, torch.float16)(x), exact)
        assert not torch.equal(first(x), exact)


@pytest.mark.parametrize(("preset", "name"), [("small", "conv1"), ("lite", "_conv_stem")])
def test_the_first_convolution_is_the_one_that_reads_the_views(preset: str, name: str) -> None:
    model = DisAsymNet(PRESETS[preset])
    assert stem(model) == f"asyc.encoder.{name}"
    halved = laid_out(model, "cpu", torch.float16)
    assert isinstance(halved.get_submodule(stem(model)), Unrounded)
    assert not isinstance(laid_out(model, "cpu", None).get_submodule(stem(model)), Unrounded)


def test_a_package_with_a_standard_library_of_its_own_can_be_opened(tmp_path: Path) -> None:
    """As a compiler makes it that finds libstdc++ only as an archive. Two such libraries in a process do not get on."""
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text(
        '#!/bin/bash\ncase " $* " in *" -shared "*|*".o "*) set -- "$@" -static-libstdc++;; esac\n'
        f'exec {shutil.which("g++")} "$@"\n'
    )
    compiler.chmod(0o755)
    weights, folder = tmp_path / "tiny.safetensors", tmp_path / "out"
    save_model(weights, DisAsymNet(TINY).eval(), preset="custom")
    made = f"from disasym.export import *; export(Path({str(weights)!r}), Path({str(folder)!r}), O)"
    options = "O = ExportOptions('fp32', ('aotinductor',), 'scores', 2)"
    caches = {"CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    _python(f"from pathlib import Path; from disasym.export import ExportOptions; {options}; {made}", **caches)
    with zipfile.ZipFile(folder / PT2) as archive:
        code = next(archive.read(name) for name in archive.namelist() if name.endswith(".so"))
    assert b"libstdc++.so" not in code, "the package uses the library that is there, so this test shows nothing"
    _python(f"from pathlib import Path; from disasym.engines import load; load(Path({str(folder)!r}), 'aotinductor')")


def _python(program: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_batches_above_the_profile_and_other_arrays_are_refused(engine: Engine) -> None:
    views = synthetic_pairs(64, 32, 5)
    with engine:
        with pytest.raises(InputError, match="a batch of 5 pairs is above the 4"):
            engine.run(views)
        with pytest.raises(InputError, match="float64"):
            engine.run(views[:1].astype(np.float64))
        views[0, 0, 0, 0] = np.nan
        with pytest.raises(InputError, match="nan"):
            engine.run(views[:1])
        engine.run(views[1:2])
    with pytest.raises(EngineError, match="closed"):
        engine.run(views[1:2])


def test_one_flipped_bit_is_refused(copied: Path) -> None:
    content = bytearray((copied / PT2).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / PT2).write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.pt2 is damaged"):
        load(copied)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("versions", {"torch": "1.0"}, "compiled by torch 1.0, this is "),
        ("facts", {"device": "cpu", "cpu": "pdp11"}, "compiled for a processor with pdp11, which this one lacks"),
    ],
)
def test_what_was_compiled_for_another_machine_is_refused_before_it_is_opened(
    copied: Path, field: str, value: object, says: str
) -> None:
    edit(copied, field, value)
    with pytest.raises(EngineError, match=rf"cannot run here: {says}.*export the model again"):
        load(copied, "aotinductor")
    _, problem = obstacle(read_manifest(copied).targets["aotinductor"])
    assert problem.startswith(says)


def test_a_package_for_a_gpu_is_not_run_without_one(copied: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    edit(copied, "facts", {"device": "cuda", "gpu": "a GPU", "cpu": instruction_sets()})
    assert obstacle(read_manifest(copied).targets["aotinductor"]) == ("cuda", "no GPU")
    with pytest.raises(EngineError, match="does not run on device 'cpu'"):
        load(copied, "aotinductor")
    with load(copied) as engine:
        assert engine.name == "eager"


def test_without_a_compiler_it_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("g++ not found")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    with pytest.raises(ExportError, match=r"g\+\+ not found; it needs a C\+\+ compiler"):
        to_aotinductor(DisAsymNet(TINY), tmp_path / PT2, ("asymmetry", "abnormal"), 1, "cpu")
