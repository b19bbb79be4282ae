"""The benchmark of the attention compares like with like, counts right, and judges as the targets are written."""

from typing import Any

import pytest
import torch

from benchmarks.attention_check import check_for, relative_error
from benchmarks.attention_peers import by_source, by_source_functional, stacked, two_calls, written_out
from benchmarks.attention_report import best_peer, report, verdicts
from benchmarks.attention_shapes import PAPER, Shape, flops, traffic
from benchmarks.gpu_part import CUT, FAIL, INFO, PASS, Record
from benchmarks.gpu_summary import verdict
from tolerances import tolerance


@pytest.mark.parametrize("formulation", [two_calls, stacked, by_source, by_source_functional])
def test_every_formulation_gives_the_same_result_and_gradient(formulation: Any) -> None:
    qkv, grad = Shape(torch.float64, 2, 13, 3, 8).inputs("cpu")
    expected = written_out(qkv)
    (expected_gradient,) = torch.autograd.grad(expected, qkv, grad)
    found = formulation(qkv)
    (gradient,) = torch.autograd.grad(found, qkv, grad)
    assert relative_error(found, expected) <= tolerance("attention backends, float32")
    assert relative_error(gradient, expected_gradient) <= tolerance("attention backends, float32")


def test_a_contender_that_swaps_the_sides_or_gives_nan_is_wrong() -> None:
    qkv, grad = Shape(torch.float32, 3, 9, 2, 8).inputs("cpu")
    check, right = check_for(qkv, grad), two_calls(qkv)
    (gradient,) = torch.autograd.grad(right, qkv, grad)
    assert check(right, gradient)[1] == ""
    assert "of the result" in check(right.flip(1), gradient)[1]
    assert "of the gradient" in check(right, gradient * 1.001)[1]
    assert "of the result nan" in check(torch.full_like(right, float("nan")), gradient)[1]


def test_the_work_of_the_judged_shape_is_as_worked_by_hand() -> None:
    shape = Shape(torch.bfloat16, *PAPER)
    # 32 pairs × 8 heads × 4 attentions × 2 products × 2·512²·64 operations
    assert flops(shape, "forward") == 32 * 8 * 4 * 2 * 2 * 512 * 512 * 64
    # 32 pairs × 2 sides × 512 tokens × (q, k, v read and SA, CA written) × 8·64 channels × 2 bytes
    assert traffic(shape, "forward") == 32 * 2 * 512 * 5 * 8 * 64 * 2
    assert flops(shape, "both") == flops(shape, "forward") + flops(shape, "backward")
    assert traffic(shape, "both") == traffic(shape, "forward") + traffic(shape, "backward")


def line(contender: str, direction: str, ms: float, **other: Any) -> dict[str, Any]:
    batch, tokens, heads, dim = PAPER
    shape = Shape(torch.bfloat16, *PAPER)
    return {
        "gpu": "a GPU", "dtype": "bf16", "batch": batch, "tokens": tokens, "heads": heads, "dim": dim, "ms": ms,
        "contender": contender, "direction": direction, "status": "timed", "named": "SDPA" in contender, "reason": "",
        "tflops": flops(shape, "forward") / ms / 1e9, "ceiling_tflops": 800.0, "ceiling_gbs": 3000.0, "error": 0.001,
        **other,
    }  # fmt: skip


def test_targets_are_judged_against_the_fastest_peer() -> None:
    lines = [
        line("fused", "forward", 0.14), line("2×SDPA, flash", "forward", 0.30), line("stacked, flash", "forward", 0.20),
        line("fused", "backward", 0.50), line("2×SDPA, flash", "backward", 0.70),
    ]  # fmt: skip
    forward, rate, backward = sorted(verdicts(lines), key=lambda one: one.target.replace("backward", "x"))
    assert (forward.passed, rate.passed, backward.passed) == (False, True, True)  # 1.43×, 61 %, 1.40×
    assert "1.43× stacked, flash" in forward.found
    assert "2.14× 2×SDPA, flash, the best of those named" in forward.found
    peer = best_peer(lines, "forward", named=True)
    assert peer is not None
    assert peer["contender"] == "2×SDPA, flash"


def test_a_peer_that_was_wrong_or_refused_is_no_peer_and_stands_in_the_table() -> None:
    lines = [
        line("fused", "forward", 0.2), line("fused", "backward", 0.2), line("fused", "both", 0.4),
        line("stacked, cuDNN", "all", 1.0, status="refused", reason="it does not want to"),
    ]  # fmt: skip
    assert all(one.passed is None for one in verdicts(lines) if "peer" in one.target)
    assert "refused: it does not want to" in report(lines)


@pytest.mark.parametrize(
    ("statuses", "word"),
    [((PASS, INFO), PASS), ((PASS, CUT), CUT), ((CUT, FAIL, PASS), FAIL), ((INFO,), PASS), ((), FAIL)],
)
def test_a_part_passes_only_if_nothing_failed_or_was_cut(statuses: tuple[str, ...], word: str) -> None:
    assert verdict([Record("part", "check", status, "") for status in statuses]) == word
