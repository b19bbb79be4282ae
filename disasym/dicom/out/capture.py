"""The picture of a pair as a Secondary Capture, for viewers that show neither reports nor segmentations."""

from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from disasym.dicom.out.film import Film, copy_into, written
from disasym.dicom.out.findings import RESEARCH, SERIES, Breast, PairFindings

SERIES_NUMBER = 9103
INSTANCE = {"CC": 1, "MLO": 2}
Pixels = npt.NDArray[np.uint8]  # [h, w, 3]


def make_captures(pair: PairFindings, picture: Pixels) -> list[tuple[Film, bytes]]:
    """One capture for each study of the pair, as the film whose patient and study it has, and the file."""
    return [(breasts[0].film, _capture(pair, breasts, picture)) for breasts in pair.studies]


def _capture(pair: PairFindings, breasts: tuple[Breast, ...], picture: Pixels) -> bytes:
    film, now = breasts[0].film, datetime.now()
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, pair.object_uid("SC", film)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = film.study_uid, pair.algorithm.uid("SC series", film.study_uid)
    ds.Modality, ds.SeriesNumber, ds.SeriesDescription = "OT", SERIES_NUMBER, SERIES  # never to be read as a film
    ds.InstanceNumber, ds.PatientOrientation, ds.ImageLaterality = INSTANCE[pair.view], None, "B"
    ds.InstanceCreationDate = ds.ContentDate = now.strftime("%Y%m%d")
    ds.InstanceCreationTime = ds.ContentTime = now.strftime("%H%M%S")
    ds.ConversionType, ds.ImageType = "WSD", ["DERIVED", "SECONDARY"]
    ds.BurnedInAnnotation = "NO"  # a hash stands in the picture, and no name (PS3.3 C.7.6.1)
    ds.ImageComments, ds.DerivationDescription = RESEARCH, f"disasym: right and left {pair.view}, drawn"
    ds.SourceImageSequence = [_reference(breast.film) for breast in breasts]
    ds.Manufacturer, ds.ManufacturerModelName = "disasym", f"DisAsymNet {pair.algorithm.preset}"
    ds.SoftwareVersions, ds.DeviceSerialNumber = pair.algorithm.version, pair.algorithm.model_sha256[:16]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = picture.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    content = picture.tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB"
    copy_into(ds, tuple(entry for entry in film.image if entry[0].startswith("Lossy")))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return written(ds, film)


def _reference(film: Film) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = film.sop_class_uid, film.sop_uid
    return item
