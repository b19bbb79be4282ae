"""Opening a model: which engine, what is verified first, and what is refused with which words."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from disasym.engines import load
from disasym.errors import DisasymError, EngineError, MissingExtraError
from disasym.export.manifest import MANIFEST, ONNX, WEIGHTS
from disasym.files import sha256_of
from disasym.spec import OUTPUTS, Array, Outputs
from networks import pairs_for
from processes import run_python


@pytest.fixture
def views() -> Array:
    return pairs_for("small", 3)


def same(first: Outputs, second: Outputs) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in OUTPUTS)


@pytest.fixture
def copied(small_export: Path, tmp_path: Path) -> Path:
    """An export that a test may damage."""
    return Path(shutil.copytree(small_export, tmp_path / "export"))


def edit_manifest(folder: Path, **fields: object) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**content, **fields}))


def test_auto_takes_the_fastest_engine_that_the_export_has_a_file_for(copied: Path) -> None:
    with load(copied) as engine:
        assert (engine.name, engine.info.device, engine.info.preset) == ("onnxruntime", "cpu", "small")
    edit_manifest(copied, targets={})
    with load(copied) as engine:
        assert engine.name == "eager"
    with pytest.raises(EngineError, match=r"no engine 'onnxruntime' .* it has eager"):
        load(copied, "onnxruntime")


def test_a_weights_file_runs_eagerly_and_only_so(small_export: Path, views: Array) -> None:
    with load(small_export / WEIGHTS) as alone, load(small_export, "eager") as exported:
        assert alone.name == "eager"
        assert alone.info == exported.info
        assert same(alone.run(views), exported.run(views))
    with pytest.raises(EngineError, match="it has eager"):
        load(small_export / WEIGHTS, "onnxruntime")


def test_a_missing_file_is_not_replaced_by_another_engine(copied: Path) -> None:
    (copied / ONNX).unlink()
    with pytest.raises(EngineError, match=rf"{ONNX} is missing"):
        load(copied)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"engine": "tensorflow"}, "unknown engine 'tensorflow' .* it has onnxruntime, eager"),
        ({"device": "tpu"}, "unknown device 'tpu': choose one of cpu, cuda"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_an_unknown_choice_names_the_choices(small_export: Path, arguments: dict[str, str], says: str) -> None:
    with pytest.raises(DisasymError, match=says):
        load(small_export, **arguments)  # type: ignore[arg-type]


def test_a_path_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"pickle")
    for path, says in [("absent", "no model at"), ("model.pt", "no model at"), (".", "not an export")]:
        with pytest.raises(EngineError, match=says):
            load(tmp_path / path)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime can use CUDA"
)
def test_cuda_without_cuda_support_names_the_extra(small_export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtraError, match="pip uninstall onnxruntime, then pip install onnxruntime-gpu"):
        load(small_export, "onnxruntime", device="cuda")
    with pytest.raises(MissingExtraError):  # auto does not go on to another engine or device
        load(small_export, device="cuda")

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxruntime warns and takes the CPU, as it does where a driver is missing
        with pytest.raises(EngineError, match="onnxruntime took CPUExecutionProvider"):
            load(small_export, "onnxruntime", device="cuda")


def test_eager_on_cuda_without_a_gpu_is_refused(small_export: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineError, match=r"'cuda' was asked for, but PyTorch .* sees no usable GPU"):
        load(small_export, "eager", device="cuda")


def test_eager_puts_back_the_thread_count_of_torch(small_export: Path, views: Array) -> None:
    import torch

    before = torch.get_num_threads()
    with load(small_export, "eager", threads=before + 1) as engine:
        engine.run(views[:1])
    assert torch.get_num_threads() == before


def test_running_an_export_imports_neither_torch_nor_onnx(small_export: Path) -> None:
    script = """
import sys
from pathlib import Path
import numpy as np
from disasym.engines import load
assert "onnxruntime" not in sys.modules, "importing disasym.engines brought a framework in"
with load(Path(sys.argv[1])) as engine:
    engine.run(np.zeros((1, 2, 256, 128), np.float32))
print(*sorted({"torch", "onnx", "safetensors"} & sys.modules.keys()), engine.name)
"""
    assert run_python(script, small_export) == "onnxruntime"


def test_a_graph_of_other_weights_is_refused_even_if_its_manifest_lists_it(copied: Path) -> None:
    files = json.loads((copied / MANIFEST).read_text())["files"]
    (copied / WEIGHTS).write_bytes((copied / WEIGHTS).read_bytes()[:-1] + b"\x01")
    edit_manifest(copied, files={**files, WEIGHTS: sha256_of(copied / WEIGHTS)})
    with pytest.raises(EngineError, match=rf"was made from other weights \({files[WEIGHTS]}\) than its manifest says"):
        load(copied)


@pytest.mark.parametrize("module", ["base", "ort", "eager", "aoti", "trt"])
def test_importing_one_engine_brings_in_no_other_framework(module: str) -> None:
    script = """
import importlib, sys
importlib.import_module("disasym.engines." + sys.argv[1])
print(*sorted({"torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx_bindings", "pycuda"} & sys.modules.keys()))
"""
    assert run_python(script, module) == ("onnxruntime" if module == "ort" else "")


def test_eager_without_torch_names_the_extra(small_export: Path) -> None:
    script = """
import sys
from pathlib import Path
sys.modules["torch"] = None
from disasym.engines import load
from disasym.errors import MissingExtraError
for model in map(Path, sys.argv[1:]):
    try:
        load(model, "eager")
    except MissingExtraError as error:
        print(error)
"""
    message = "the eager engine needs the package 'torch': pip install 'disasym[train]'"
    assert run_python(script, small_export, small_export / WEIGHTS) == f"{message}\n{message}"
