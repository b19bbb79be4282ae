"""manifest.json: it comes back as written, and what cannot be trusted is refused with the field at fault."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.errors import EngineError
from disasym.export.manifest import MANIFEST, ONNX, WEIGHTS, Manifest, Parity, read_manifest, write_manifest
from disasym.spec import OUTPUTS
from processes import run_python


def a_manifest(**changes: Any) -> Manifest:
    shapes = {"asymmetry": ("batch",), "abnormal": ("batch", 2), "cam": ("batch", 2, 2, 1)}
    images = {"normal": ("batch", 2, 64, 32), "abnormality": ("batch", 2, 64, 32)}
    fields: dict[str, Any] = {
        "preset": "custom",
        "config": {"height": 64, "width": 32},
        "precision": "fp32",
        "opset": 23,
        "inputs": {"views": ("batch", 2, 64, 32)},
        "outputs": {**shapes, **images},
        "files": {WEIGHTS: "0" * 64},
        "tools": {"torch": "2.13.0"},
        "parity": Parity(1, "real", (1, 3), {"onnxruntime": {"asymmetry": 0.0}}, {"asymmetry": 1e-4}),
        "created": "2026-11-23T00:00:00+00:00",
    }
    return Manifest(**{**fields, **changes})


@given(
    opset=st.integers(1, 99),
    deltas=st.dictionaries(st.sampled_from(OUTPUTS), st.floats(0, 1)),
    tools=st.dictionaries(st.text(min_size=1), st.text(min_size=1)),
)
def test_a_manifest_comes_back_as_it_was_written(
    tmp_path: Path, opset: int, deltas: dict[str, float], tools: dict[str, str]
) -> None:
    measured = Parity(2, "synthetic", (1,), {"onnxruntime": deltas}, deltas)
    manifest = a_manifest(opset=opset, tools=tools, parity=measured)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_a_manifest_with_any_field_replaced_is_refused_or_kept(tmp_path: Path, data: st.DataObject) -> None:
    write_manifest(tmp_path, a_manifest())
    content = json.loads((tmp_path / MANIFEST).read_text())
    place = data.draw(st.sampled_from([content, content["parity"], content["config"], content["files"]]))
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
    place = data.draw(st.sampled_from([content, content["parity"]]))
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
        ({"format": "disasym-export-2"}, "format is 'disasym-export-2', wanted 'disasym-export-1'"),
        ({"files": {WEIGHTS: "0" * 64, "../../etc/passwd": "0" * 64}}, r"files is '\.\./\.\./etc/passwd'"),
        ({"files": {WEIGHTS: "0" * 63}}, "wanted a SHA-256"),
        ({"files": {ONNX: "0" * 64}}, r"wanted model\.safetensors among them"),
        ({"outputs": {"asymmetry": ("batch",)}}, "outputs is"),
        ({"inputs": {"views": ("batch", 2, 128, 32)}}, "inputs is"),
        ({"opset": True}, "opset is True, wanted a whole number"),
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
