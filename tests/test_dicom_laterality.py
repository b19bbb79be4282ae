"""Which breast, which view, where the chest wall lies: every source is asked, and a contradiction skips the file."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_files import code, view_code, write_mammogram
from disasym.dicom import Skip, read_header
from disasym.errors import ImageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


@pytest.mark.parametrize("laterality", ["R", "L"])
@pytest.mark.parametrize("source", ["ImageLaterality", "Laterality", "FrameLaterality", "region", "ViewPosition"])
def test_each_source_of_laterality_is_read(path: Path, source: str, laterality: str) -> None:
    assert read_header(write_mammogram(path, **side(source, laterality))).laterality == laterality


@pytest.mark.parametrize("source", ["Laterality", "FrameLaterality", "region", "ViewPosition", "stem"])
def test_sources_that_contradict_each_other_on_the_side_skip_the_file(path: Path, source: str) -> None:
    tags = {"patient": "Calc-Training_P_7_LEFT_CC"} if source == "stem" else side(source, "L")
    with pytest.raises(Skip, match=r"the laterality contradicts itself: ImageLaterality R, .* L"):
        read_header(write_mammogram(path, **{**tags, "ImageLaterality": "R"}))


def side(source: str, value: str) -> dict[str, Any]:
    tags: dict[str, Any] = {"ImageLaterality": None}
    if source == "FrameLaterality":
        frame, group = Dataset(), Dataset()
        frame.FrameLaterality = value
        group.FrameAnatomySequence = Sequence([frame])
        return tags | {"SharedFunctionalGroupsSequence": Sequence([group])}
    if source == "region":
        modifier = code({"R": "24028007", "L": "7771000"}[value])
        region = code("76752008", AnatomicRegionModifierSequence=Sequence([modifier]))
        return tags | {"AnatomicRegionSequence": Sequence([region])}
    return tags | {source: f"{value} CC" if source == "ViewPosition" else value}


@pytest.mark.parametrize(
    "tags",
    [
        {"ViewCodeSequence": view_code("399368009"), "ViewPosition": None},
        {"ViewCodeSequence": view_code("R-10226", scheme="SNM3"), "ViewPosition": None},
        {"ViewCodeSequence": view_code("R-10226", scheme="SRT"), "ViewPosition": "MLO"},
        {"ViewCodeSequence": view_code("1", scheme="99ACME"), "ViewPosition": "MLO"},
        {"ViewCodeSequence": None, "ViewPosition": "MLO"},
        {"ViewCodeSequence": None, "ViewPosition": "RMLO"},
        {"ViewCodeSequence": None, "ViewPosition": None, "PatientOrientation": "MLO"},
    ],
    ids=lambda tags: "",
)
def test_each_source_of_the_view_is_read(path: Path, tags: dict[str, Any]) -> None:
    assert read_header(write_mammogram(path, **tags)).view == "MLO"


@pytest.mark.parametrize(
    "tags",
    [
        {"ViewPosition": "MLO"},
        {"ViewPosition": "ML"},
        {"PatientOrientation": "MLO"},
        {"patient": "Mass-Test_P_1_RIGHT_MLO"},
        {"ViewCodeSequence": Sequence([code("399162004"), code("399368009")])},
        {"ViewPosition": "SOMETHING ELSE"},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_sources_that_contradict_each_other_on_the_view_skip_the_file(path: Path, tags: dict[str, Any]) -> None:
    with pytest.raises(Skip, match="the view contradicts itself"):
        read_header(write_mammogram(path, **tags))


@pytest.mark.parametrize(
    ("orientation", "wall"), [(["A", "F"], "left"), (["P", "FL"], "right"), (["AL", "R"], "left"), ("CC", None)]
)
def test_the_chest_wall_is_opposite_to_the_front(path: Path, orientation: Any, wall: str | None) -> None:
    """PS3.3 C.7.6.1.1.1: the first value says where columns run to."""
    assert read_header(write_mammogram(path, PatientOrientation=orientation)).chest_wall == wall


@pytest.mark.parametrize(
    ("tags", "aspect"),
    [
        ({}, 1.0),
        ({"PixelAspectRatio": ["6", "5"]}, 1.2),
        ({"ImagerPixelSpacing": ["0.1", "0.05"]}, 2.0),
        ({"PixelSpacing": ["0.07", "0.07"]}, 1.0),
    ],
)
def test_the_pixel_aspect_is_height_over_width(path: Path, tags: dict[str, Any], aspect: float) -> None:
    assert read_header(write_mammogram(path, **tags)).pixel_aspect == pytest.approx(aspect)


@pytest.mark.parametrize("value", [["0", "1"], ["100", "1"], ["-1", "1"]])
def test_an_impossible_pixel_aspect_is_damage(path: Path, value: list[str]) -> None:
    with pytest.raises(ImageError, match="PixelAspectRatio is no usable ratio"):
        read_header(write_mammogram(path, PixelAspectRatio=value))
