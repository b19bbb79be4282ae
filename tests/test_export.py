"""An export is whole, or it is not there; its graph is clean and says which model it is."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from disasym.checkpoint import load_model, read_tensors, save_model
from disasym.engines import EngineInfo, load
from disasym.errors import CheckpointError, EngineError, ExportError, InputError, MissingExtraError
from disasym.export import ExportOptions, export, folder, parity
from disasym.export.fp32_shape import shape_for_fp32
from disasym.export.manifest import CARD, MANIFEST, ONNX, WEIGHTS, Parity, read_manifest
from disasym.export.to_onnx import to_onnx
from disasym.files import sha256_of
from disasym.model import PRESETS
from disasym.spec import OUTPUTS
from networks import lively, pairs_for
from processes import run_python
from tolerances import tolerance

KINDS = {"asymmetry": "score", "abnormal": "score", "cam": "cam", "normal": "image", "abnormality": "image"}


@pytest.fixture
def ready(small_export: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights whose graph is already made, so that a test of the folder does not wait for the exporter."""
    monkeypatch.setattr(folder, "to_onnx", lambda model, **metadata: (small_export / ONNX).read_bytes())
    return small_export / WEIGHTS


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_an_export_holds_four_files_and_a_manifest_that_fits_them(small_export: Path) -> None:
    assert names(small_export) == sorted([CARD, MANIFEST, ONNX, WEIGHTS])
    manifest = read_manifest(small_export)
    assert manifest.files == {name: sha256_of(small_export / name) for name in (ONNX, WEIGHTS, CARD)}
    assert (manifest.preset, manifest.precision, list(manifest.targets)) == ("small", "fp32", ["onnx"])
    target = manifest.targets["onnx"]
    assert (target.engine, target.files, target.facts) == ("onnxruntime", (ONNX,), {"opset": 23})
    assert target.versions == {"onnxruntime": onnxruntime.__version__}
    assert (manifest.height, manifest.width) == (256, 128)
    assert json.loads(json.dumps(dataclasses.asdict(PRESETS["small"]))) == manifest.config
    assert manifest.outputs["cam"] == ("batch", 2, 8, 4)
    assert manifest.tools.keys() == {"disasym", "torch", "onnx", "onnxscript", "onnxruntime"}


def test_without_pairs_the_manifest_says_that_parity_was_measured_on_synthetic_ones(small_export: Path) -> None:
    measured = read_manifest(small_export).targets["onnx"].parity
    assert isinstance(measured, Parity)
    assert (measured.source, measured.pairs, measured.batches, measured.device) == ("synthetic", 3, (1, 3), "cpu")
    assert tuple(measured.measured) == OUTPUTS
    for name in OUTPUTS:
        assert measured.measured[name] <= measured.tolerance[name]
        assert measured.tolerance[name] == tolerance(f"{KINDS[name]}, onnxruntime vs eager")


def test_with_pairs_parity_is_measured_on_them(ready: Path, tmp_path: Path) -> None:
    manifest = export(ready, tmp_path / "out", ExportOptions(parity_views=pairs_for("small", 4, seed=7)))
    measured = manifest.targets["onnx"].parity
    assert isinstance(measured, Parity)
    assert (measured.source, measured.pairs) == ("real", 4)
    assert read_manifest(tmp_path / "out") == manifest


@pytest.mark.usefixtures("ready")
def test_half_weights_are_rounded_once_and_are_what_every_engine_computes_with(tmp_path: Path) -> None:
    full = tmp_path / "full.safetensors"
    save_model(full, lively("small"), preset="small")
    manifest = export(full, tmp_path / "out", ExportOptions(half_weights=True))
    stored = read_tensors(tmp_path / "out" / WEIGHTS)
    for name, value in read_tensors(full).items():
        assert torch.equal(stored[name], value.half() if value.is_floating_point() else value), name
    assert (tmp_path / "out" / WEIGHTS).stat().st_size < 0.51 * full.stat().st_size
    assert manifest.model_sha256 == sha256_of(tmp_path / "out" / WEIGHTS)
    assert (manifest.preset, manifest.precision) == ("small", "fp32")


