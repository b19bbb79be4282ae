"""manifest.json: it comes back as written, and what cannot be trusted is refused with the field at fault."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.errors import EngineError
from disasym.export.manifest import MANIFEST, ONNX, WEIGHTS, Manifest, Parity, Target, read_manifest, write_manifest
from disasym.spec import OUTPUTS
from processes import run_python


def a_parity(**deltas: float) -> Parity:
    measured = {**dict.fromkeys(OUTPUTS, 0.0), **deltas}
    return Parity(1, "real", (1, 3), "cpu", measured, dict.fromkeys(OUTPUTS, 1e-4))


def a_target(**changes: Any) -> Target:
    fields: dict[str, Any] = {
        "engine": "onnxruntime",
        "precision": "fp32",
        "files": (ONNX,),
        "max_batch": None,
        "versions": {"onnxruntime": "1.32.0"},
        "facts": {"opset": 23, "layers": ["conv", 1.5, None]},
        "parity": a_parity(),
    }
    return Target(**{**fields, **changes})


def a_manifest(**changes: Any) -> Manifest:
    shapes = {"asymmetry": ("batch",), "abnormal": ("batch", 2), "cam": ("batch", 2, 2, 1)}
    images = {"normal": ("batch", 2, 64, 32), "abnormality": ("batch", 2, 64, 32)}
    fields: dict[str, Any] = {
        "preset": "custom",
        "config": {"height": 64, "width": 32},
        "precision": "fp32",
        "inputs": {"views": ("batch", 2, 64, 32)},
        "outputs": {**shapes, **images},
        "targets": {"onnx": a_target()},
        "reports": {"sensitivity": "reports/sensitivity.json"},
        "logs": {},
        "files": {WEIGHTS: "0" * 64, ONNX: "1" * 64, "reports/sensitivity.json": "2" * 64},
        "tools": {"torch": "2.13.0"},
        "created": "2026-11-23T00:00:00+00:00",
    }
    return Manifest(**{**fields, **changes})


@given(
    max_batch=st.none() | st.integers(1, 99),
    deltas=st.dictionaries(st.sampled_from(OUTPUTS), st.floats(0, 1)),
    tools=st.dictionaries(st.text(min_size=1), st.text(min_size=1)),
    why=st.none() | st.text(min_size=1),
)
def test_a_manifest_comes_back_as_it_was_written(
    tmp_path: Path, max_batch: int | None, deltas: dict[str, float], tools: dict[str, str], why: str | None
) -> None:
    target = a_target(max_batch=max_batch, parity=why or a_parity(**deltas))
    manifest = a_manifest(tools=tools, targets={"onnx": target})
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def places(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object of a manifest that has fields of its own."""
    target = content["targets"]["onnx"]
    return [content, target, target["parity"]]


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_a_manifest_with_any_field_replaced_is_refused_or_kept(tmp_path: Path, data: st.DataObject) -> None:
    write_manifest(tmp_path, a_manifest())
    content = json.loads((tmp_path / MANIFEST).read_text())
    place = data.draw(st.sampled_from([*places(content), content["config"], content["files"], content["reports"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(Json)
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    try:
        manifest = read_manifest(tmp_path)
    except EngineError:
        return
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


@given(data=st.data())
def test_a_manifest_that_lacks_a_field_or_has_one_too_many_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    write_manifest(tmp_path, a_manifest())
    content = json.loads((tmp_path / MANIFEST).read_text())
    place = data.draw(st.sampled_from(places(content)))
    if data.draw(st.booleans()):
        del place[data.draw(st.sampled_from(sorted(place)))]
    else:
        place["surprise"] = 1
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(EngineError, match=r"manifest\.json: "):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "disasym-export-1"}, r"wanted 'disasym-export-2': .* or export its model\.safetensors again"),
        ({"precision": "fp64"}, "precision is 'fp64', wanted one of fp32, fp16, bf16, int8"),
        ({"targets": {"onnx": a_target(files=())}}, "at least one file"),
        ({"targets": {"onnx": a_target(files=("other.onnx",))}}, r"wanted other\.onnx among them"),
        ({"targets": {"onnx": a_target(max_batch=True)}}, r"max_batch is True, wanted a whole number"),
        ({"targets": {"onnx": a_target(parity="")}}, r"targets\.onnx\.parity is '', wanted a text"),
        ({"logs": {"onnx": "build.log"}}, r"wanted build\.log among them"),
        ({"files": {WEIGHTS: "0" * 64, "../../etc/passwd": "0" * 64}}, r"files is '\.\./\.\./etc/passwd'"),
        ({"files": {WEIGHTS: "0" * 63}}, "wanted a SHA-256"),
        ({"files": {ONNX: "0" * 64}, "reports": {}}, r"wanted model\.safetensors among them"),
        ({"files": {WEIGHTS: "0" * 64, "/etc/passwd": "0" * 64}}, r"files is '/etc/passwd'"),
        ({"outputs": {"asymmetry": ("batch",)}}, "outputs is"),
        ({"inputs": {"views": ("batch", 2, 128, 32)}}, "inputs is"),
        ({"config": {"height": -1, "width": 32}}, r"config\.height is -1, wanted at least 1"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_says_what_is_wrong(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    write_manifest(tmp_path, a_manifest(**change))
    with pytest.raises(EngineError, match=says):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(EngineError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_a_manifest_is_read_without_torch(small_export: Path) -> None:
    script = """
import sys
from pathlib import Path
from disasym.export.manifest import read_manifest
print(read_manifest(Path(sys.argv[1])).preset, *sorted({"torch", "onnx", "onnxruntime"} & sys.modules.keys()))
"""
    assert run_python(script, small_export) == "small"
