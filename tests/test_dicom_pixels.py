"""Stored pixels → grey: hand-worked values, laws, every transfer syntax, and streams that lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from dicom_files import breast, lut, write_mammogram
from disasym.dicom import read_pixels

ROW = np.array([[0, 1000, 2000, 3000, 4000, 4095]], np.uint16)


def grey_of(path: Path, cells: Any = ROW, **tags: Any) -> list[float]:
    return [round(float(value), 6) for value in read_pixels(write_mammogram(path, cells, **tags)).reshape(-1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


def test_without_a_voi_rule_the_values_present_span_zero_to_one(path: Path) -> None:
    assert grey_of(path, np.array([[100, 200, 300]], np.uint16)) == [0, 0.5, 1]


def test_the_linear_window_follows_its_formula(path: Path) -> None:
    """PS3.3 C.11.2.1.2.1 with c = 2001, w = 2001: 0 at x ≤ 1000.5, 1 at x > 3000.5, between (x − 2000.5)/2000 + 0.5."""
    assert grey_of(path, WindowCenter="2001", WindowWidth="2001") == [0, 0, 0.49975, 0.99975, 1, 1]


def test_the_first_of_several_windows_is_used(path: Path) -> None:
    assert grey_of(path, WindowCenter=["2001", "9"], WindowWidth=["2001", "3"])[2] == 0.49975


def test_the_exact_linear_window_follows_its_formula(path: Path) -> None:
    """PS3.3 C.11.2.1.3.2 with c = 2000, w = 4000: x / 4000, clipped."""
    grey = grey_of(path, WindowCenter="2000", WindowWidth="4000", VOILUTFunction="LINEAR_EXACT")
    assert grey == [0, 0.25, 0.5, 0.75, 1, 1]


def test_the_sigmoid_window_follows_its_formula(path: Path) -> None:
    """PS3.3 C.11.2.1.3.1 with c = 2000, w = 1000: 1 / (1 + exp(−4 (x − 2000) / 1000))."""
    grey = grey_of(path, WindowCenter="2000", WindowWidth="1000", VOILUTFunction="SIGMOID")
    assert grey[1:4] == [round(1 / (1 + np.exp(4)), 6), 0.5, round(1 / (1 + np.exp(-4)), 6)]


def test_a_window_of_width_one_is_a_step(path: Path) -> None:
    assert grey_of(path, WindowCenter="2000.5", WindowWidth="1") == [0, 0, 0, 1, 1, 1]


def test_rescale_comes_before_the_window(path: Path) -> None:
    """2·x − 1000 maps 1000 and 2000 to 1000 and 3000; an exact window over [0, 4000] gives 0.25 and 0.75."""
    window = {"WindowCenter": "2000", "WindowWidth": "4000", "VOILUTFunction": "LINEAR_EXACT"}
    assert grey_of(path, RescaleSlope="2", RescaleIntercept="-1000", **window)[:3] == [0, 0.25, 0.75]


def test_the_voi_table_goes_before_the_window(path: Path) -> None:
    """Entries 0, 32768, 65535 for 999, 1000, 1001; below takes the first entry, above the last."""
    table = lut(999, [0, 32768, 65535])
    assert grey_of(path, VOILUTSequence=table, WindowCenter="1", WindowWidth="1") == [0, 0.500008, 1, 1, 1, 1]


def test_a_voi_table_may_begin_below_zero(path: Path) -> None:
    table = lut(-1000, [0, 65535], vr="SS")
    grey = grey_of(path, np.array([[0, 1, 2]], np.uint16), RescaleIntercept="-1000", VOILUTSequence=table)
    assert grey == [0, 1, 1]


def test_a_modality_table_replaces_rescale(path: Path) -> None:
    cells = np.array([[0, 1, 2]], np.uint16)
    assert grey_of(path, cells, ModalityLUTSequence=lut(0, [10, 40, 20]), RescaleSlope="0.5") == [0, 1, 0.333333]


@pytest.mark.parametrize(
    "voi",
    [
        {},
        {"WindowCenter": "2000", "WindowWidth": "3000"},
        {"WindowCenter": "2000", "WindowWidth": "900", "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "2000", "WindowWidth": "3001", "VOILUTFunction": "LINEAR_EXACT"},
    ],
    ids=["none", "linear", "sigmoid", "exact"],
)
def test_a_monochrome1_copy_gives_the_same_pixels(tmp_path: Path, voi: dict[str, Any]) -> None:
    """x' = 4095 − x; a linear window's centre becomes 4096 − c: it lies half a grey level off (C.11.2.1.2.1)."""
    original = read_pixels(write_mammogram(tmp_path / "a.dcm", **voi))
    if voi:
        linear = voi.get("VOILUTFunction") is None
        voi = {**voi, "WindowCenter": str((4096 if linear else 4095) - int(voi["WindowCenter"]))}
    inverse: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    copy = read_pixels(write_mammogram(tmp_path / "b.dcm", 4095 - breast(), **voi, **inverse))
    np.testing.assert_array_equal(copy, original)


def test_a_monochrome1_copy_turned_round_its_own_maximum_gives_the_same_pixels(tmp_path: Path) -> None:
    cells = breast()
    original = read_pixels(write_mammogram(tmp_path / "a.dcm", cells))
    copy = write_mammogram(tmp_path / "b.dcm", cells.max() - cells, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_pixels(copy), original)


def test_a_monochrome1_voi_table_is_turned_round(path: Path) -> None:
    table = lut(0, [0, 13107, 65535])
    grey = grey_of(
        path, np.array([[0, 1, 2]], np.uint16), VOILUTSequence=table, PhotometricInterpretation="MONOCHROME1"
    )
    assert grey == [1, 0.8, 0]


def test_an_inverse_presentation_shape_inverts_once(path: Path) -> None:
    cells = np.array([[0, 100]], np.uint16)
    assert grey_of(path, cells, PresentationLUTShape="INVERSE") == [1, 0]
    assert grey_of(path, cells, PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1") == [1, 0]
    assert grey_of(path, cells, PresentationLUTShape="IDENTITY", PhotometricInterpretation="MONOCHROME2") == [0, 1]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_background_and_does_not_stretch_the_range(path: Path, photometric: str) -> None:
    cells = np.array([[4095, 4090, 1000, 2000, 3000]], np.uint16)
    grey = grey_of(
        path, cells, PixelPaddingValue=4095, PixelPaddingRangeLimit=4090, PhotometricInterpretation=photometric
    )
    assert grey == ([0, 0, 0, 0.5, 1] if photometric == "MONOCHROME2" else [0, 0, 1, 0.5, 0])


def test_signed_pixels_are_twos_complement_of_their_stored_bits(path: Path) -> None:
    """−1000, 0, 1000 in 12 bits of a 16-bit cell whose upper bits hold junk."""
    cells = (np.array([[-1000, 0, 1000, -2000]], np.int16).view(np.uint16) & 0x0FFF) | 0x5000
    grey = grey_of(path, cells, PixelRepresentation=1, PixelPaddingValue=-2000)
    assert grey == [0, 0.5, 1, 0]


def test_bits_above_the_stored_ones_are_ignored(tmp_path: Path) -> None:
    clean = read_pixels(write_mammogram(tmp_path / "a.dcm"))
    junk = np.random.default_rng(0).integers(0, 16, (40, 24)).astype(np.uint16) << 12
    np.testing.assert_array_equal(read_pixels(write_mammogram(tmp_path / "b.dcm", breast() | junk)), clean)


def test_a_high_bit_above_the_stored_bits_shifts(tmp_path: Path) -> None:
    clean = read_pixels(write_mammogram(tmp_path / "a.dcm"))
    shifted = write_mammogram(tmp_path / "b.dcm", (breast() << 4) | 3, HighBit=15)
    np.testing.assert_array_equal(read_pixels(shifted), clean)


@given(values=st.lists(st.integers(0, 65535), min_size=2, max_size=12), window=st.booleans(), inverted=st.booleans())
def test_the_result_is_float32_in_zero_to_one(tmp_path: Path, values: list[int], window: bool, inverted: bool) -> None:
    tags: dict[str, Any] = {"WindowCenter": "100", "WindowWidth": "7"} if window else {}
    tags |= {"PhotometricInterpretation": "MONOCHROME1"} if inverted else {}
    grey = read_pixels(write_mammogram(tmp_path / "a.dcm", np.array([values], np.uint16), bits=16, **tags))
    assert grey.dtype == np.float32
    assert grey.shape == (1, len(values))
    assert 0 <= grey.min() <= grey.max() <= 1


# Real files


def test_the_real_films_decode_to_their_stored_values(films: list[dict[str, Path]]) -> None:
    path = films[0]["rcc"]
    stored = dcmread(path).pixel_array
    low, high = int(stored.min()), int(stored.max())
    expected = (stored[::7, ::7].astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(read_pixels(path)[::7, ::7], expected, atol=1e-6)


def test_the_real_ge_image_is_jpeg_lossless_with_padding(data_root: Path) -> None:
    grey = read_pixels(data_root / "dicom" / "fodicom_GH133.dcm")
    assert grey.shape == (3062, 2394)
    assert (grey[:, :500] == 0).mean() > 0.99  # air, by PixelPaddingValue and its range
    assert grey.max() > 0.9


def test_the_real_jpeg_2000_film_decodes(data_root: Path) -> None:
    grey = read_pixels(data_root / "dicom" / "MG1_J2KI.dcm")
    assert grey.shape == (4664, 3064)
    assert 0.2 < grey.mean() < 0.6
