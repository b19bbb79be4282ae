"""What every engine refuses to open, with the same words; TensorRT's over a fake GPU."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disasym.engines import EAGER, load, ort
from disasym.errors import EngineError
from disasym.export.manifest import MANIFEST, read_manifest
from fake_cuda import VERSION, install
from fake_plans import FLAVOURS, LARGEST, with_plan

Content = dict[str, Any]
SLOW = pytest.param("aotinductor", marks=pytest.mark.slow)


@pytest.fixture(params=["eager", "onnxruntime", *FLAVOURS, SLOW])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def export(
    request: pytest.FixtureRequest, small_export: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An export that a test may damage, and that this engine opens as long as it does not."""
    if name in FLAVOURS:
        install(monkeypatch, name, LARGEST)
        return with_plan(small_export, tmp_path / "export", name)
    of = request.getfixturevalue("tiny_aotinductor") if name == "aotinductor" else small_export
    return Path(shutil.copytree(of, tmp_path / "export"))


def device(name: str) -> str:
    return "cuda" if name in FLAVOURS else "cpu"


def edit(export: Path, change: Callable[[Content], None]) -> None:
    content = json.loads((export / MANIFEST).read_text())
    change(content)
    (export / MANIFEST).write_text(json.dumps(content))


def file_of(export: Path, name: str) -> str:
    targets = [target for target in read_manifest(export).targets.values() if target.engine == name]
    return (*targets, EAGER)[0].files[0]


def test_what_is_sound_opens(export: Path, name: str) -> None:
    with load(export, name, device(name)) as engine:
        assert (engine.name, engine.info.device) == (name, device(name))


@pytest.mark.parametrize("engine", ["named", "auto"])
def test_one_flipped_bit_is_refused_with_both_hashes(export: Path, name: str, engine: str) -> None:
    file = file_of(export, name)
    content = bytearray((export / file).read_bytes())
    content[len(content) // 2] ^= 1
    (export / file).write_bytes(content)
    wanted = json.loads((export / MANIFEST).read_text())["files"][file]
    if name == "eager" and engine == "auto":
        edit(export, lambda content: content.update(targets={}))
    with pytest.raises(EngineError, match=rf"{file} is damaged .* is [0-9a-f]{{64}}, .* says {wanted}"):
        load(export, name if engine == "named" else "auto", device(name))


def test_a_missing_file_is_refused(export: Path, name: str) -> None:
    (export / (file := file_of(export, name))).unlink()
    with pytest.raises(EngineError, match=rf"{file} is missing"):
        load(export, name, device(name))


def test_a_manifest_of_another_size_is_refused(export: Path, name: str) -> None:
    def taller(content: Content) -> None:
        text, height, width = json.dumps(content), *(content["config"][side] for side in ("height", "width"))
        for old, new in (
            (f"{height}, {width}]", f"{2 * height}, {width}]"),
            (f'["batch", 2, {height // 32},', f'["batch", 2, {height // 16},'),
            (f'"height": {height}', f'"height": {2 * height}'),
        ):
            assert old in text
            text = text.replace(old, new)
        content.update(json.loads(text))

    edit(export, taller)
    with pytest.raises(EngineError, match="manifest"):
        load(export, name, device(name))


@pytest.mark.parametrize("name", ["onnxruntime", *FLAVOURS, SLOW], indirect=True)  # eager is the reference
def test_an_engine_that_the_parity_gate_found_to_differ_is_refused(export: Path, name: str) -> None:
    outputs = read_manifest(export).outputs
    measured = {
        "measured": {**dict.fromkeys(outputs, 0.0), "cam": 0.5},
        "tolerance": dict.fromkeys(outputs, 0.001),
        "pairs": 3,
        "source": "real",
        "batches": [1, 3],
        "device": device(name),
    }

    def differ(content: Content) -> None:
        for target in content["targets"].values():
            target["parity"] = measured

    edit(export, differ)
    with pytest.raises(EngineError, match=rf"{name} of .* is not the model .* \|Δ cam\| was 0.5 on 3 real pairs"):
        load(export, name, device(name))


@pytest.mark.parametrize("name", FLAVOURS, indirect=True)
@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("versions", rf"built by \w+ 1\.2\.3, this is {VERSION}: install \w+ 1\.2\.3"),
        ("facts", "built for compute capability SM120, this GPU has SM89: export the model again"),
    ],
)
def test_what_was_built_for_another_version_or_gpu_is_refused(export: Path, name: str, field: str, says: str) -> None:
    def rebuilt(content: Content) -> None:
        target = content["targets"][name]
        target["versions"] = dict.fromkeys(target["versions"], "1.2.3") if field == "versions" else target["versions"]
        target["facts"] = {"compute_capabilities": ["SM120"]} if field == "facts" else target["facts"]

    edit(export, rebuilt)
    with pytest.raises(EngineError, match=rf"the {name} engine cannot run here, {says}"):
        load(export, name, "cuda")


@pytest.mark.parametrize(("have", "switched"), [({"AVX2": True}, True), ({"AVX2": True, "AVX-VNNI": True}, False)])
def test_int8_sums_are_made_exact_where_the_processor_does_not(
    monkeypatch: pytest.MonkeyPatch, have: dict[str, bool], switched: bool
) -> None:
    monkeypatch.setattr("disasym.processor.platform.machine", lambda: "x86_64")
    monkeypatch.setattr(ort, "here", lambda: have)
    options = ort.session_options(1)
    with contextlib.nullcontext() if switched else pytest.raises(RuntimeError, match="precision"):
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
