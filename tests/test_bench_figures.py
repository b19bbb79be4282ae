"""`disasym bench`: what its numbers are, worked out by hand, and whom it lets into a race."""

import math
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from disasym.bench.contenders import Absent, Contender, find
from disasym.bench.rows import LEAST_RUNS, beyond, figures, percentile, times
from disasym.bench.run import BenchOptions
from disasym.cli import main
from disasym.errors import InputError
from disasym.spec import OUTPUTS


def contender(precision: str = "fp32") -> Contender:
    return Contender("a", Path(), "onnx", "onnxruntime", precision, OUTPUTS, "cpu", None)


def test_the_ratio_to_eager_is_the_median_of_the_turns_own_ratios() -> None:
    """Eager took 4, 9 and 4 s, the other 2, 3 and 1 s: 2, 3 and 4 times; a slow turn of both changes nothing."""
    assert times([[4.0], [9.0], [4.0]], [[2.0], [3.0], [1.0]]) == (2.5, 3.0, 3.5)


def test_latency_and_throughput_worked_out_by_hand() -> None:
    found = figures(4, [[0.1, 0.3], [0.2]], [[0.4], [0.4]])
    assert found["turns"] == 2
    assert found["runs"] == 3
    assert found["p50_ms"] == pytest.approx(200)
    assert found["pairs_per_second"] == pytest.approx(4 * 3 / 0.6)
    assert found["times_eager"] == pytest.approx(2)
    assert found["p95_ms"] is None


@pytest.mark.parametrize("q", LEAST_RUNS)
def test_a_percentile_of_too_few_runs_is_not_given(q: int) -> None:
    enough = [float(value) for value in range(LEAST_RUNS[q])]
    assert percentile(enough, q) == pytest.approx((len(enough) - 1) * q / 100)
    assert percentile(enough[:-1], q) is None


def test_what_differs_beyond_its_precision_or_is_no_number_is_named() -> None:
    assert beyond(contender(), {"asymmetry": 1e-6, "abnormal": 0.2, "cam": math.nan}) == ("abnormal", "cam")
    assert beyond(contender("int8"), {"abnormal": 1e-3}) == ()


def test_everyone_who_does_not_run_is_there_with_a_reason(small_export: Path, scores_export: Path) -> None:
    field = find([small_export, scores_export], "cpu")
    names = [each.name for each in field.contenders]
    assert names == ["eager fp32", "eager fp32, scores", "onnxruntime fp32", "onnxruntime fp32, scores"]
    absent = {each.name: each.reason for each in field.absent}
    assert "for GPUs only" in absent["autocast fp16"]
    assert "--compile" in absent["torch.compile fp32"]
    assert "disasym export --to tensorrt-rtx" in absent["tensorrt-rtx"]
    assert "disasym export --int8" in absent["int8"]
    assert all(absent.values())


def test_the_same_file_is_not_raced_twice_and_engines_can_be_chosen(small_export: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_export, tmp_path / "copy"))
    found = find([small_export, copy], "cpu", engines=["eager"])
    assert [each.name for each in found.contenders] == ["eager fp32"]
    assert not any(isinstance(each, Absent) and each.engine == "onnxruntime" for each in found.absent)
    assert len({each.name for each in find([small_export, copy], "cpu").contenders}) == 3


def test_exports_of_different_weights_are_no_race(small_export: Path) -> None:
    demonstration = Path(__file__).parent.parent / "disasym" / "demonstration"
    with pytest.raises(InputError, match="hold different weights"):
        find([small_export, demonstration], "cpu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"batches": (4, 0)}, "batch must be at least 1, got 0"),
        ({"seconds": 0.0}, "seconds must be above 0"),
        ({"exams": 3, "batches": (1, 2)}, "a stream has one batch size, got 2"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        BenchOptions(models=("small",), out=Path("out"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch", "1,many"], "'many' is no batch size"),
        (["--engine", "abacus"], "unknown engine 'abacus'"),
        (["nowhere"], "no model at nowhere"),
    ],
)
def test_a_wrong_command_is_a_usage_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", *arguments, "--out", str(tmp_path)], prog_name="disasym")
    assert result.exit_code == 2
    assert says in result.output