def test_pairs_of_another_size_are_refused_before_anything_is_built(small_export: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\[1, 2, 64, 64\]"):
        export(
            small_export / WEIGHTS,
            tmp_path / "out",
            ExportOptions(parity_views=np.zeros((1, 2, 64, 64), np.float32)),
        )
    assert names(tmp_path) == []


def test_absent_or_damaged_weights_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    for name in ("absent.safetensors", "bad.safetensors"):
        with pytest.raises(CheckpointError, match=name):
            export(tmp_path / name, tmp_path / "out")
    assert names(tmp_path) == ["bad.safetensors"]


def test_the_card_beside_the_weights_goes_along(ready: Path, tmp_path: Path) -> None:
    shutil.copy(ready, tmp_path / "best.safetensors")
    (tmp_path / CARD).write_text("# Trained on naïve data\n", encoding="utf-8")
    export(tmp_path / "best.safetensors", tmp_path / "out")
    assert (tmp_path / "out" / CARD).read_text(encoding="utf-8") == "# Trained on naïve data\n"


def test_without_a_card_the_export_says_how_little_is_known(small_export: Path) -> None:
    card = (small_export / CARD).read_text(encoding="utf-8")
    assert sha256_of(small_export / WEIGHTS) in card
    assert "not for clinical use" in card


def test_an_export_replaces_an_empty_folder_or_an_export_even_its_own(ready: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    first = export(ready, out)
    second = export(out / WEIGHTS, out)
    assert first.files[WEIGHTS] == second.files[WEIGHTS]
    assert names(tmp_path) == ["out"]
    with load(out) as engine:
        assert engine.info.model_sha256 == first.files[WEIGHTS]


def test_what_is_not_an_export_is_never_replaced(ready: Path, small_export: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / MANIFEST).write_text('{"images": []}')
    shutil.copytree(small_export, tmp_path / "notes")
    (tmp_path / "notes" / "notes.txt").write_text("kept beside the export")
    for name, says in {
        "file": "is a file",
        "thesis": "not a disasym export",
        "dataset": "not a disasym export",
        "notes": r"also holds 'notes\.txt'",
    }.items():
        with pytest.raises(ExportError, match=says):
            export(ready, tmp_path / name)
    assert (tmp_path / "thesis" / "thesis.tex").exists()
    assert (tmp_path / "notes" / "notes.txt").exists()
    assert names(tmp_path) == ["dataset", "file", "notes", "thesis"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_failure_leaves_the_old_export_and_nothing_else(
    ready: Path, small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    out = Path(shutil.copytree(small_export, tmp_path / "out"))
    before = read_manifest(out)

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(parity, "gate", fail)
    with pytest.raises(error):
        export(ready, out)
    assert names(tmp_path) == ["out"]
    assert read_manifest(out) == before


def test_a_kill_during_the_gate_leaves_nothing_that_loads(small_export: Path, tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from disasym.export import export, folder, parity
source, out = map(Path, sys.argv[1:])
folder.to_onnx = lambda model, **metadata: (source / "model.onnx").read_bytes()
parity.gate = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
export(source / "model.safetensors", out)
"""
    result = subprocess.run([sys.executable, "-c", script, small_export, tmp_path / "out"], capture_output=True)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    assert not (tmp_path / "out").exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.")
    with pytest.raises(EngineError, match="not an export"):
        load(left)


@pytest.fixture(scope="module")
def graph(small_export: Path) -> onnx.ModelProto:
    return onnx.load(small_export / ONNX)


def test_attention_is_one_node_and_batchnorm_is_folded(graph: onnx.ModelProto) -> None:
    operators = [node.op_type for node in graph.graph.node]
    assert operators.count("Attention") == 2 * PRESETS["small"].blocks  # SA and CA
    assert not {"BatchNormalization", "Softmax", "If", "Loop"} & set(operators)
    assert {(entry.domain, entry.version) for entry in graph.opset_import} == {("", 23)}


def test_the_graph_stands_alone_and_says_which_model_it_is(graph: onnx.ModelProto, small_export: Path) -> None:
    assert not any(initializer.external_data for initializer in graph.graph.initializer)
    notes = {entry.key: entry.value for entry in graph.metadata_props}
    assert notes.keys() == {"config", "preset", "weights_sha256"}
    assert (notes["preset"], notes["weights_sha256"]) == ("small", sha256_of(small_export / WEIGHTS))
    assert json.loads(notes["config"])["blocks"] == 4


def test_the_graph_names_no_path_of_the_machine_that_made_it(small_export: Path) -> None:
    content = (small_export / ONNX).read_bytes()
    assert not re.search(rb"[\w/]+\.py\b", content)
    assert str(Path.home()).encode() + b"/" not in content


@pytest.mark.slow
def test_the_same_weights_give_the_same_graph_byte_for_byte(small_export: Path) -> None:
    identity = sha256_of(small_export / WEIGHTS)
    plain = to_onnx(load_model(small_export / WEIGHTS), preset="small", weights_sha256=identity)
    again = shape_for_fp32(onnx.load_from_string(plain)).SerializeToString(deterministic=True)
    assert again == (small_export / ONNX).read_bytes()


@pytest.mark.slow
def test_the_paper_preset_exports_within_tolerance(tmp_path: Path) -> None:
    weights = tmp_path / "paper.safetensors"
    save_model(weights, lively("paper"), dtype=torch.float16)
    manifest = export(weights, tmp_path / "out", ExportOptions(parity_views=pairs_for("paper", 1)))
    assert (manifest.preset, manifest.height, manifest.width) == ("paper", 1024, 512)
    measured = manifest.targets["onnx"].parity
    assert isinstance(measured, Parity)
    assert not measured.beyond()


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript", "safetensors"])
def test_exporting_without_a_package_names_the_extra(tmp_path: Path, package: str) -> None:
    script = """
import sys
from pathlib import Path
sys.modules[sys.argv[1]] = None
from disasym.errors import MissingExtraError
from disasym.export import export
try:
    export(Path("weights.safetensors"), Path("out"))
except MissingExtraError as error:
    print(error)
"""
    wanted = f"disasym export needs the package '{package}': pip install 'disasym[train]'"
    assert run_python(script, package) == wanted
    assert issubclass(MissingExtraError, Exception)


def test_the_identity_of_a_model_is_that_of_its_weights(small_export: Path) -> None:
    manifest = read_manifest(small_export)
    assert manifest.model_sha256 == sha256_of(small_export / WEIGHTS)
    with load(small_export) as engine:
        assert engine.info == EngineInfo("small", 256, 128, "fp32", manifest.model_sha256, "cpu", None)
