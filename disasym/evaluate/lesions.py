"""Looks, while pairs are scored, at what their maps show of their lesions: images are too large to keep."""

from dataclasses import dataclass, field

import numpy as np

from disasym.data.rows import ImageRow
from disasym.errors import ImageError
from disasym.evaluate.discrimination import Draws
from disasym.evaluate.froc import Froc, Marked, froc, marked, peaks
from disasym.evaluate.localisation import THRESHOLD, Localisation, Overlap, localisation, overlap
from disasym.evaluate.part import Pair
from disasym.evaluate.truth import Mask, Truth
from disasym.infer.boxes import find_regions, heat_of
from disasym.infer.stages import Scored
from disasym.preprocess import Mammogram
from disasym.spec import Array

MAPS = ("map", "shown")  # the CAM alone, with maximum 1; the regions that `disasym infer` shows


@dataclass(frozen=True, eq=False)
class Lesions:
    """The figures of all images, or in words why there are none."""

    localisations: dict[str, Localisation]  # by MAPS
    froc: Froc
    unjudged: int  # images that are abnormal without an annotation, or of unknown label
    unreadable: tuple[tuple[str, str], ...]  # file, reason: annotations that cannot be used


@dataclass
class Looking:
    """Called with each pair that was scored; keeps a few numbers of each image."""

    images: list[Marked] = field(default_factory=list)
    overlaps: dict[str, list[Overlap]] = field(default_factory=lambda: {name: [] for name in MAPS})
    women: list[str] = field(default_factory=list)  # of the overlaps
    unjudged: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, pair: Pair, scored: Scored) -> None:
        """Look at both breasts of a pair; at nothing where the model makes no CAM."""
        if scored.cam is None:
            return
        for side, (row, view) in enumerate(((pair.rows.right, scored.right), (pair.rows.left, scored.left))):
            truth = self._truth(row, view)
            if truth is None:
                continue
            heat = heat_of(view.pixels, scored.cam[side])
            self.images.append(marked(pair.woman, peaks(scored.cam[side], heat), truth))
            if row.abnormal:
                abnormality = None if scored.abnormality is None else scored.abnormality[side]
                self.women.append(pair.woman)
                self.overlaps["map"].append(overlap(hottest(heat), truth.mask))
                shown = regions(view, scored.cam[side], abnormality)
                self.overlaps["shown"].append(overlap(shown, truth.mask))

    def found(self, draws: Draws) -> Lesions | None:
        """The figures; None where no abnormal image has lesions that could be looked for."""
        if not self.women and not self.unreadable:
            return None
        found = {name: localisation(each, self.women, draws) for name, each in self.overlaps.items()}
        return Lesions(found, froc(self.images, draws), self.unjudged, tuple(self.unreadable))

    def _truth(self, row: ImageRow, view: Mammogram) -> Truth | None:
        """The lesions of an image, none of a normal one; None where they are unknown."""
        if row.abnormal is False:
            return Truth(np.zeros(view.pixels.shape, np.bool_))
        if row.abnormal is None or not row.lesions:
            self.unjudged += 1
            return None
        try:
            return Truth.of(row, view.geometry, *view.pixels.shape)
        except ImageError as error:
            self.unreadable.append((str(row.path), f"its lesions cannot be used: {error}"))
            return None


def hottest(heat: Array) -> Mask:
    """Where heat [H, W] is at least THRESHOLD of its own maximum; nowhere if it is cold everywhere."""
    top = heat.max()
    hot: Mask = heat >= THRESHOLD * top if top > 0 else np.zeros(heat.shape, np.bool_)
    return hot


def regions(view: Mammogram, cam: Array, abnormality: Array | None) -> Mask:
    """All regions that `disasym infer` shows of a breast, as one mask [H, W]."""
    found = np.zeros(view.pixels.shape, np.bool_)
    for region in find_regions(view, cam, abnormality):
        found |= region.mask
    return found
