"""Where the lesions of one film are, as a binary segmentation in the film's own pixels: a segment a lesion.

Binary, not fractional: the heat map is no probability of a pixel, and the threshold is part of what is said.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from disasym.dicom.out import concepts
from disasym.dicom.out.film import copy_into, evidence_of
from disasym.dicom.out.findings import RESEARCH, SIDE_NAMES, Breast, PairFindings
from disasym.errors import InputError

if TYPE_CHECKING:
    from highdicom import seg

SERIES_NUMBER = 9102
INSTANCE = {("R", "CC"): 1, ("L", "CC"): 2, ("R", "MLO"): 3, ("L", "MLO"): 4}
Labels = npt.NDArray[np.uint8]  # [rows, columns] of a film: n where its lesion n is, counted from 1; 0 elsewhere


def make_segmentation(pair: PairFindings, breast: Breast, labels: Labels) -> "seg.Segmentation":
    """The segmentation of one film. Its lesions share tracking identifiers with the report.

    Raises:
        InputError: `labels` does not have the film's size, or not each of its lesions.
    """
    from highdicom import seg

    film, lesions = breast.film, breast.lesions or ()
    numbers = [number for number in range(1, int(labels.max()) + 1) if (labels == number).any()]
    if labels.shape != (film.rows, film.columns) or numbers != list(range(1, len(lesions) + 1)):
        raise InputError(
            f"a segmentation of {len(lesions)} lesions needs their numbers in [{film.rows}, {film.columns}], got"
            f" {numbers} in {list(labels.shape)}"
        )
    made = seg.Segmentation(
        source_images=[evidence_of(film)],
        pixel_array=labels[None],
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(pair, breast, number) for number in range(1, len(lesions) + 1)],
        sop_instance_uid=pair.object_uid("SEG", film),
        instance_number=INSTANCE[film.laterality, film.view],
        content_label="LESIONS",
        content_description=RESEARCH[:64],
        **pair.series("SEG", SERIES_NUMBER, film),
        **pair.equipment(),
    )
    _fix_dimensions(made, pair.object_uid("SEG dimensions", film))
    made.PatientOrientation = None  # there if only empty, as no plane is placed in the patient (PS3.3 C.7.6.1.1.1)
    copy_into(made, film.image)
    return made


def _segment(pair: PairFindings, breast: Breast, number: int) -> "seg.SegmentDescription":
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription

    film = breast.film
    return SegmentDescription(
        segment_number=number,
        segment_label=f"{SIDE_NAMES[film.laterality]} {film.view} lesion {number}",
        segmented_property_category=concepts.ABNORMAL_STRUCTURE,
        segmented_property_type=concepts.LESION,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            "DisAsymNet", concepts.ARTIFICIAL_INTELLIGENCE, f"disasym {pair.algorithm.version}", "disasym"
        ),
        tracking_uid=pair.tracking_uid(film, number),
        tracking_id=f"{SIDE_NAMES[film.laterality]} {film.view} lesion {number}",
        anatomic_regions=[concepts.BREAST],
    )


def _fix_dimensions(made: "seg.Segmentation", uid: str) -> None:
    """highdicom draws this UID by lot, and a second run must make the same object."""
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for item in made.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid
