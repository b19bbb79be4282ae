"""The scores of a pair as a Comprehensive 3D SR with template TID 1500, Measurement Report (PS3.16).

Image Library: the films, with laterality and view. Measurement groups: the pair with its asymmetry; each breast with
its probability to be abnormal; each lesion with its certainty and its box, a closed polyline in the pixels of its film
(SCOORD, PS3.3 C.18.6: the top left corner of the first pixel is 0\\0). Probabilities and certainties are in percent.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydicom.sr.coding import Code

from disasym.dicom.out import concepts
from disasym.dicom.out.film import Film, evidence_of, written
from disasym.dicom.out.findings import RESEARCH, SIDE_NAMES, Breast, Lesion, PairFindings

if TYPE_CHECKING:
    from highdicom import sr
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9101
INSTANCE = {"CC": 1, "MLO": 2}
DIGITS = 4  # of a percentage: a probability has six


def make_reports(pair: PairFindings, segmentations: "Sequence[Dataset]" = ()) -> list[tuple[Film, bytes]]:
    """One report for each study of the pair, as the film whose patient and study it has, and the file.

    Args:
        segmentations: of the pair; those of a report's study are named in its evidence.
    """
    return [(breasts[0].film, _report(pair, breasts, segmentations)) for breasts in pair.studies]


def _report(pair: PairFindings, breasts: tuple[Breast, ...], segmentations: "Sequence[Dataset]") -> bytes:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import Comprehensive3DSR

    film = breasts[0].film
    compared = _compared(pair, breasts)
    evidence = [evidence_of(each) for each in compared]
    evidence += [each for each in segmentations if each.StudyInstanceUID == film.study_uid]
    document = Comprehensive3DSR(
        evidence=evidence,
        content=_content(pair, breasts, compared)[0],
        sop_instance_uid=pair.object_uid("SR", film),
        instance_number=INSTANCE[pair.view],
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[CodingSchemeIdentificationItem(concepts.OWN, name="disasym")],
        **pair.series("SR", SERIES_NUMBER, film),
        **pair.equipment(),
    )
    return written(document, film)


def _compared(pair: PairFindings, breasts: tuple[Breast, ...]) -> tuple[Film, ...]:
    """The films that this report may name: both, unless an archive would file the other one under another patient."""
    other = next((each.film for each in (pair.right, pair.left) if each not in breasts), None)
    own = tuple(breast.film for breast in breasts)
    return own if other is None or other.patient != own[0].patient else (*own, other)


def _content(pair: PairFindings, breasts: tuple[Breast, ...], compared: tuple[Film, ...]) -> "sr.MeasurementReport":
    from highdicom import sr

    groups: list[sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations] = [
        _of_pair(pair, breasts, compared)
    ]
    for breast in breasts:
        groups.append(_of_breast(pair, breast))
        groups += [_of_lesion(pair, breast, n, lesion) for n, lesion in enumerate(breast.lesions or (), 1)]
    observer = sr.ObserverContext(
        observer_type=sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=pair.algorithm.uid("device"),
            name="disasym",
            manufacturer_name="disasym",
            model_name=f"DisAsymNet {pair.algorithm.preset}",
            serial_number=pair.algorithm.model_sha256[:16],
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=concepts.MAMMOGRAPHY,
        imaging_measurements=groups,
    )
    report[0].ContentSequence.insert(-1, _image_library(compared))  # before the measurements, as TID 1500 lists them
    return report


def _of_pair(
    pair: PairFindings, breasts: tuple[Breast, ...], compared: tuple[Film, ...]
) -> "sr.MeasurementsAndQualitativeEvaluations":
    note = f"Compared: right and left {pair.view}. {RESEARCH}"
    if len(compared) == 1:
        side = SIDE_NAMES[compared[0].laterality]
        note = f"This {side} {pair.view} was compared with the other breast, whose film is of another study. {RESEARCH}"
    uid = pair.object_uid("pair", breasts[0].film)
    return _group(
        pair, (uid, f"pair {pair.view}"), compared, concepts.BOTH, (concepts.ASYMMETRIC, pair.asymmetry), note
    )


def _of_breast(pair: PairFindings, breast: Breast) -> "sr.MeasurementsAndQualitativeEvaluations":
    film = breast.film
    note = "Lesions were not looked for: this model makes no heat map."
    if breast.lesions is not None:
        note = f"Lesions: {len(breast.lesions)}."
    tracking = (pair.object_uid("breast", film), f"{SIDE_NAMES[film.laterality]} breast {film.view}")
    said = (concepts.ABNORMAL, breast.abnormal)
    return _group(pair, tracking, (film,), concepts.SIDES[film.laterality], said, note)


def _group(
    pair: PairFindings,
    tracking: tuple[str, str],
    films: tuple[Film, ...],
    side: Code,
    said: tuple[Code, float],
    note: str,
) -> "sr.MeasurementsAndQualitativeEvaluations":
    """TID 1501: one probability about one breast or both, the films it was read in, and a comment."""
    from highdicom import sr

    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(*tracking),
        algorithm_id=_algorithm(pair),
        finding_sites=[sr.FindingSite(concepts.BREAST, laterality=side)],
        measurements=[_percent(*said)],
        source_images=[sr.SourceImageForMeasurementGroup(film.sop_class_uid, film.sop_uid) for film in films],
    )
    group[0].ContentSequence.append(sr.TextContentItem(concepts.COMMENT, note, sr.RelationshipTypeValues.CONTAINS))
    return group


def _of_lesion(
    pair: PairFindings, breast: Breast, number: int, lesion: Lesion
) -> "sr.PlanarROIMeasurementsAndQualitativeEvaluations":
    """TID 1410: one lesion in one film."""
    from highdicom import sr

    film = breast.film
    x0, y0, x1, y1 = lesion.box
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            pair.tracking_uid(film, number), f"{SIDE_NAMES[film.laterality]} {film.view} lesion {number}"
        ),
        referenced_region=sr.ImageRegion(
            sr.GraphicTypeValues.POLYLINE, corners, sr.SourceImageForRegion(film.sop_class_uid, film.sop_uid)
        ),
        finding_type=concepts.LESION,
        algorithm_id=_algorithm(pair),
        finding_sites=[sr.FindingSite(concepts.BREAST, laterality=concepts.SIDES[film.laterality])],
        measurements=[_percent(concepts.CERTAINTY, lesion.score)],
    )


def _percent(what: Code, probability: float) -> "sr.Measurement":
    from highdicom import sr

    return sr.Measurement(what, round(100 * probability, DIGITS), concepts.PERCENT)


def _algorithm(pair: PairFindings) -> "sr.AlgorithmIdentification":
    from highdicom import sr

    return sr.AlgorithmIdentification(
        "DisAsymNet",
        f"disasym {pair.algorithm.version}",
        parameters=pair.algorithm.parameters,
        family=concepts.ARTIFICIAL_INTELLIGENCE,
    )


def _image_library(films: tuple[Film, ...]) -> "sr.ContainerContentItem":
    """TID 1600; highdicom's own takes no film without ImagerPixelSpacing and does not name side and view."""
    from highdicom import sr

    def described(film: Film) -> sr.ImageContentItem:
        context = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
        image = sr.ImageContentItem(
            concepts.SOURCE, film.sop_class_uid, film.sop_uid, relationship_type=sr.RelationshipTypeValues.CONTAINS
        )
        image.ContentSequence = sr.ContentSequence(
            [
                sr.CodeContentItem(concepts.MODALITY, concepts.MG, context),
                sr.CodeContentItem(concepts.IMAGE_LATERALITY, concepts.SIDES[film.laterality], context),
                sr.CodeContentItem(concepts.IMAGE_VIEW, concepts.VIEWS[film.view], context),
                sr.NumContentItem(concepts.ROWS, film.rows, concepts.PIXELS, relationship_type=context),
                sr.NumContentItem(concepts.COLUMNS, film.columns, concepts.PIXELS, relationship_type=context),
            ]
        )
        return image

    library = sr.ContainerContentItem(concepts.IMAGE_LIBRARY, relationship_type=sr.RelationshipTypeValues.CONTAINS)
    group = sr.ContainerContentItem(concepts.IMAGE_LIBRARY_GROUP, relationship_type=sr.RelationshipTypeValues.CONTAINS)
    group.ContentSequence = sr.ContentSequence([described(film) for film in films])
    library.ContentSequence = sr.ContentSequence([group])
    return library
