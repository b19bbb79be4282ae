"""Writes small real DICOM files for tests: mammograms, films, CT slices, in every transfer syntax that is read."""

import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, generate_uid

from disasym.dicom import Header
from disasym.dicom.patient import identify
from disasym.spec import Laterality, View

Cells = npt.NDArray[Any]

VIEW_CODES = {"CC": "399162004", "MLO": "399368009"}
LOSSLESS = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


def breast(rows: int = 40, columns: int = 24, peak: int = 4000) -> Cells:
    """A bright half-disc at the left edge, uint16 [rows, columns], up to `peak`; smooth, without two equal halves."""
    y, x = np.mgrid[:rows, :columns].astype(float)
    inside = 1 - ((y - rows * 0.45) / (rows * 0.4)) ** 2 - (x / (columns * 0.8)) ** 2
    shade = np.clip(inside, 0, 1) * (0.75 + 0.25 * np.sin(x / 3) * np.cos(y / 5))
    cells: Cells = np.rint(shade / shade.max() * peak).astype(np.uint16)
    return cells


def encode(cells: Cells, syntax: str, bits: int) -> bytes:
    """The value of PixelData for unsigned `cells` in `syntax`."""
    frame: bytes | bytearray | None = None
    if syntax == uid.ExplicitVRBigEndian:
        return cells.astype(cells.dtype.newbyteorder(">")).tobytes()
    if syntax == uid.RLELossless:
        frame = _rle(cells)
    elif syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        frame = imagecodecs.jpeg8_encode(cells, 98, bitspersample=8 if cells.itemsize == 1 else 12)
    elif syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        predictor = 1 if syntax == uid.JPEGLosslessSV1 else 6
        precision = 8 if cells.itemsize == 1 else max(bits, 9)
        frame = imagecodecs.jpeg8_encode(cells, lossless=True, predictor=predictor, bitspersample=precision)
    elif syntax in (uid.JPEGLSLossless, uid.JPEGLSNearLossless):
        frame = imagecodecs.jpegls_encode(cells, 0 if syntax == uid.JPEGLSLossless else 2)
    elif syntax == uid.JPEG2000Lossless:
        frame = imagecodecs.jpeg2k_encode(cells, codecformat="j2k", reversible=True, bitspersample=bits)
    elif syntax == uid.JPEG2000:
        frame = imagecodecs.jpeg2k_encode(cells, 60, codecformat="j2k", reversible=False, bitspersample=bits)
    elif syntax in (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL):
        frame = imagecodecs.htj2k_encode(cells, reversible=True)
    elif syntax == uid.HTJ2K:
        frame = imagecodecs.htj2k_encode(cells, 0.0005, reversible=False)
    return cells.tobytes() if frame is None else encapsulate([bytes(frame)])


def _rle(cells: Cells) -> bytes:
    """One PackBits segment a byte, most significant first (PS3.5 annex G)."""
    planes = cells.astype(cells.dtype.newbyteorder(">")).view(np.uint8).reshape(*cells.shape, cells.itemsize)
    segments = []
    for plane in range(cells.itemsize):
        rows = [imagecodecs.packbits_encode(row.tobytes()) for row in planes[..., plane]]
        segment = b"".join(rows)
        segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [64 + sum(map(len, segments[:i])) for i in range(len(segments))]
    header = np.array([len(segments), *offsets, *[0] * (15 - len(segments))], "<u4").tobytes()
    return header + b"".join(segments)


def write_mammogram(
    path: Path,
    cells: Cells | None = None,
    *,
    laterality: str = "R",
    view: str = "CC",
    patient: str = "4711",
    study: str = "study",
    syntax: str = uid.ExplicitVRLittleEndian,
    bits: int = 12,
    **tags: Any,
) -> Path:
    """A digital mammogram for presentation. `tags` by DICOM keyword replace what is written; None removes."""
    cells = breast() if cells is None else cells
    ds = Dataset()
    ds.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["sop", str(path)])
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["study", study])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series", study])
    ds.StudyDate, ds.Modality, ds.PresentationIntentType = "20200102", "MG", "FOR PRESENTATION"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = patient, "Canary^Yellow", "19501231"
    ds.ImageLaterality, ds.ViewPosition = laterality, view
    if view in VIEW_CODES:
        ds.ViewCodeSequence = Sequence([code(VIEW_CODES[view])])
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = cells.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = cells.itemsize * 8, bits, bits - 1, 0
    ds.PixelData = encode(cells, syntax, bits)
    ds["PixelData"].VR = "OW" if UID(syntax) in uid.UncompressedTransferSyntaxes and cells.itemsize == 2 else "OB"
    for keyword, value in tags.items():
        if value is None:
            if keyword in ds:
                del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return save(ds, path, syntax)


def save(ds: Dataset, path: Path, syntax: str) -> Path:
    """Write `ds` as a DICOM file, as it is."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    if "PixelData" in ds:
        ds["PixelData"].is_undefined_length = UID(syntax).is_encapsulated
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_ct(path: Path) -> Path:
    """A CT slice."""
    return write_mammogram(
        path,
        SOPClassUID=uid.CTImageStorage,
        Modality="CT",
        ImageLaterality=None,
        ViewPosition=None,
        ViewCodeSequence=None,
    )


def write_film(path: Path, cells: Cells | None = None, side: str = "RIGHT", view: str = "CC", **tags: Any) -> Path:
    """A CBIS-DDSM film: secondary capture, the view in PatientOrientation, side and view in PatientID."""
    stem = f"Mass-Test_P_00001_{side}_{view}"
    film = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "ImageLaterality": None, "Laterality": side[0]}
    film |= {"PatientOrientation": view, "ViewPosition": None, "ViewCodeSequence": None, "PatientBirthDate": ""}
    film |= {"PresentationIntentType": None, "ImageType": None}
    return write_mammogram(path, cells, study=str(path), **{"patient": stem, **film, **tags})


def code(value: str, scheme: str = "SCT", **sequences: Any) -> Dataset:
    """A code sequence item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "meaning"
    for keyword, value_ in sequences.items():
        setattr(item, keyword, value_)
    return item


def view_code(value: str, *modifiers: str, scheme: str = "SCT") -> Sequence:
    """A ViewCodeSequence with one view and its modifiers."""
    items = Sequence([code(modifier, scheme) for modifier in modifiers])
    return Sequence([code(value, scheme, ViewModifierCodeSequence=items)])


def lut(first: int, entries: list[int], bits: int = 16, vr: str = "US") -> Sequence:
    """A VOI or modality LUT sequence with one item."""
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return Sequence([item])


def make_header(path: str, laterality: Laterality = "R", view: View = "CC", **changes: Any) -> Header:
    """A header without a file, for pairing."""
    patient = identify(changes.pop("patient", "4711"), birth_date=changes.pop("birth_date", ""))
    values: dict[str, Any] = {
        "path": Path(path),
        "sop_uid": f"1.2.{zlib.crc32(path.encode())}",
        "study_uid": "1.2.3",
        "series_uid": "1.2.3.4",
        "patient": patient,
        "study_date": "20200102",
        "laterality": laterality,
        "view": view,
        "kind": "standard",
        "rows": 40,
        "columns": 24,
        "chest_wall": None,
        "pixel_aspect": 1.0,
        "transfer_syntax": str(uid.ExplicitVRLittleEndian),
    }
    return Header(**values | changes)
