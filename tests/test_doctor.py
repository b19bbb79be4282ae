"""`disasym doctor`: what it says of a sound machine, and of models with a fault put into them."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from disasym.doctor import Examination, examine, gpu, trial
from disasym.doctor.child import Answer
from disasym.doctor.fixtures import FRAMES
from disasym.engines import ENGINES
from doctors import doctor, said, screen

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def sound(small_export: Path) -> Examination:
    return examine(small_export)


def test_a_sound_machine_is_healthy_and_every_fact_is_there(sound: Examination, small_export: Path) -> None:
    assert said(sound, "failed") == ""
    assert sound.healthy
    assert sound.model.path == str(small_export)
    assert sound.model.run.runs
    assert sound.model.run.engine == "onnxruntime"
    assert (sound.model.run.start_seconds or 0) > 0
    assert all(sound.model.hashes.values())
    assert sound.model.hashes.keys() >= {"model.onnx", "model.safetensors", "README.md"}
    assert all(row.within for row in sound.model.parity)
    assert sound.temporary_folder.writable
    assert sound.machine.cores >= 1


def test_the_engines_are_those_that_the_code_has(sound: Examination) -> None:
    assert {route.engine for route in sound.engines} == set(ENGINES)
    states = {(route.engine, route.device): route.state for route in sound.engines}
    assert states["onnxruntime", "cpu"] == "runs"
    assert states["eager", "cpu"] == "ready"


def test_every_transfer_syntax_that_is_read_is_decoded(sound: Examination) -> None:
    from pydicom.uid import UID

    from disasym.dicom.decode import DECODERS

    assert {codec.uid for codec in sound.codecs} == {*map(str, DECODERS), "1.2.840.10008.1.2.2"}
    assert all(codec.decodes for codec in sound.codecs), sound.codecs
    assert {UID(uid).keyword for uid in DECODERS if UID(uid).is_encapsulated} == FRAMES.keys()


def test_the_screen_says_what_matters_in_few_lines(sound: Examination) -> None:
    text = screen(sound)
    for words in (
        sound.disasym,
        sound.machine.python,
        "runs the model",
        f"all {len(sound.codecs)} transfer syntaxes",
        "SHA-256 right",
        "Everything that disasym infer needs works here.",
    ):
        assert words in text
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= 110
    assert max(map(len, screen(sound, width=60).splitlines())) <= 60


def test_int8_on_a_processor_without_vnni_is_said_to_be_slower(
    sound: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disasym.processor.platform.machine", lambda: "x86_64")
    int8 = {**(sound.model.manifest or {}), "precision": "int8"}
    for vnni in (False, True):
        machine = dataclasses.replace(sound.machine, instructions={"AVX2": True, "AVX512-VNNI": vnni})
        found = dataclasses.replace(sound, machine=machine, model=dataclasses.replace(sound.model, manifest=int8))
        assert ("no VNNI here" in screen(found)) is not vnni
        assert "no VNNI here" not in screen(dataclasses.replace(sound, machine=machine))


def test_the_json_holds_the_documented_keys(sound: Examination) -> None:
    plain = json.loads(json.dumps(sound.as_json(), allow_nan=False))
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M))
    assert list(plain) == list(rows)
    for key, value in plain.items():
        item = value[0] if isinstance(value, list) and value else value
        if isinstance(item, dict) and key not in ("environment",):
            for name in item:
                assert f"`{name}`" in rows[key], f"docs/doctor.md says nothing of {key}.{name}"


def test_the_command_prints_json_and_no_value_of_the_environment(
    small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "canary-3141592")
    monkeypatch.setenv("DISASYM_MODEL", str(small_export))
    result = doctor("--json")
    assert result.exit_code == 0, result.output
    plain = json.loads(result.stdout)
    assert plain["healthy"] is True
    assert plain["model"]["source"] == "DISASYM_MODEL"
    assert plain["environment"]["DISASYM_MODEL"] == str(small_export)
    assert "canary-3141592" not in result.output


def test_torch_is_not_imported_and_little_time_is_taken(
    small_export: Path, first_to_import: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "imported"
    for name in ("torch", "tensorrt", "triton"):
        (first_to_import / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').write({name!r})\nraise ImportError\n")
    script = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from disasym.cli import main\n"
        "try: main(['doctor', '--model', sys.argv[2]])\n"
        "except SystemExit as end: print(end.code, {'numpy', 'onnxruntime', 'torch'} & set(sys.modules))\n"
    )
    before = time.perf_counter()
    command = [sys.executable, "-c", script, json.dumps(sys.path), str(small_export)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.perf_counter() - before < 10  # 1 s on an idle machine; tests share theirs
    assert result.stdout.splitlines()[-1] == "0 set()", result.stdout + result.stderr
    assert not mark.exists(), mark.read_text()


@pytest.mark.slow
def test_thorough_starts_the_other_engines_too(small_export: Path) -> None:
    states = {(route.engine, route.device): route.state for route in examine(small_export, thorough=True).engines}
    assert states["eager", "cpu"] == "runs"


def test_a_terminal_without_unicode_gets_plain_text(small_export: Path) -> None:
    script = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from disasym.cli import main; main(sys.argv[2:])"
    command = [sys.executable, "-c", script, json.dumps(sys.path), "doctor", "--model", str(small_export)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert b"  + model " in result.stdout
    assert b"256x128" in result.stdout


def test_a_base_package_that_is_broken_is_named(small_export: Path, first_to_import: Path) -> None:
    (first_to_import / "scipy.py").write_text("raise ImportError('libopenblas.so: no such file')")
    found = examine(small_export)
    assert not found.healthy
    assert "disasym cannot be imported: ImportError: libopenblas.so: no such file" in said(found, "failed")


def test_without_rich_the_facts_are_printed_as_json(small_export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "disasym.doctor.screen", raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert json.loads(doctor("--model", small_export).stdout)["healthy"] is True


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("import time; time.sleep(60)", "gave no answer within 6 s"),
    ],
)
def test_an_engine_that_crashes_or_hangs_is_only_a_finding(
    small_export: Path, first_to_import: Path, body: str, says: str
) -> None:
    (first_to_import / "onnxruntime.py").write_text(body)
    found = trial.look(small_export, "auto", "cpu", seconds=6)
    assert found.model.manifest is not None
    assert all(found.model.hashes.values())
    assert found.engines == tuple(ENGINES)
    assert "while the engine was opened: it" in found.model.run.problem
    assert says in found.model.run.problem


def test_a_damaged_model_is_said_once_and_the_exit_code_is_one(small_export: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(small_export, broken)
    data = bytearray((broken / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (broken / "model.onnx").write_bytes(data)
    result = doctor("--model", broken, "--json")
    assert result.exit_code == 1
    plain = json.loads(result.stdout)
    assert plain["model"]["hashes"]["model.onnx"] is False
    assert [finding["level"] for finding in plain["findings"] if finding["subject"] == "model"] == ["failed"]
    assert "SHA-256" in plain["model"]["run"]["problem"]


def test_a_damaged_file_that_the_engine_does_not_open_is_a_warning(small_export: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_export, copy)
    (copy / "README.md").write_text("another card")
    (copy / "model.safetensors").unlink()
    found = examine(copy)
    assert found.healthy
    assert "README.md is not the file of its manifest" in said(found, "warning")
    assert "model.safetensors cannot be read: No such file or directory" in said(found, "warning")
    assert "SHA-256 wrong: " in screen(found)


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no manifest.json"), (b"{", "cannot be read"), (b'{"format": "x"}', "format is 'x'")]
)
def test_an_unreadable_manifest_is_said(small_export: Path, tmp_path: Path, content: bytes | None, says: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_export, copy)
    (copy / "manifest.json").unlink()
    if content is not None:
        (copy / "manifest.json").write_bytes(content)
    result = doctor("--model", copy)
    assert result.exit_code == 1
    assert says in " ".join(result.stdout.split())


def test_a_model_that_is_not_there_and_an_unknown_engine_fail(small_export: Path, tmp_path: Path) -> None:
    found = examine(tmp_path / "none")
    assert not found.healthy
    assert "no model at" in said(found, "failed")
    result = doctor("--model", small_export, "--engine", "abacus")
    assert result.exit_code == 1
    assert "unknown engine 'abacus'" in " ".join(result.stdout.split())


def test_an_engine_that_was_asked_for_and_cannot_run_fails(small_export: Path) -> None:
    if gpu.look().gpus:
        pytest.skip("there is a GPU here")
    result = doctor("--model", small_export, "--engine", "onnxruntime", "--device", "cuda")
    assert result.exit_code == 1
    assert "does not run" in result.stdout


def test_parity_is_shown_for_every_target_or_why_it_was_not_measured() -> None:
    measured = {"measured": {"asymmetry": 2e-3}, "tolerance": {"asymmetry": 1e-2}, "pairs": 8, "source": "real"}
    targets = {"onnx": {"parity": measured}, "tensorrt-rtx": {"parity": "not run (no GPU)"}}
    beyond = {"parity": {**measured, "tolerance": {"asymmetry": 1e-4}}}
    facts = {"manifest": {"targets": {**targets, "aotinductor": beyond}}, "runs": True}
    model = trial.understood(Answer(facts), "--model", "here", "auto", "cpu").model
    assert [(row.target, row.within, row.not_measured) for row in model.parity] == [
        ("onnx", True, ""),
        ("tensorrt-rtx", True, "not run (no GPU)"),
        ("aotinductor", False, ""),
    ]
    assert [(finding.level, finding.text.split()[0]) for finding in trial.findings(model)] == [
        ("warning", "aotinductor")
    ]


def test_a_path_that_would_move_the_cursor_is_shown_without_doing_so(tmp_path: Path) -> None:
    text = screen(examine(tmp_path / "a\x1b[2Jb"))
    assert "\x1b[2J" not in text
