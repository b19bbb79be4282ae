"""Where lesions are in the network's view, and how a map is compared with them, against cases worked by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn is absent: pip install '.[evaluate]'")

from disasym.data.rows import ImageRow, Lesion
from disasym.errors import ImageError, InputError
from disasym.evaluate.discrimination import Draws
from disasym.evaluate.froc import RATES, Mark, Marked, froc, marked, peaks
from disasym.evaluate.lesions import Looking
from disasym.evaluate.localisation import TIOR, TIOU, Overlap, localisation, overlap
from disasym.evaluate.part import Pair
from disasym.evaluate.truth import Truth, in_view
from disasym.infer.boxes import heat_of
from disasym.infer.stages import Scored
from disasym.metrics import Interval
from disasym.preprocess import Geometry, Mammogram
from disasym.spec import STRIDE, Array
from evaluations import pair, side

DRAWS = Draws(50)
# A file of 40 × 30 pixels, mirrored, cropped at (4, 2), drawn at half the width and a quarter of the height.
SQUEEZED = Geometry(40, 30, True, 4, 2, 32, 24, 0.25, 0.5, 1, 0)


def row(*lesions: Lesion) -> ImageRow:
    return ImageRow("made", "a", "a", "CC", "R", Path("a.png"), True, "", "", lesions, "test", 1.0)


def box(height: int, width: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((height, width), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


# Lesions in the view


def test_a_box_is_where_its_corners_go() -> None:
    # x: mirrored 30 − 20 = 10 … 30 − 12 = 18, less 2, halved: 4 … 8. y: (12 − 4) / 4 + 1 = 3 … (24 − 4) / 4 + 1 = 6.
    placed = in_view(Lesion("box", 12, 12, 20, 24), SQUEEZED, 10, 12)
    assert np.array_equal(placed, box(10, 12, 3, 6, 4, 8))


def test_the_same_place_as_polygon_and_as_mask(tmp_path: Path) -> None:
    corners = [(12.0, 12.0), (20.0, 12.0), (20.0, 24.0), (12.0, 24.0)]
    Image.fromarray((box(40, 30, 12, 24, 12, 20) * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    wanted = in_view(Lesion("box", 12, 12, 20, 24), SQUEEZED, 10, 12)
    assert np.array_equal(in_view(Lesion.polygon(corners), SQUEEZED, 10, 12), wanted)
    assert np.array_equal(in_view(Lesion("mask", path=tmp_path / "mask.png"), SQUEEZED, 10, 12), wanted)


def test_a_circle_becomes_an_ellipse_where_the_view_is_squeezed() -> None:
    placed = in_view(Lesion.circle(16, 20, 8), SQUEEZED, 10, 12)  # centre (6, 5), half axes 4 and 2
    assert placed.any(axis=0).sum() == 8
    assert placed.any(axis=1).sum() == 4
    assert not placed[3, 2], "the corner of its box"


def test_a_lesion_smaller_than_a_pixel_keeps_one_and_one_outside_of_the_view_is_counted() -> None:
    point = Lesion.polygon([(15.0, 20.0)])
    placed = in_view(point, SQUEEZED, 10, 12)
    assert placed.sum() == 1
    assert placed[5, 6]  # x (30 − 15.5 − 2) / 2 = 6.25, y (20.5 − 4) / 4 + 1 = 5.1
    truth = Truth.of(row(point, Lesion("box", 0, 0, 2, 2)), SQUEEZED, 10, 12)
    assert (truth.mask.sum(), truth.outside) == (1, 1)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(ImageError, match="its mammogram"):
        Truth.of(row(Lesion("mask", path=tmp_path / "mask.png")), SQUEEZED, 10, 12)


def test_lesions_that_touch_are_one_target() -> None:
    mask = box(20, 20, 2, 6, 2, 6) | box(20, 20, 6, 9, 6, 9) | box(20, 20, 15, 17, 3, 5)
    assert Truth(mask).targets()[1] == 2


# IoU, IoR, Dice


def test_the_overlap_of_two_boxes_by_hand() -> None:
    # P 4 × 4 = 16, T 4 × 6 = 24, both 4 × 2 = 8: IoU 8 / 32, IoR 8 / 16, Dice 16 / 40
    assert overlap(box(10, 10, 0, 4, 0, 4), box(10, 10, 0, 4, 2, 8)) == Overlap(0.25, 0.5, 0.4)


def test_nothing_predicted_and_nothing_to_be_seen_are_overlaps_of_0() -> None:
    some, none = box(4, 4, 0, 2, 0, 2), box(4, 4, 0, 0, 0, 0)
    assert overlap(none, some) == overlap(some, none) == Overlap(0.0, 0.0, 0.0)


def test_regions_of_two_views_are_refused() -> None:
    with pytest.raises(InputError, match="bring both into one view"):
        overlap(box(4, 4, 0, 1, 0, 1), box(4, 5, 0, 1, 0, 1))


masks = st.lists(st.booleans(), min_size=12, max_size=12).map(lambda values: np.array(values).reshape(3, 4))


@given(masks, masks)
def test_the_laws_of_overlap(predicted: np.ndarray, truth: np.ndarray) -> None:
    found, turned = overlap(predicted, truth), overlap(truth, predicted)
    assert found.iou == turned.iou
    assert found.dice == turned.dice == pytest.approx(2 * found.iou / (1 + found.iou))
    assert 0 <= found.iou <= found.ior <= 1
    assert (found.iou == 1) == (np.array_equal(predicted, truth) and truth.any())
    grown = overlap(predicted, predicted | truth)
    assert grown.ior == (1.0 if predicted.any() else 0.0), "all of P is in T then"


def test_mean_tiou_and_tior_of_a_case_worked_by_hand() -> None:
    # IoU 0.35 is above .1 .2 .3 (3 of 7), 0.7 above all but .7 (6 of 7); IoR 0.5 is above .1 .25 (2 of 5), 1 above all.
    overlaps = [Overlap(0.35, 0.5, 0.5), Overlap(0.7, 1.0, 0.8)]
    found = localisation(overlaps, ["a", "b"], DRAWS).figures
    values = {name: figure.value for name, figure in found.items() if isinstance(figure, Interval)}
    assert values["mean_tiou"] == pytest.approx(9 / 14)
    assert values["mean_tior"] == pytest.approx(7 / 10)
    assert (values["iou"], values["ior"], values["dice"]) == pytest.approx((0.525, 0.75, 0.65))
    assert [values[f"tiou_{t:g}"] for t in TIOU] == [1, 1, 1, 0.5, 0.5, 0.5, 0]
    assert [values[f"tior_{t:g}"] for t in TIOR] == [1, 1, 0.5, 0.5, 0.5]
    assert isinstance(found["iou"], Interval)
    assert (found["iou"].low, found["iou"].high) == pytest.approx((0.35, 0.7))


def test_images_of_one_woman_are_drawn_together_for_localisation() -> None:
    overlaps = [Overlap(0.2, 0.2, 0.2), Overlap(0.8, 0.8, 0.8)]
    found = localisation(overlaps, ["a", "a"], DRAWS).figures["iou"]
    assert isinstance(found, Interval)
    assert found.low == found.high == pytest.approx(0.5)


def test_without_an_annotated_lesion_there_is_no_figure_but_a_reason() -> None:
    assert set(localisation([], [], DRAWS).figures.values()) == {
        "not defined: no abnormal image has an annotated lesion"
    }


# FROC


def test_a_mark_is_the_hottest_place_of_a_cell_and_equal_cells_have_one_mark() -> None:
    cam = np.zeros((8, 4), np.float32)
    cam[2, 1], cam[6, 2:4], cam[3, 2] = 0.75, 0.25, 0.5  # the last touches a hotter one
    first, second = peaks(cam, heat_of(np.ones((256, 128), np.float32), cam))
    assert (first.score, second.score) == pytest.approx((0.75, 0.25), abs=0.03)
    assert abs(first.row - 80) < STRIDE / 2
    assert abs(first.column - 48) < STRIDE / 2
    assert 192 <= second.row <= 224
    assert 64 <= second.column <= 128


def test_a_cell_outside_of_the_breast_and_a_cold_map_have_no_mark() -> None:
    cam = np.zeros((8, 4), np.float32)
    cam[7, 3] = 0.9
    breast = np.zeros((256, 128), np.float32)
    breast[:128, :64] = 1
    assert peaks(cam, heat_of(breast, cam)) == ()
    assert peaks(np.zeros((2, 2), np.float32), np.zeros((64, 64), np.float32)) == ()


def test_a_mark_hits_what_is_within_half_a_cell() -> None:
    truth = Truth(box(128, 128, 60, 64, 60, 64), outside=1)
    reach = STRIDE / 2
    near, far = Mark(63.5 + reach, 62.5, 0.9), Mark(64.5 + reach, 62.5, 0.6)
    assert marked("a", [near, Mark(62.5, 62.5, 0.5), far], truth) == Marked("a", (0.9,), 1, (0.6,))
    assert marked("a", [far], truth) == Marked("a", (), 2, (0.6,))
    assert marked("a", [], truth) == Marked("a", (), 2, ())


def test_a_froc_curve_worked_by_hand() -> None:
    """Three lesions on four images. Marks by falling score: hit .9, false .8, hit .7, false .6, false .5."""
    images = [
        Marked("a", (0.9,), 1, (0.8,)),
        Marked("b", (0.7,), 0, (0.5,)),
        Marked("c", (), 0, (0.6,)),
        Marked("d", (), 0, ()),
    ]
    found = froc(images, DRAWS)
    assert (found.images, found.lesions, found.women) == (4, 3, 4)
    assert found.rates == pytest.approx([0, 0, 0.25, 0.25, 0.5, 0.75])
    assert found.sensitivities == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3])
    values = [figure.value for figure in found.figures.values() if isinstance(figure, Interval)]
    assert values == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_without_marks_nothing_is_found_and_without_lesions_nothing_is_defined() -> None:
    nothing = froc([Marked("a", (), 2, ()), Marked("b", (), 0, ())], DRAWS)
    assert [figure.value for figure in nothing.figures.values() if isinstance(figure, Interval)] == [0.0] * len(RATES)
    assert set(froc([Marked("a", (), 0, (0.5,))], DRAWS).figures.values()) == {"not defined: no annotated lesion"}


images = st.lists(
    st.builds(
        lambda found, missed, false: Marked("a", tuple(found), missed, tuple(false)),
        st.lists(st.sampled_from([0.1, 0.5, 0.9]), max_size=3),
        st.integers(0, 2),
        st.lists(st.sampled_from([0.1, 0.5, 0.9]), max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@given(images)
def test_the_curve_is_what_counting_at_each_threshold_gives(images: list[Marked]) -> None:
    lesions = sum(len(image.found) + image.missed for image in images)
    if not lesions:
        return
    found = froc(images, Draws(2))
    thresholds = sorted({score for image in images for score in (*image.found, *image.false)}, reverse=True)
    counted = [
        (
            sum(score >= t for image in images for score in image.false) / len(images),
            sum(score >= t for image in images for score in image.found) / lesions,
        )
        for t in thresholds
    ]
    assert found.rates == pytest.approx([0, *(rate for rate, _ in counted)])
    assert found.sensitivities == pytest.approx([0, *(share for _, share in counted)])


# All of it, on the maps of a pair

FLAT = Geometry(128, 96, False, 0, 0, 128, 96, 1.0, 1.0, 0, 0)


def scored(both: Pair, cam: Array, right_score: float) -> Scored:
    """What a network would have made of two evenly grey breasts."""
    tissue = np.ones((128, 96), np.float32)
    right, left = Mammogram(tissue, "R", "CC", FLAT), Mammogram(tissue, "L", "CC", FLAT)
    return Scored(both.job, right, left, 0.5, (right_score, 0.0), cam=cam)


def test_a_map_that_is_hot_on_the_lesion_finds_it_and_a_cold_side_has_no_mark() -> None:
    lesion = Lesion("box", 32, 64, 64, 96)  # one cell of the CAM
    right = dataclasses.replace(side("R", True, "a"), lesions=(lesion,))
    unknown, unmarked = side("L", None, "a"), side("L", True, "a")
    cam = np.zeros((2, 4, 3), np.float32)
    cam[0, 2, 1] = 0.8
    looking = Looking()
    for left in (side("L", False, "a"), unknown, unmarked):
        both = pair(right, left)
        looking(both, scored(both, cam, 0.8))
    assert looking.unjudged == 2
    assert [(len(image.found), image.missed, image.false) for image in looking.images] == [
        (1, 0, ()),
        (0, 0, ()),
        (1, 0, ()),
        (1, 0, ()),
    ]
    assert looking.images[0].found[0] == pytest.approx(0.8, abs=0.01), "but for the interpolation"
    found = looking.found(DRAWS)
    assert found is not None
    assert (found.localisations["map"].images, found.froc.images, found.froc.lesions) == (3, 4, 3)
    for each in looking.overlaps["map"]:
        assert 0.5 < each.iou <= each.ior < 1, "half of the maximum is about the cell"
    assert all(0 < each.iou < 1 for each in looking.overlaps["shown"])


def test_a_score_below_one_half_shows_no_region_and_its_map_alone_is_still_judged() -> None:
    right = dataclasses.replace(side("R", True, "a"), lesions=(Lesion("box", 32, 64, 64, 96),))
    cam = np.zeros((2, 4, 3), np.float32)
    cam[0, 2, 1] = 0.3
    both, looking = pair(right, side("L", False, "a")), Looking()
    looking(both, scored(both, cam, 0.3))
    assert looking.overlaps["shown"] == [Overlap(0.0, 0.0, 0.0)]
    assert looking.overlaps["map"][0].iou > 0.5


def test_an_annotation_that_cannot_be_read_is_listed_and_not_counted(tmp_path: Path) -> None:
    right = dataclasses.replace(side("R", True, "a"), lesions=(Lesion("mask", path=tmp_path / "gone.png"),))
    both, looking = pair(right, side("L", False, "a")), Looking()
    looking(both, scored(both, np.zeros((2, 4, 3), np.float32), 0.8))
    found = looking.found(DRAWS)
    assert found is not None
    assert [Path(path).name for path, _ in found.unreadable] == ["a-R-CC.png"]
    assert (found.froc.images, found.localisations["map"].images) == (1, 0)
