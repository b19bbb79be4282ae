"""How far two results that should be equal may differ, and why that far and no further.

One row a comparison. A test that needs another tolerance adds a row with its reason; it never writes a bare number.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Largest absolute difference that a comparison accepts, and the reason for that number."""

    absolute: float
    reason: str


TOLERANCES = {
    "score, onnxruntime vs eager": Tolerance(
        1e-4, "the export gate: float32 sums in another order over 12 blocks, after a sigmoid of slope at most 1/4"
    ),
    "image, onnxruntime vs eager": Tolerance(
        1e-3, "the export gate: a quarter of one grey level of an 8-bit display; the decoder sums over more terms"
    ),
    "cam, onnxruntime vs eager": Tolerance(
        1e-3, "the export gate: min-max scaling divides by the range of the map, which enlarges rounding"
    ),
    "batch of one vs many": Tolerance(
        1e-5, "a larger batch is split over other blocks of the same matrix products: float32 rounding"
    ),
    "swap law": Tolerance(
        1e-5, "swapping the sides permutes the batch: other positions in the same matrix products, float32 rounding"
    ),
    "identical sides": Tolerance(
        1e-5, "SA and CA of identical sides are the same products in another launch: float32 rounding"
    ),
    "monochrome1 score": Tolerance(
        1e-3, "an inverted copy has the same pixels up to one float32 rounding; the percentile window may interpolate"
    ),
    "attention, ratio of errors against float64": Tolerance(
        2.0, "flash-attention's rule: the kernel may err twice as much as plain torch does in the same precision"
    ),
    "attention, nothing to add up": Tolerance(
        5e-7, "with one token dQ and dK are exactly 0, and plain torch may hit that: four units of float32 sums over d"
    ),
    "attention, scores of a thousand": Tolerance(
        1e-3, "float32 holds a score of 1000 to 6e-5, and so the weights, their exponentials, to about as much"
    ),
    "attention backends, float32": Tolerance(
        1e-5, "softmax rows sum to 1, so the output is a mean of values of order 1: float32 rounding of N terms"
    ),
    "two processes, float64": Tolerance(
        1e-6,
        "float64 sums in another order; a thousandth of the rate, as Adam divides by a gradient's size, however small",
    ),
    "two processes, first step": Tolerance(
        1e-4, "float32 losses of one batch; that of objective 2 comes after a first update by the sign of each gradient"
    ),
    "two decoders, lossless": Tolerance(0, "stored values: a lossless stream says each of them exactly"),
    "two decoders, lossy": Tolerance(
        2, "stored values: inverse transforms in whole numbers or in floats round differently (T.81 A.3.3, T.800 F.4)"
    ),
    "place of a reduced blob": Tolerance(
        0.02, "of a pixel of the small copy: whole numbers in the filter; a wrong place would be off by 0.125 or more"
    ),
    "whole numbers in the filter": Tolerance(
        1e-3, "of the range of grey: four passes round twice each, by half a step of 12 bits, and pass little of it on"
    ),
    "box of a reduced film": Tolerance(
        8.0, "pixels of the file: two pixels of the copy on which the breast is found, by which its crop may differ"
    ),
    "pixels of a reduced film": Tolerance(
        0.01, "mean over the frame: another low-pass filter before the area average, and noise of a film"
    ),
    "score of a reduced film": Tolerance(
        5e-3, "the promise: what a reader could not see must not change a score; beyond it a film is decoded whole"
    ),
    "report image, grey levels": Tolerance(
        12,
        "JPEG of quality 95 steps by 1 to 10 levels in a coefficient; the eight real films differ by at most 9 of 255",
    ),
    "report heat, colour levels": Tolerance(
        2.0,
        "heat is one byte: half a level of opacity, as much of its colour, and half for each rounding",
    ),
    "bytes in memory, a further pair": Tolerance(
        2**16, "4.3 KiB of rows and headers, and the allocator's noise; both breasts at the network's size are 2^18"
    ),
}


def tolerance(comparison: str) -> float:
    """The absolute tolerance of a row of the table; KeyError names a comparison that has none."""
    return TOLERANCES[comparison].absolute
