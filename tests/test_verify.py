"""`disasym verify`: measures an export that is there, writes down what it found, and nothing that differs is opened."""

import json
import shutil
from pathlib import Path

import pytest

from disasym.engines import load
from disasym.errors import EngineError, InputError
from disasym.export.manifest import MANIFEST, ONNX, WEIGHTS, Parity, read_manifest, write_manifest
from disasym.export.verify import verify
from disasym.files import sha256_of
from fake_plans import with_plan
from networks import pairs_for
from test_cli import disasym
from test_parity import perturbed


@pytest.fixture
def copied(small_export: Path, tmp_path: Path) -> Path:
    """An export that a test may damage."""
    return Path(shutil.copytree(small_export, tmp_path / "export"))


def replace_graph(folder: Path, content: bytes) -> None:
    """Put another graph in, with a manifest that fits it: only the gate can tell."""
    (folder / ONNX).write_bytes(content)
    manifest = read_manifest(folder)
    manifest.files[ONNX] = sha256_of(folder / ONNX)
    write_manifest(folder, manifest)


def test_a_sound_export_agrees_and_its_manifest_says_on_which_pairs(copied: Path) -> None:
    (found,) = verify(copied, pairs_for("small", 2, seed=3))
    assert (found.target, found.verdict, found.bad) == ("onnx", "agrees", False)
    measured = read_manifest(copied).targets["onnx"].parity
    assert measured == found.parity
    assert isinstance(measured, Parity)
    assert (measured.source, measured.pairs) == ("real", 2)
    with load(copied) as engine:
        assert engine.name == "onnxruntime"


def test_an_export_that_differs_is_found_out_written_down_and_not_opened_again(copied: Path) -> None:
    right = (copied / ONNX).read_bytes()
    replace_graph(copied, perturbed(right, "asyc.asymmetry.bias", 0.01))
    load(copied).close()  # nothing tells it from a sound one yet
    (found,) = verify(copied)
    assert (found.verdict, found.bad) == ("differs", True)
    assert isinstance(found.parity, Parity)
    assert found.parity.beyond() == ("asymmetry",)
    with pytest.raises(EngineError, match=r"disasym verify found that onnxruntime .*\|Δ asymmetry\| was 0\.00"):
        load(copied)
    load(copied, "eager").close()
    replace_graph(copied, right)
    assert [each.verdict for each in verify(copied)] == ["agrees"]
    load(copied).close()


def test_a_damaged_target_fails_and_what_was_measured_before_stays(copied: Path) -> None:
    before = (copied / MANIFEST).read_bytes()
    content = bytearray((copied / ONNX).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / ONNX).write_bytes(content)
    (found,) = verify(copied)
    assert found.verdict == "failed"
    assert "is damaged" in str(found.parity)
    assert (copied / MANIFEST).read_bytes() == before


def test_an_engine_that_cannot_run_here_is_still_looked_at(small_export: Path, tmp_path: Path) -> None:
    folder = with_plan(small_export, tmp_path / "export", "tensorrt-rtx")  # its ONNX file stands in for the engine
    (found,) = verify(folder)
    assert (found.verdict, found.bad) == ("not run", False)
    content = bytearray((folder / ONNX).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / ONNX).write_bytes(content)
    (found,) = verify(folder)
    assert (found.verdict, found.bad) == ("failed", True)
    assert "is damaged" in str(found.parity)


def test_damaged_weights_leave_nothing_to_compare_with(copied: Path) -> None:
    content = bytearray((copied / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copied / WEIGHTS).write_bytes(content)
    with pytest.raises(EngineError, match=rf"{WEIGHTS} is damaged"):
        verify(copied)


def test_pairs_of_another_size_are_refused(copied: Path) -> None:
    with pytest.raises(InputError, match=r"\[1, 2, 1024, 512\]"):
        verify(copied, pairs_for("paper", 1))


def test_a_target_of_an_engine_that_is_not_here_is_not_run_and_says_so(copied: Path) -> None:
    content = json.loads((copied / MANIFEST).read_text())
    content["targets"] = {"abacus": {**content["targets"]["onnx"], "engine": "abacus", "parity": "not run (no abacus)"}}
    (copied / MANIFEST).write_text(json.dumps(content))
    before = (copied / MANIFEST).read_bytes()
    result = disasym("verify", copied)
    assert result.exit_code == 1
    assert "abacus: not run (this version of disasym has no engine 'abacus')" in result.stdout
    assert "nothing was verified" in result.stderr
    assert (copied / MANIFEST).read_bytes() == before


def test_the_command_says_what_it_measured_and_its_exit_code_is_the_verdict(copied: Path) -> None:
    result = disasym("verify", copied)
    assert result.exit_code == 0, result.output
    assert "onnx: agrees; largest difference to PyTorch on " in result.stdout
    replace_graph(copied, perturbed((copied / ONNX).read_bytes(), "asyd.head.bias", 0.05))
    result = disasym("verify", copied)
    assert result.exit_code == 1
    assert "onnx: differs; " in result.stderr
    assert disasym("verify", copied.parent / "absent").exit_code == 2
