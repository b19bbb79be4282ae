"""Which breast, which view, and where the chest wall lies: every source is asked, and they must agree.

A score from the wrong side is the worst this program can do, so there is no winner among contradicting sources: the
file is skipped. Agreeing sources are asked in the order below, which only decides how a reason names them.

Laterality: ImageLaterality · FrameLaterality (functional groups) · Laterality · AnatomicRegionModifierSequence ·
ViewPosition (`RCC`) · PatientOrientation (`RCC`) · CBIS-DDSM PatientID.
View: ViewCodeSequence · ViewPosition · PatientOrientation (CBIS-DDSM holds the view there) · CBIS-DDSM PatientID.
"""

from collections.abc import Iterator
from typing import Literal, TypeVar

from disasym.dicom.codes import SIDES, VIEW_WORDS, VIEWS, coded, view_word
from disasym.dicom.patient import CbisStem
from disasym.dicom.reader import Skip
from disasym.dicom.tags import Tags
from disasym.spec import Laterality, View

ChestWall = Literal["left", "right"]
T = TypeVar("T", bound=str)
Evidence = Iterator[tuple[str, str]]  # (source, value)


def read_laterality(tags: Tags, stem: CbisStem | None, otherwise: Laterality | None = None) -> Laterality:
    """R or L; `otherwise` where no source names a side.

    Raises:
        Skip: no source names a side, two contradict each other, or both breasts are in the image.
    """
    side = _agreed(_sides(tags, stem), "laterality") or otherwise
    if side is None:
        raise Skip("no laterality in ImageLaterality, FrameLaterality, Laterality or ViewPosition")
    if side == "B":
        raise Skip("both breasts in one image: the sides cannot be told apart")
    return "R" if side == "R" else "L"


def read_view(tags: Tags, stem: CbisStem | None, otherwise: View | None = None) -> View:
    """CC or MLO; `otherwise` where no source names a view.

    Raises:
        Skip: another view, no source names a view, or two contradict each other.
    """
    view = _agreed(_views(tags, stem), "view") or otherwise
    if view is None:
        raise Skip("no view in ViewCodeSequence, ViewPosition or PatientOrientation")
    if view not in ("CC", "MLO"):
        raise Skip(f"the view ({view}) is not one of the screening views CC and MLO")
    return "CC" if view == "CC" else "MLO"


def read_chest_wall(tags: Tags, view: View) -> ChestWall | None:
    """The edge at which the chest wall lies, from PatientOrientation (PS3.3 C.7.6.1.1.1).

    Its first value is the direction in which columns run: toward A(nterior) the chest wall is left, toward
    P(osterior) right. None if the file does not say.

    Raises:
        Skip: the rows run toward the front or the back (turned by 90°), or an MLO stands on its head.
    """
    orientation = tags.texts("PatientOrientation")
    if len(orientation) != 2:
        return None
    along_row, along_column = (value.upper()[:1] for value in orientation)
    if along_row in ("A", "P"):
        if view == "MLO" and along_column == "H":
            raise Skip("PatientOrientation says that the image stands on its head")
        return "left" if along_row == "A" else "right"
    if along_column in ("A", "P"):
        raise Skip("PatientOrientation says that the image is turned by 90°")
    return None


def _sides(tags: Tags, stem: CbisStem | None) -> Evidence:
    yield "ImageLaterality", tags.first("ImageLaterality")
    for item in _frame_anatomy(tags):
        yield "FrameLaterality", item.first("FrameLaterality")
    yield "Laterality", tags.first("Laterality")
    for region in tags.items("AnatomicRegionSequence"):
        for item in region.items("AnatomicRegionModifierSequence"):
            side = SIDES.get(item.first("CodeValue"))
            yield "AnatomicRegionModifierSequence", side or ""
    for source in ("ViewPosition", "PatientOrientation"):
        word = _single_word(tags, source)
        if word and word[0]:
            yield source, word[0]
    if stem:
        yield "CBIS-DDSM PatientID", stem.laterality


def _views(tags: Tags, stem: CbisStem | None) -> Evidence:
    for item in tags.items("ViewCodeSequence"):
        yield "ViewCodeSequence", coded(item, VIEWS) or ""
    if text := tags.first("ViewPosition"):
        word = view_word(text)
        yield "ViewPosition", word[1] if word else VIEW_WORDS.get(text.upper(), "unknown")
    if word := _single_word(tags, "PatientOrientation"):
        yield "PatientOrientation", word[1]
    if stem:
        yield "CBIS-DDSM PatientID", stem.view


def _single_word(tags: Tags, keyword: str) -> tuple[Laterality | None, Literal["CC", "MLO"], bool] | None:
    values = tags.texts(keyword)
    return view_word(values[0]) if len(values) == 1 else None


def _frame_anatomy(tags: Tags) -> Iterator[Tags]:
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in tags.items(keyword):
            yield from group.items("FrameAnatomySequence")


def _agreed(evidence: Evidence, what: str) -> str | None:
    """The value that every source with something to say names. U (unpaired, unknown) says nothing."""
    found = [(source, value.upper() if what == "laterality" else value) for source, value in evidence]
    found = [(source, value) for source, value in found if value not in ("", "U")]
    if what == "laterality":
        found = [(source, value if value in ("R", "L", "B") else "unknown") for source, value in found]
    values = {value for _, value in found}
    if len(values) > 1:
        said = ", ".join(f"{source} {value}" for source, value in found)
        raise Skip(f"the {what} contradicts itself: {said}")
    if values == {"unknown"}:
        raise Skip(f"the {what} in {found[0][0]} is a value that is not known")
    return found[0][1] if found else None
