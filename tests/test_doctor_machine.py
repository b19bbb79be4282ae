"""`disasym doctor`: GPU, driver, processor, folders, and processes that crash, hang or print nonsense."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from disasym import processor
from disasym.doctor import examine, gpu, limited, machine
from disasym.doctor.child import ask
from disasym.doctor.gpu import Gpu, Gpus, Toolkit
from doctors import program, said

H100 = "0, NVIDIA H100 80GB HBM3, 580.95.05, 9.0, 81559, 81004"
WITH_GPU = Gpus((Gpu(0, "NVIDIA H100 80GB HBM3", "580.95.05", "9.0", 81559 * 2**20, 81004 * 2**20),))


@pytest.fixture
def first_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def first_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_gpu_is_described_as_its_driver_does(first_on_path: Path) -> None:
    program(first_on_path, "nvidia-smi", f"echo '{H100}'")
    assert gpu.look() == WITH_GPU


def test_what_a_driver_does_not_know_is_none(first_on_path: Path) -> None:
    program(first_on_path, "nvidia-smi", "echo '0, NVIDIA GB10, 580.95.05, 12.1, [N/A], [N/A]'")
    assert gpu.look().gpus == (Gpu(0, "NVIDIA GB10", "580.95.05", "12.1", None, None),)


@pytest.mark.parametrize("script", ["sleep 60", "trap '' TERM; sleep 60 & sleep 60 & wait"], ids=["itself", "children"])
def test_a_hanging_nvidia_smi_is_stopped(first_on_path: Path, script: str) -> None:
    program(first_on_path, "nvidia-smi", script)
    before = time.perf_counter()
    found = gpu.look(seconds=0.3)
    assert time.perf_counter() - before < 5
    assert found == Gpus((), "nvidia-smi gave no answer within 0.3 s and was stopped", broken=True)
    assert [finding.level for finding in gpu.findings(found)] == ["warning"]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "“Failed to initialize NVML: Driver/library version mismatch” and ended with exit code 18",
        ),
        ("echo 'No devices were found'", "“No devices were found”"),
        ("printf '\\033[2J\\377\\000,,,,,'", "nvidia-smi said"),
        ("echo '0, name, driver, 9.0'", "nvidia-smi said"),
        ("kill -SEGV $$", "nvidia-smi named no GPU and was ended by SIGSEGV"),
        ("exit 0", "nvidia-smi named no GPU"),
    ],
)
def test_broken_driver_text_is_a_warning_and_no_gpu(first_on_path: Path, script: str, says: str) -> None:
    program(first_on_path, "nvidia-smi", script)
    found = gpu.look()
    assert found.gpus == ()
    assert found.broken
    assert says in found.problem
    assert found.problem.isprintable()


def test_no_nvidia_smi_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = gpu.look()
    assert found == Gpus((), "nvidia-smi is not on the PATH", broken=False)
    assert gpu.findings(found) == []


def test_nvcc_says_its_release_and_whether_pycuda_finds_it_or_why_it_does_not(
    first_on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(first_on_path, "nvcc", "echo 'Cuda compilation tools, release 13.0, V13.0.88'")
    assert gpu.toolkit() == Toolkit("13.0")
    program(first_on_path, "nvcc", "exit 3")
    assert gpu.toolkit().nvcc is None
    program(first_on_path, "nvcc", "sleep 60")
    assert "gave no answer" in gpu.toolkit(seconds=0.2).problem
    program(first_on_path, "elsewhere", "echo 'Cuda compilation tools, release 12.9, V12.9.1'")
    monkeypatch.setattr(gpu, "TOOLKITS", ("nvcc-that-is-nowhere", str(first_on_path / "elsewhere")))
    assert gpu.toolkit() == Toolkit("12.9", off_path=str(first_on_path))


@pytest.mark.parametrize(
    ("version", "wanted", "gpus", "reason"),
    [
        (None, None, WITH_GPU, "not installed"),
        ("3.6.0", "triton==3.7.0", WITH_GPU, "wants triton==3.7.0"),
        ("3.6.0", "triton==3.6.0", Gpus((), "none"), "no NVIDIA GPU"),
        ("3.6.0", None, Gpus((Gpu(0, "T4", "580.1", "7.5", None, None),)), "7.5, wanted 8.0 or more"),
        ("3.6.0", "triton==3.6.0", WITH_GPU, ""),
    ],
)
def test_triton_is_usable_with_its_torch_and_a_gpu_it_supports(
    monkeypatch: pytest.MonkeyPatch, version: str | None, wanted: str | None, gpus: Gpus, reason: str
) -> None:
    monkeypatch.setattr(gpu, "version_of", {"triton": version, "torch": "2.11.0"}.get)
    monkeypatch.setattr(gpu, "_of_torch", lambda: wanted)
    found = gpu.triton(gpus)
    assert found.usable == (reason == "")
    assert reason in found.reason


def test_a_temporary_folder_that_cannot_be_written_fails(small_export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(small_export / "manifest.json"))  # a file: not even root can write into it
    found = examine(small_export)
    assert not found.healthy
    assert "cannot be written: Not a directory; make it writable" in said(found, "failed")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_seen_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert machine.folder(tmp_path).problem == "it cannot be written: Permission denied"
    finally:
        tmp_path.chmod(0o700)


def test_trying_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    assert machine.folder(tmp_path).writable
    assert list(tmp_path.iterdir()) == []


def test_little_room_is_a_warning() -> None:
    found = machine.findings(machine.look(), machine.Folder("tmp", True, 2**20))
    assert [(finding.level, finding.text.split(":")[0]) for finding in found] == [
        ("warning", "only 1 MiB are free in tmp")
    ]


@pytest.mark.parametrize(
    ("line", "have"),
    [
        ("flags : sse2 avx2", {"AVX2"}),
        ("flags\t\t: avx2 avx512f avx512bw avx512vl avx512_vnni", {"AVX2", "AVX-512", "AVX512-VNNI"}),
        ("flags : avx2 avx_vnni amx_tile amx_int8", {"AVX2", "AVX-VNNI", "AMX-INT8"}),
        ("Features : fp asimd asimddp i8mm", {"NEON", "DOTPROD", "I8MM"}),
    ],
)
def test_instruction_sets_are_read_from_the_flags(tmp_path: Path, line: str, have: set[str]) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nmodel name : One\n{line}\n\nprocessor : 1\nmodel name : Two\n")
    found = machine.look(cpuinfo=tmp_path / "cpuinfo")
    assert found.processor == "One"
    assert {name for name, there in (found.instructions or {}).items() if there} == have


@pytest.mark.parametrize(
    ("flags", "machine", "lacks"),
    [
        ("flags : sse2 avx2", "x86_64", True),
        ("flags : avx2 avx512f avx512bw avx512vl", "x86_64", True),
        ("flags : avx2 avx512f avx512bw avx512vl avx512_vnni", "x86_64", False),
        ("flags : avx2 avx_vnni", "x86_64", False),
        ("", "AMD64", True),  # Windows says nothing: slower products rather than wrong ones
        ("", "arm64", False),
        ("Features : fp asimd", "aarch64", False),
    ],
)
def test_a_processor_without_vnni_is_known(tmp_path: Path, flags: str, machine: str, lacks: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    assert processor.lacks_vnni(processor.instructions(processor.facts_of(tmp_path / "cpuinfo")), machine) is lacks


def test_the_limits_of_a_container_are_read(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("2147483648\n")
    found = machine.look(cgroup=tmp_path)
    assert (found.core_quota, found.memory_limit_bytes) == (1.5, 2**31)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    found = machine.look(cgroup=tmp_path, cpuinfo=tmp_path / "none", meminfo=tmp_path / "none")
    assert (found.core_quota, found.memory_limit_bytes, found.instructions) == (None, None, None)


@pytest.mark.parametrize(
    ("body", "facts", "says"),
    [
        ("yield {'a': 1}; yield {'b': 2}", {"a": 1, "b": 2}, ""),
        ("print('noise'); yield {'a': 1}", {"a": 1}, ""),
        ("yield {'a': 1}; import os, signal; os.kill(os.getpid(), signal.SIGKILL)", {"a": 1}, "was ended by SIGKILL"),
        ("yield {'a': 1}; import time; time.sleep(60)", {"a": 1}, "gave no answer within 2 s"),
        ("yield {'a': 1}; raise ValueError('two\\n lines')", {"a": 1}, "ValueError: two lines"),
        ("yield {'a': 1}; import os; os._exit(0)", {"a": 1}, "without an answer"),
    ],
)
def test_what_was_found_before_a_process_ended_is_kept(
    first_to_import: Path, body: str, facts: dict[str, Any], says: str
) -> None:
    (first_to_import / "questions_of_a_test.py").write_text(f"def asked():\n    {body}\n")
    answer = ask("questions_of_a_test:asked", {}, 2 if "sleep" in body else 60)
    assert answer.facts == facts
    assert says in answer.problem
    assert bool(answer.problem) == bool(says)


@pytest.mark.slow
def test_an_interrupt_does_not_wait_for_a_program_that_hangs(first_on_path: Path, tmp_path: Path) -> None:
    program(first_on_path, "nvidia-smi", f"touch '{tmp_path}/started'; sleep 300")
    script = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        "from disasym.doctor import gpu; gpu.look.__defaults__ = (200.0,)\n"  # what it would wait, far above any delay
        "from disasym.cli import main; main(['doctor'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(sys.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    ) as process:
        while not (tmp_path / "started").exists():
            time.sleep(0.05)
        before = time.perf_counter()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=150)
    assert time.perf_counter() - before < 100
    assert (process.returncode, errors) == (130, b"interrupted\n")


def test_a_program_that_cannot_be_started_is_said(first_on_path: Path) -> None:
    program(first_on_path, "broken", "")
    (first_on_path / "broken").write_bytes(b"\x7fELF nonsense")
    ended = limited.run_limited(["broken"], 5)
    assert ended.code is None
    assert "broken cannot be started" in ended.problem
