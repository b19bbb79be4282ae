"""How far an exported model may be from eager PyTorch in float32: one table, each row with its reason.

`disasym export` refuses what is further away, `disasym verify` reports it. Differences are the largest over all pairs
and elements. What was measured stands in docs/log.md and in each manifest.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Largest |Δ| accepted against eager, and why that much."""

    absolute: float
    reason: str


TOLERANCES = {
    "fp32": {
        "score": Tolerance(1e-4, "float32 sums in another order over the blocks, then a sigmoid of slope at most 1/4"),
        "cam": Tolerance(1e-3, "min–max scaling divides by the range of the map, which enlarges rounding"),
        "image": Tolerance(1e-3, "a quarter of one grey level of an 8-bit display; the decoder sums over many terms"),
    },
    "fp16": {
        "score": Tolerance(2e-3, "below what the second decimal shows; islands of float32 are chosen to keep it"),
        "cam": Tolerance(1e-2, "the map is for display; min–max scaling divides by its range, which enlarges rounding"),
        "image": Tolerance(
            2e-2, "five grey levels of an 8-bit display, at the worst pixel of a decoder of any weights"
        ),
    },
    "bf16": {
        "score": Tolerance(1e-2, "one step of the second decimal; its steps are eight times those of fp16"),
        "cam": Tolerance(5e-2, "for display; its steps are eight times those of fp16"),
        "image": Tolerance(1e-1, "for display, at the worst pixel; its steps are eight times those of fp16"),
    },
    "int8": {
        "score": Tolerance(
            1e-2, "one step of the second decimal: the limit that the quantiser leaves layers float for"
        ),
        "cam": Tolerance(1e-1, "256 steps an activation, scaled by the range of the map; for display"),
        "image": Tolerance(1.5e-1, "256 steps an activation of the decoder, at the worst pixel, which lies on an edge"),
    },
}
KINDS = {"asymmetry": "score", "abnormal": "score", "cam": "cam", "normal": "image", "abnormality": "image"}


def tolerance(precision: str, output: str) -> float:
    """The largest |Δ| that a target of this precision may have in an output of `disasym.spec`."""
    return TOLERANCES[precision][KINDS[output]].absolute
