"""The kernels compiled for A100 and H100 without either: tensor cores used, nothing spilt, enough running at once."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from disasym import kernels
from disasym.kernels.tiles import ARCHITECTURES, COLUMNS, DIMS, KERNELS, Key, Tile, key_for, store, stored, tile_for

if not kernels.HAS_TRITON:
    pytest.skip("Triton has no build for this platform", allow_module_level=True)

import torch

from disasym.kernels.ahead_of_time import MachineCode, Variant, faults, variants

LONG = Key("forward", 90, 16, 64, "long")
SOUND = MachineCode(registers=128, spills=0, shared=64 * 1024, matrix={"HGMMA": 8})


def test_every_kernel_shape_and_architecture_has_a_stored_tile() -> None:
    wanted = {
        Key(kernel, architecture, bits, dim, tokens)
        for kernel in KERNELS
        for architecture in ARCHITECTURES
        for bits in (16, 32, 64)
        for dim in DIMS
        for tokens in ("short", "long")
    }
    assert stored().keys() == wanted
    assert DIMS == kernels.TRITON_DIMS
    for choice in stored().values():
        measured = re.fullmatch(r"measured: .+, Triton [\d.]+, \d{4}-\d\d-\d\d", choice.chosen)
        assert choice.chosen == "plan" or measured, choice


@pytest.mark.parametrize(
    ("capability", "architecture"),
    [((8, 0), 80), ((8, 6), 80), ((8, 9), 80), ((12, 0), 80), ((9, 0), 90), ((10, 0), 90)],
)
def test_a_gpu_takes_the_rows_of_the_architecture_whose_shared_memory_it_has(
    capability: tuple[int, int], architecture: int
) -> None:
    assert key_for("forward", capability, torch.bfloat16, 64, 65) == Key("forward", architecture, 16, 64, "long")
    assert key_for("forward", capability, torch.float32, 32, 64) == Key("forward", architecture, 32, 32, "short")
    assert (
        tile_for("forward", capability, torch.bfloat16, 64, 65)
        == stored()[replace(LONG, architecture=architecture)].tile
    )


def test_a_table_that_is_stored_is_the_table_that_was_given(tmp_path: Path) -> None:
    store(stored(), tmp_path / "tiles.csv")
    shipped = Path(kernels.__file__).with_name("tiles.csv").read_text()
    assert (tmp_path / "tiles.csv").read_text() == shipped
    assert shipped.startswith(",".join(COLUMNS) + "\n")


def test_occupancy_worked_out_by_hand() -> None:
    """128 registers × 32 threads × 4 warps = 16384 of 65536: 4 programs. 65 KiB each of 228: 3. So 12 warps.

    With 129 registers, which are given out in eights, 136 × 128 = 17408: 3 programs. With 8 warps, 128 × 256 = 32768:
    2 programs, 16 warps. On sm_80, 164 KiB hold 2 programs of 65 KiB.
    """
    assert SOUND.warps(90, Tile(128, 64, 4, 2)) == 12
    assert replace(SOUND, registers=129, shared=0).warps(90, Tile(128, 64, 4, 2)) == 12
    assert SOUND.warps(90, Tile(128, 64, 8, 2)) == 16
    assert SOUND.warps(80, Tile(128, 64, 4, 2)) == 8
    assert replace(SOUND, registers=16, shared=0).warps(90, Tile(64, 32, 4, 2)) == 64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, []),
        ({"matrix": {}}, ["no tensor-core instruction"]),
        ({"matrix": {"HMMA": 8}}, ["HMMA instead of HGMMA"]),
        ({"spills": 3}, ["3 spills"]),
        ({"shared": 228 * 1024}, ["233472 bytes of shared memory, at most 232448", "0 warps at once, planned 8"]),
        ({"registers": 255, "shared": 200 * 1024}, ["4 warps at once, planned 8"]),
    ],
)
def test_machine_code_that_breaks_the_plan_is_named(change: dict[str, int], says: list[str]) -> None:
    variant = Variant(LONG, "bf16", Tile(128, 64, 4, 2), even=True)
    assert faults(variant, replace(SOUND, **change)) == says  # type: ignore[arg-type]


def run_gate(root: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(cache)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_shipped_variant_uses_tensor_cores_spills_nothing_and_fits(root: Path, tmp_path: Path) -> None:
    result = run_gate(root, tmp_path, "-m", "disasym.kernels.ahead_of_time")
    print(result.stdout, result.stderr)  # the table, for whoever reads a failure
    assert result.returncode == 0
    count = len(list(variants()))
    assert result.stdout.endswith(f"0 of {count} variants break the plan of kernels/README.md\n")
    assert result.stdout.count("\n") == count + 2


def test_a_tile_that_spills_fails_the_gate(root: Path, tmp_path: Path) -> None:
    """128 × 128 with 4 warps needs more registers than there are: the assembler's answer, not a guess."""
    script = (
        "from disasym.kernels.ahead_of_time import Key, Tile, Variant, faults, read\n"
        "variant = Variant(Key('backward_keys', 90, 16, 64, 'long'), 'bf16', Tile(128, 128, 4, 2), True)\n"
        "print(faults(variant, read(variant)))\n"
    )
    result = run_gate(root, tmp_path, "-c", script)
    assert re.match(r"\['\d+ spills'\]", result.stdout), result.stdout + result.stderr


