"""Is this file a screening mammogram? Each rule gives the reason for which a file is skipped."""

from typing import Literal

from pydicom import uid

from disasym.dicom.codes import MODIFIERS, coded, view_word
from disasym.dicom.reader import Skip
from disasym.dicom.tags import Tags

# What an image is. A pair is made of two images of one family (`pairing.py`); within "exposure" a standard view wins.
Kind = Literal["standard", "nipple in profile", "implant displaced", "synthetic", "for processing"]

MAGNIFIED = 1.25  # contact views have up to about 1.1, magnification views 1.5 and more

IMAGE_CLASSES = {
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.DigitalXRayImageStorageForPresentation,
    uid.ComputedRadiographyImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
}
_TOMOSYNTHESIS = {
    uid.BreastTomosynthesisImageStorage,
    uid.BreastProjectionXRayImageStorageForPresentation,
    uid.BreastProjectionXRayImageStorageForProcessing,
}
_MODALITIES = {"CR", "CT", "DOC", "DX", "KO", "MR", "NM", "OT", "PR", "PT", "RF", "RG", "SC", "SEG", "SR", "US", "XA"}
_BIOPSY = ("STEREO", "PREFIRE", "POSTFIRE", "BIOPSY")  # PS3.3 tables C.8-74a, C.8-74b: how their terms begin
_CONTRAST = {"ADDITION", "SUBTRACTION", "RECOMBINED", "HIGH_ENERGY"}  # tables C.8-74d, C.8-74e


def check_object(tags: Tags, include_processing: bool) -> None:
    """What kind of object it is.

    Raises:
        Skip: another modality, no image, tomosynthesis, or for processing and not asked for.
    """
    modality, sop_class = tags.first("Modality"), tags.first("SOPClassUID")
    if modality != "MG":
        named = modality if modality in _MODALITIES else "another value" if modality else "absent"
        raise Skip(f"Modality is {named}, not MG (mammography)")
    if sop_class in _TOMOSYNTHESIS:
        raise Skip("tomosynthesis: a volume or its projections, not a single mammogram")
    if sop_class not in IMAGE_CLASSES:
        standard = uid.UID(sop_class)
        name = standard.name if standard.name != sop_class else "not a standard one"
        raise Skip(f"the SOP class ({name}) is not an image class for mammograms")
    if for_processing(tags) and not include_processing:
        raise Skip("FOR PROCESSING: raw detector values, used only with include_processing")
    if tags.first("QualityControlImage") == "YES":
        raise Skip("a quality control image, not a patient's")


def for_processing(tags: Tags) -> bool:
    """Raw detector values, by class or by PresentationIntentType."""
    return (
        tags.first("SOPClassUID") == uid.DigitalMammographyXRayImageStorageForProcessing
        or tags.first("PresentationIntentType") == "FOR PROCESSING"
    )


def read_kind(tags: Tags) -> Kind:
    """What the image shows, for a file that passed `check_object`.

    Raises:
        Skip: spot, magnified, stereotactic, biopsy, specimen, contrast, partial, rolled … views.
    """
    image_type = [value.upper() for value in tags.texts("ImageType")[2:]]
    if any(value.startswith(_BIOPSY) for value in image_type):
        raise Skip("a stereotactic or biopsy image (ImageType)")
    if _CONTRAST.intersection(image_type):
        raise Skip("a contrast subtraction or high-energy image (ImageType)")
    if tags.items("SpecimenDescriptionSequence") or "SPECIMEN" in tags.first("SeriesDescription").upper():
        raise Skip("a specimen, not a breast")
    if (factor := tags.number("EstimatedRadiographicMagnificationFactor", 1.0)) >= MAGNIFIED:
        raise Skip(f"magnified ×{factor:.2g}, where a contact view has ×1 to ×1.1")
    if tags.first("PartialView") == "YES":
        raise Skip("a partial view: only a part of the breast is in the image")
    modifiers = _modifiers(tags)
    if odd := sorted(modifiers - {"implant displaced", "nipple in profile"}):
        raise Skip(f"a supplementary view (modifier: {', '.join(odd)}), not a screening view")
    if "GENERATED_2D" in image_type:
        return "synthetic"
    if any(value.startswith("TOMO") for value in image_type):
        raise Skip("a tomosynthesis image (ImageType), not a single mammogram")
    if for_processing(tags):
        return "for processing"
    if "implant displaced" in modifiers:
        return "implant displaced"
    return "nipple in profile" if modifiers else "standard"


def _modifiers(tags: Tags) -> set[str]:
    found = set()
    for view in tags.items("ViewCodeSequence"):
        found |= {coded(item, MODIFIERS) or "unknown" for item in view.items("ViewModifierCodeSequence")}
    word = view_word(tags.first("ViewPosition"))
    return found | {"implant displaced"} if word and word[2] else found
