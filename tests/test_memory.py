"""Memory does not grow with the archive as it would if one image a pair were kept."""

from pathlib import Path

import pytest

from benchmarks.memory import MIB, measure
from tolerances import tolerance

FEW, MANY = 30, 230  # pairs


@pytest.mark.slow
def test_a_run_over_more_pairs_keeps_none_of_their_images(tmp_path: Path) -> None:
    grown = (measure(MANY, tmp_path)["peak_mib"] - measure(FEW, tmp_path)["peak_mib"]) * MIB / (MANY - FEW)
    assert grown <= tolerance("bytes in memory, a further pair")