def test_the_plan_can_be_made_again_and_is_what_ships(root: Path, tmp_path: Path) -> None:
    script = (
        "from disasym.kernels.tune import Key, plan\n"
        "if __name__ == '__main__':\n"
        "    (choice,) = plan([Key('forward', 90, 64, 32, 'long')], lambda line: None).values()\n"
        "    print(choice)\n"
    )
    result = run_gate(root, tmp_path, "-c", script)
    assert result.stdout == f"{stored()[Key('forward', 90, 64, 32, 'long')]}\n", result.stderr


def test_tuning_by_time_without_a_gpu_is_refused(root: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = run_gate(root, tmp_path, "-m", "disasym.kernels.tune", "--out", str(tmp_path / "tiles.csv"))
    assert "InputError: no CUDA device: tune on a machine with one, or choose by --plan" in result.stderr
    assert not (tmp_path / "tiles.csv").exists()


def test_interpreted_kernels_are_not_compiled_in_silence(root: Path, tmp_path: Path) -> None:
    script = (
        "import os; os.environ['TRITON_INTERPRET'] = '1'\n"
        "from disasym.errors import InputError\n"
        "from disasym.kernels.ahead_of_time import compiled, variants\n"
        "try: compiled(next(variants()))\n"
        "except InputError as error: print(error)\n"
    )
    assert "unset TRITON_INTERPRET" in run_gate(root, tmp_path, "-c", script).stdout


def test_numbers_that_come_as_float64_change_no_dtype(root: Path, tmp_path: Path) -> None:
    """Inductor of PyTorch 2.11 declares Python floats as fp64; on an H200 no compiled model was built for that."""
    script = (
        "from disasym.kernels import ahead_of_time, tiles\n"
        "of_eager = ahead_of_time._type\n"
        "ahead_of_time._type = lambda name, v: 'fp64' if name in ('scale', 'log2_scale') else of_eager(name, v)\n"
        "for kernel in tiles.KERNELS:\n"
        "    key = tiles.Key(kernel, 90, 16, 64, 'long')\n"
        "    variant = ahead_of_time.Variant(key, 'fp16', tiles.stored()[key].tile, True)\n"
        "    print(kernel, ahead_of_time.faults(variant, ahead_of_time.read(variant)))\n"
    )
    result = run_gate(root, tmp_path, "-c", script)
    assert result.stdout.splitlines() == [f"{kernel} []" for kernel in KERNELS], result.stderr


def test_a_size_that_is_traced_finds_its_tile() -> None:
    """With any size, torch.compile hands on numbers that have no hash."""
    from torch.fx.experimental.proxy_tensor import make_fx

    found = []

    def trace(q: torch.Tensor) -> torch.Tensor:
        found.append(key_for("forward", (9, 0), q.dtype, q.shape[-1], q.shape[2]))
        return q + 1

    make_fx(trace, tracing_mode="symbolic")(torch.empty(2, 2, 512, 8, 64, dtype=torch.float16))
    assert found == [LONG]
    assert stored()[found[0]] == stored()[LONG]
