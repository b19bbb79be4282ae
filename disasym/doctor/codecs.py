"""Which transfer syntaxes can be decoded here: a tiny file in each is written, and read by `disasym.dicom`."""

import base64
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disasym.doctor.child import Answer, ask, sentence
from disasym.doctor.findings import Finding

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SECONDS = 60.0
LOSSY = ("JPEGBaseline8Bit", "JPEGExtended12Bit", "JPEGLSNearLossless", "JPEG2000", "HTJ2K")
NEAR, SAME = 0.05, 1e-6  # of the range of grey: what a lossy stream may change; rounding to float32


@dataclass(frozen=True)
class Codec:
    """One transfer syntax. `decodes` is None where it was not tried."""

    uid: str
    name: str  # the keyword of pydicom
    decodes: bool | None
    reason: str  # empty if it decodes


def look(seconds: float = SECONDS) -> tuple[tuple[Codec, ...], str]:
    """Try every syntax in a process of its own; also why there is no answer, or not a whole one."""
    return understood(ask("disasym.doctor.codecs:each", {}, seconds))


def understood(answer: Answer) -> tuple[tuple[Codec, ...], str]:
    """The answer of `each`."""
    supported, tried = answer.facts.get("supported", {}), answer.facts
    codecs = []
    for uid, name in supported.items():
        reason = tried.get(uid)
        codecs.append(
            Codec(uid, name, None if reason is None else not reason, "not tried" if reason is None else reason)
        )
    return tuple(codecs), answer.problem


def each() -> Iterator[dict[str, Any]]:
    """The syntaxes that the reader supports; then for each, by its UID, why it cannot be decoded, or ""."""
    from pydicom.uid import UID, ExplicitVRBigEndian

    from disasym.dicom.decode import DECODERS

    supported = {str(uid): UID(uid).keyword for uid in (*DECODERS, ExplicitVRBigEndian)}
    yield {"supported": supported}
    with tempfile.TemporaryDirectory(prefix="disasym-doctor-") as folder:
        for uid, name in supported.items():
            yield {uid: attempt(uid, name, Path(folder))}


def attempt(uid: str, name: str, folder: Path) -> str:
    """Write the picture in this syntax and read it; why that fails, or ""."""
    import numpy as np

    from disasym.dicom import read_pixels

    bits = 8 if name == "JPEGBaseline8Bit" else 12
    path = folder / f"{name}.dcm"
    try:
        stored = cells(bits)
        write(path, stored, uid, name, bits)
        found = read_pixels(path)
    except Exception as error:  # whatever a broken library raises
        return sentence(error).replace(f"{path}: ", "")
    expected = (stored.astype(np.float64) - stored.min()) / np.ptp(stored)  # no window: the range that is present
    if found.shape != expected.shape:
        return (
            f"it decodes to {found.shape[0]}×{found.shape[1]} pixels instead of {expected.shape[0]}×{expected.shape[1]}"
        )
    off = float(np.abs(found - expected).max())
    allowed = NEAR if name in LOSSY else SAME
    return "" if off <= allowed else f"it decodes to other pixels: off by {off:.3g} of the range, at most {allowed:g}"


def cells(bits: int) -> "npt.NDArray[np.uint8] | npt.NDArray[np.uint16]":
    """The picture: uint16 [16, 12] of 12 bits, or uint8 of its upper 8. No two rows or columns are alike."""
    import numpy as np

    rows, columns = np.mgrid[:16, :12]
    grey: npt.NDArray[np.uint16] = (200 * rows + 37 * columns + 300).astype(np.uint16)
    return (grey >> 4).astype(np.uint8) if bits == 8 else grey


def write(path: Path, stored: "npt.NDArray[Any]", uid: str, name: str, bits: int) -> None:
    """A mammogram without a patient."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation

    from disasym.doctor.fixtures import FRAMES

    ds, syntax = Dataset(), UID(uid)
    ds.SOPClassUID, ds.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, "1.2.3"
    ds.Modality, ds.PresentationIntentType = "MG", "FOR PRESENTATION"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = stored.itemsize * 8, bits, bits - 1, 0
    if syntax.is_encapsulated:
        ds.PixelData = encapsulate([base64.b85decode(FRAMES[name])])
    else:
        ds.PixelData = stored.astype(stored.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes()
    ds["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    ds["PixelData"].is_undefined_length = syntax.is_encapsulated
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID, ds.file_meta.MediaStorageSOPInstanceUID = syntax, ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)


def findings(codecs: tuple[Codec, ...], problem: str) -> list[Finding]:
    """Syntaxes that cannot be decoded: everything the reader supports comes with the base install."""
    remedy = "install it again: pip install --force-reinstall imagecodecs pydicom"
    found = []
    if problem:
        found.append(Finding("failed", "codecs", f"the decoders could not be tried: {problem}; {remedy}"))
    broken = [codec for codec in codecs if codec.decodes is False]
    if broken:
        names = ", ".join(codec.name for codec in broken)
        found.append(Finding("failed", "codecs", f"{names} cannot be decoded ({broken[0].reason}); {remedy}"))
    return found
