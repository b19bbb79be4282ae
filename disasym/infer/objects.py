"""The DICOM objects of a scored pair: what the network said of it, handed to `disasym.dicom.out`."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from disasym import __version__
from disasym.data.loading import Source
from disasym.dicom import Header
from disasym.dicom.out import Algorithm, Breast, Film, Lesion, PairFindings, read_film
from disasym.dicom.out.capture import make_captures
from disasym.dicom.out.film import written
from disasym.dicom.out.findings import SIDE_NAMES
from disasym.dicom.out.report import make_reports
from disasym.dicom.out.segmentation import Labels, make_segmentation
from disasym.engines import Engine
from disasym.infer.boxes import HOT, Region, window_in_file
from disasym.infer.results import OBJECTS
from disasym.infer.stages import Scored
from disasym.preprocess import Mammogram


def objects_of(
    pair: Scored,
    regions: Sequence[Region] | None,
    engine: Engine,
    kinds: Sequence[str],
    picture: Image.Image | None = None,
) -> list[tuple[str, bytes]]:
    """The objects of `kinds` for one pair of DICOM films, each as (name relative to the results, file).

    Where the films lie in two studies, each study gets its own report and capture. A film without lesions gets no
    segmentation.

    Args:
        kinds: of "sr", "seg" and "capture".
        picture: of the pair, for "capture".

    Raises:
        ImageError: a film cannot be read again, or holds what cannot be copied.
    """
    found = findings_of(pair, regions, engine)
    made: list[tuple[str, bytes]] = []
    segmentations = []
    if "seg" in kinds:
        for breast, view in ((found.right, pair.right), (found.left, pair.left)):
            if breast.lesions:
                own = [region for region in regions or () if region.laterality == view.laterality]
                segmentations.append(make_segmentation(found, breast, labels_of(own, view)))
                made.append((f"seg-{SIDE_NAMES[view.laterality]}", written(segmentations[-1], breast.film)))
    if "sr" in kinds:
        made += _named("sr", make_reports(found, segmentations))
    if "capture" in kinds and picture is not None:
        made += _named("capture", make_captures(found, np.asarray(picture)))
    return [(f"{OBJECTS}/{pair.job.pair_id}-{name}.dcm", content) for name, content in made]


def findings_of(pair: Scored, regions: Sequence[Region] | None, engine: Engine) -> PairFindings:
    """What is said of the pair, as plain values. ImageError as `objects_of`."""
    info = engine.info
    return PairFindings(
        right=_breast(pair.job.right, pair.right, pair.abnormal[0], regions),
        left=_breast(pair.job.left, pair.left, pair.abnormal[1], regions),
        view=pair.job.view,
        asymmetry=pair.asymmetry,
        algorithm=Algorithm(
            __version__, info.preset, info.model_sha256, engine.name, info.precision, HOT, info.calibrated
        ),
    )


def labels_of(regions: Sequence[Region], view: Mammogram) -> Labels:
    """Which region, counted from 1, each pixel of the film belongs to; 0: none. Each region has at least one pixel."""
    geometry = view.geometry
    labels = np.zeros((geometry.source_height, geometry.source_width), np.uint8)
    for number, region in enumerate(regions, 1):
        rows, columns, inside = window_in_file(region.mask, geometry)
        labels[rows, columns][inside] = number
        if not inside.any():  # a film with larger pixels than the network's, none of whose centres it holds
            x0, y0, x1, y1 = region.box
            labels[int((y0 + y1) / 2), int((x0 + x1) / 2)] = number
    return labels


def _breast(source: Source, view: Mammogram, abnormal: float, regions: Sequence[Region] | None) -> Breast:
    if not isinstance(source, Header):
        raise TypeError(f"a {type(source).__name__} is no DICOM film")  # `check_source` refused it before
    own = [region for region in regions or () if region.laterality == view.laterality]
    lesions = None if regions is None else tuple(Lesion(region.box, region.score) for region in own)
    return Breast(read_film(source), abnormal, lesions)


def _named(kind: str, made: Sequence[tuple[Film, bytes]]) -> list[tuple[str, bytes]]:
    """`kind`, with the side where there is one for each of two studies."""
    if len(made) == 1:
        return [(kind, made[0][1])]
    return [(f"{kind}-{SIDE_NAMES[film.laterality]}", content) for film, content in made]
