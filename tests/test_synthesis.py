"""Synthesis: the formula by hand, and what must hold for every pasted pair."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.data.bank import BORDER, Tumour, TumourBank, make_bank
from disasym.data.manifest import load_pair, read_manifest
from disasym.data.synthesis import DARKEST, PEAK, SIZES, Placed, blend, extent, place, synthesise, turn
from disasym.data.tumours import build_bank
from disasym.errors import InputError
from disasym.spec import Array
from pairs import breast

SEEDS = st.integers(0, 2**32 - 1)


def disc(half_axis: float, grey: float = 0.9, around: float = 0.4) -> Tumour:
    """A bright disc in even tissue, at the bank's reference scale."""
    reach = int(np.ceil(3 * half_axis / BORDER))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return Tumour(np.where(np.hypot(y, x) <= half_axis, grey, around).astype(np.float32), (half_axis / BORDER,) * 2)


@pytest.fixture(scope="module")
def bank() -> TumourBank:
    return make_bank([("made", disc(half_axis)) for half_axis in (40.0, 60.0, 90.0)])


def made_views(seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return np.stack([breast(rng), breast(rng)])


def test_two_overlapping_tumours_blend_as_the_formula_says() -> None:
    view = np.array([[0.5, 0.4, 0.0]], np.float32)
    one = Placed(0, 0, np.array([[0.8, 0.6]], np.float32), np.array([[0.5, 0.25]], np.float32))
    two = Placed(0, 1, np.array([[1.0, 0.9]], np.float32), np.array([[0.5, 0.5]], np.float32))
    # column 0: 0.5·(1 − 0.5) + 0.8·0.5 = 0.65
    # column 1: 0.4·(1 − 0.25)·(1 − 0.5) + 0.6·0.25 + 1.0·0.5 = 0.15 + 0.15 + 0.5 = 0.8
    # column 2: background stays 0
    np.testing.assert_allclose(blend(view, [one, two]), [[0.65, 0.8, 0.0]], atol=1e-7)


def test_what_adds_up_to_more_than_white_is_white() -> None:
    view = np.full((1, 1), 0.5, np.float32)
    white = Placed(0, 0, np.ones((1, 1), np.float32), np.full((1, 1), 0.9, np.float32))
    assert blend(view, [white, white]) == 1.0  # 0.5·0.01 + 1.8


def test_alpha_is_a_gaussian_with_half_its_peak_on_the_lesions_border(
    bank: TumourBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disasym.data.synthesis.SIZES", (1.0, 1.0))
    view = np.full((1024, 512), 0.4, np.float32)
    (tumour,) = place(view, make_bank([("made", disc(40.0))]), 1, np.random.default_rng(0))
    row, column = np.unravel_index(int(tumour.alpha.argmax()), tumour.alpha.shape)
    assert tumour.alpha[row, column] == pytest.approx(PEAK)
    for distance, share in ((40, 0.5), (20, 0.5**0.25), (80, 0.5**4)):  # exp(−½(d/σ)²) = ½^((d/40)²)
        for y, x in ((0, distance), (distance, 0), (0, -distance), (-distance, 0)):
            assert tumour.alpha[row + y, column + x] == pytest.approx(PEAK * share, rel=1e-5)
    assert extent(view, [tumour]).sum() == pytest.approx(np.pi * 40**2, rel=0.01)


def test_a_long_tumour_turns_with_its_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ellipse pasted at any angle: where α is high the patch is bright, outside it is not, and none is cut off."""
    monkeypatch.setattr("disasym.data.synthesis.SIZES", (1.0, 1.0))
    whole = 2 * np.pi * (60 / BORDER) * (20 / BORDER) * PEAK  # ∫α
    y, x = np.mgrid[-154:155, -52:53]
    ellipse = np.where((y / 60) ** 2 + (x / 20) ** 2 <= 1, 0.9, 0.3).astype(np.float32)
    long = make_bank([("made", Tumour(ellipse, (60 / BORDER, 20 / BORDER)))])
    view = np.full((1024, 512), 0.3, np.float32)
    for seed in range(5):
        (tumour,) = place(view, long, 1, np.random.default_rng(seed))
        bright = tumour.pixels > 0.6
        border = tumour.alpha >= PEAK / 2
        assert (bright & border).sum() / (bright | border).sum() > 0.93
        assert tumour.alpha.sum() == pytest.approx(whole, rel=0.04)


@given(SEEDS)
def test_the_covariance_in_the_view_is_the_patchs_turned_and_scaled(seed: int) -> None:
    """With p = A·q from patch to view: Σ = A diag(σ²) Aᵀ, so A⁻¹ Σ A⁻ᵀ = diag(σ²); A keeps angles."""
    tumour = Tumour(np.full((9, 9), 0.5, np.float32), (3.0, 1.0))
    shape = turn(tumour, 1000.0, np.random.default_rng(seed))
    np.testing.assert_allclose(shape.inverse @ shape.covariance @ shape.inverse.T, np.diag([9.0, 1.0]), atol=1e-9)
    scale = np.abs(np.linalg.det(shape.inverse)) ** -0.5
    assert SIZES[0] <= scale <= SIZES[1]
    np.testing.assert_allclose(shape.inverse @ shape.inverse.T * scale**2, np.eye(2), atol=1e-9)


def test_a_tumour_keeps_its_contrast_in_darker_tissue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disasym.data.synthesis.CONTRASTS", (1.0, 1.0))
    (tumour,) = place(
        np.full((1024, 512), 0.2, np.float32), make_bank([("made", disc(50.0))]), 1, np.random.default_rng(0)
    )
    inside, outside = tumour.pixels[tumour.alpha > 0.6], tumour.pixels[tumour.alpha < 0.3]
    np.testing.assert_allclose(inside, 0.7, atol=2e-3)  # 0.2 + (0.9 − 0.4)
    np.testing.assert_allclose(outside, 0.2, atol=2e-3)


def test_skin_and_air_beside_a_tumour_leave_no_hole_in_the_tissue() -> None:
    half = disc(50.0)
    half.pixels[:, :60] = 0.01  # as where a lesion lies close to the skin
    (tumour,) = place(np.full((1024, 512), 0.5, np.float32), make_bank([("made", half)]), 1, np.random.default_rng(0))
    assert tumour.pixels.min() == pytest.approx(0.5 - DARKEST)


@given(SEEDS)
def test_a_synthetic_pair_is_a_pair_of_views(bank: TumourBank, seed: int) -> None:
    views = made_views(seed)
    made = synthesise(views, bank, np.random.default_rng(seed))
    assert made.fake.dtype == np.float32
    assert made.fake.shape == views.shape == made.mask.shape
    assert made.fake.max() <= 1
    np.testing.assert_array_equal(made.fake > 0, views > 0)  # background exactly 0, and breast still breast


@given(SEEDS)
def test_labels_and_mask_say_which_side_was_changed(bank: TumourBank, seed: int) -> None:
    views = made_views(seed)
    made = synthesise(views, bank, np.random.default_rng(seed))
    changed = tuple(int((fake != view).any()) for fake, view in zip(made.fake, views, strict=True))
    assert made.labels == (1, *changed)
    assert changed in {(1, 0), (0, 1), (1, 1)}
    assert tuple(int(side.any()) for side in made.mask) == changed
    assert not (made.mask & (views == 0)).any()


@given(SEEDS, st.sampled_from([(1, 0), (0, 1)]))
def test_an_abnormal_side_is_never_pasted_into(bank: TumourBank, seed: int, abnormal: tuple[int, int]) -> None:
    views = made_views(seed)
    made = synthesise(views, bank, np.random.default_rng(seed), abnormal)
    side = abnormal.index(1)
    np.testing.assert_array_equal(made.fake[side], views[side])
    assert not made.mask[side].any()
    assert made.mask[1 - side].any()
    assert made.labels == (1, 1, 1)  # one side by its label, the other by the paste


def test_two_abnormal_sides_leave_nothing_to_paste_into(bank: TumourBank) -> None:
    with pytest.raises(InputError, match="no normal one"):
        synthesise(made_views(), bank, np.random.default_rng(0), (1, 1))


@given(SEEDS)
def test_tumours_lie_in_the_breast_and_are_brighter_than_it_was(bank: TumourBank, seed: int) -> None:
    view = breast(np.random.default_rng(seed))
    placed = place(view, bank, 1, np.random.default_rng(seed))
    (tumour,) = placed
    weight = np.zeros_like(view)
    height, width = tumour.alpha.shape
    weight[tumour.top : tumour.top + height, tumour.left : tumour.left + width] = tumour.alpha
    assert weight[view > 0].sum() > 0.9 * weight.sum()
    mask = extent(view, placed)
    assert (blend(view, placed) - view)[mask].mean() > 0.05


def test_one_to_three_tumours_in_one_or_both_breasts_all_happen(
    bank: TumourBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def counted(view: Array, bank: TumourBank, count: int, rng: np.random.Generator) -> list[Placed]:
        counts.append(count)
        return place(view, bank, count, rng)

    monkeypatch.setattr("disasym.data.synthesis.place", counted)
    rng, views = np.random.default_rng(0), made_views()
    labels = [synthesise(views, bank, rng).labels for _ in range(90)]
    assert set(counts) == {1, 2, 3}
    for pattern in ((1, 1, 0), (1, 0, 1), (1, 1, 1)):
        assert 15 <= labels.count(pattern) <= 45  # a third each; 3.4 standard deviations


def test_the_same_generator_state_gives_the_same_bytes_and_leaves_the_input_alone(bank: TumourBank) -> None:
    views = made_views()
    before = views.copy()
    one, two = (synthesise(views, bank, np.random.default_rng(7)) for _ in range(2))
    assert one.fake.tobytes() == two.fake.tobytes()
    assert one.labels == two.labels
    np.testing.assert_array_equal(views, before)


def test_a_breast_smaller_than_a_tumour_gets_a_smaller_tumour(bank: TumourBank) -> None:
    views = np.zeros((2, 128, 64), np.float32)
    views[:, 60:68, :6] = 0.4
    made = synthesise(views, bank, np.random.default_rng(0))
    assert made.mask.any()
    np.testing.assert_array_equal(made.fake > 0, views > 0)


def test_a_view_without_a_breast_and_a_batch_are_refused(bank: TumourBank) -> None:
    with pytest.raises(InputError, match="128 × 64 pixels holds no breast"):
        synthesise(np.zeros((2, 128, 64), np.float32), bank, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"\[2, H, W\], got shape \[1, 2, 8, 8\]"):
        synthesise(np.zeros((1, 2, 8, 8), np.float32), bank, np.random.default_rng(0))


@pytest.mark.slow
def test_real_tumours_of_mias_go_into_real_symmetric_pairs_of_cesm(data_root: Path) -> None:
    bank = build_bank(read_manifest(data_root / "mias" / "manifest.csv").pairs[:30]).bank
    pairs = [p for p in read_manifest(data_root / "cesm" / "manifest.csv").pairs if p.labels == (0, 0, 0)]
    rng = np.random.default_rng(0)
    for pair in pairs[:4]:
        views = load_pair(pair, 256, 128)
        made = synthesise(views, bank, rng)
        np.testing.assert_array_equal(made.fake > 0, views > 0)
        assert (made.fake - views)[made.mask].mean() > 0.03
        assert np.abs(made.fake - views)[~made.mask].mean() < 0.02
