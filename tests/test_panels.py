"""The picture of a pair: where everything stands, and that heat is on tissue only."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from disasym.infer.boxes import enlarge, regions_of
from disasym.infer.colours import heat, overlay
from disasym.infer.panels import BACKGROUND, BOX, COLUMNS, Layout, draw_panel, write_panel
from disasym.infer.stages import Loaded, Scored, load_pair
from exams import FakeEngine, jobs_of

HEIGHT, WIDTH = 128, 64


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """A pair whose left breast is hot in the middle."""
    pair = load_pair(jobs_of(tmp_path_factory.mktemp("pairs"), 1)[0], HEIGHT, WIDTH)
    assert isinstance(pair, Loaded)
    views = np.stack([pair.right.pixels, pair.left.pixels])
    cam = np.zeros((2, HEIGHT // 32, WIDTH // 32), np.float32)
    cam[1, 1:3, 0] = 1.0
    return Scored(
        job=pair.job,
        right=pair.right,
        left=pair.left,
        asymmetry=0.8734,
        abnormal=(0.1, 0.9),
        cam=cam,
        normal=views * np.float32(0.5),
        abnormality=views * np.float32(0.25),
    )


def cells(picture: Image.Image) -> np.ndarray:
    """[2, 4, h, w, 3]: the images of the picture by side and column, as int so that they can be subtracted."""
    layout = Layout.of(HEIGHT, WIDTH)
    pixels = np.asarray(picture).astype(int)
    found = []
    for side in range(2):
        for column in range(4):
            x, y = layout.cell(side, column)
            found.append(pixels[y : y + layout.cell_height, x : x + layout.cell_width])
    return np.stack(found).reshape(2, 4, layout.cell_height, layout.cell_width, 3)


def test_both_breasts_have_the_chest_wall_at_the_left(scored: Scored) -> None:
    for side in cells(draw_panel(scored, FakeEngine(HEIGHT, WIDTH))):
        original = side[COLUMNS.index("original")]
        assert original[:, :30].mean() > 3 * original[:, -30:].mean()


def test_heat_lies_on_tissue_only_and_where_the_map_is_hot(scored: Scored) -> None:
    right, left = cells(draw_panel(scored, FakeEngine(HEIGHT, WIDTH)))
    np.testing.assert_array_equal(right[0], right[1])  # a cold side looks like its original
    warmed = abs(left[1] - left[0]).max(axis=-1) > 0
    tissue = enlarge(scored.left.pixels > 0, *warmed.shape) > 0
    assert warmed.any()
    assert not (warmed & ~tissue).any()
    rows = np.flatnonzero((abs(left[1] - left[0]).max(axis=-1) > 100).any(axis=1))
    assert warmed.shape[0] * 0.2 < rows.min() < rows.max() < warmed.shape[0] * 0.8


def test_a_box_frames_its_lesion_on_the_heat_map_of_its_own_breast_and_nowhere_else(scored: Scored) -> None:
    regions = regions_of(scored)
    assert regions is not None
    (region,) = regions
    with_box, without = (cells(draw_panel(scored, FakeEngine(HEIGHT, WIDTH), shown)) for shown in (regions, ()))
    changed = (with_box != without).any(axis=(2, 3, 4))
    assert np.argwhere(changed).tolist() == [[1, COLUMNS.index("heat map")]]
    drawn = (with_box[1, 1] == BOX).all(axis=-1)
    lines = np.flatnonzero(drawn.mean(axis=1) > 0.2)  # rows of the picture that are a line of the box
    factor = with_box.shape[2] // HEIGHT
    thick = Layout.of(HEIGHT, WIDTH).px(4)
    assert (lines.min() + thick, lines.max() + 1 - thick) == (region.frame[1] * factor, region.frame[3] * factor)


def test_normal_and_abnormality_have_one_fixed_scale(scored: Scored) -> None:
    for side in cells(draw_panel(scored, FakeEngine(HEIGHT, WIDTH))):
        original, _, normal, abnormality = side
        unclipped = (original > 0) & (original < 255)  # interpolation overshoots at edges and is cut there
        assert abs(normal - original / 2)[unclipped].max() <= 1
        assert abs(abnormality - original / 4)[unclipped].max() <= 1


def test_nothing_is_cut_off_at_the_margins(scored: Scored) -> None:
    pixels = np.asarray(draw_panel(scored, FakeEngine(HEIGHT, WIDTH)))
    margin = Layout.of(HEIGHT, WIDTH).margin // 2
    for strip in (pixels[:margin], pixels[-margin:], pixels[:, :margin], pixels[:, -margin:]):
        assert (strip == BACKGROUND).all()


@pytest.mark.parametrize(("height", "width"), [(1024, 512), (256, 128), (128, 64), (100, 50)])
def test_views_are_enlarged_by_a_whole_factor_to_a_size_one_can_read(height: int, width: int) -> None:
    layout = Layout.of(height, width)
    assert layout.cell_height % height == 0
    assert layout.cell_height // height == layout.cell_width // width
    assert 600 <= layout.cell_height <= 1024


def test_the_same_pair_gives_the_same_file(scored: Scored, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_panel(tmp_path / "images" / name, scored, FakeEngine(HEIGHT, WIDTH))
    assert (tmp_path / "images" / "a.png").read_bytes() == (tmp_path / "images" / "b.png").read_bytes()
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["a.png", "b.png"]


def test_heat_grows_lighter_with_the_value() -> None:
    colours = heat(np.linspace(0, 1, 101, dtype=np.float32)[None])[0].astype(float)
    lightness = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    assert [tuple(colours[0]), tuple(colours[-1])] == [(0, 0, 4), (252, 255, 164)]


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_an_overlay_of_no_heat_is_the_image_and_full_strength_is_the_colour(image: float, value: float) -> None:
    grey, hot = np.full((1, 1), image, np.float32), np.full((1, 1), value, np.float32)
    assert overlay(grey, hot * 0, 1.0)[0, 0].tolist() == [round(float(np.float32(image) * 255))] * 3
    assert overlay(grey, np.ones_like(hot), 1.0)[0, 0].tolist() == [252, 255, 164]


def test_enlarging_keeps_a_constant_and_the_range() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(enlarge(np.full((4, 2), 0.3, np.float32), 64, 32), 0.3, atol=1e-6)
    enlarged = enlarge((rng.random((4, 2)) > 0.5).astype(np.float32), 64, 32)
    assert (enlarged.min(), enlarged.max()) == (0, 1)
