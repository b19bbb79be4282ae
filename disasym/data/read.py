"""One image file → float32 grey levels, whatever its format."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from disasym.errors import ImageError
from disasym.spec import Array

MAX_PIXELS = 100_000_000  # the limit for DICOM files too: the largest film scans have 40 million
FORMATS = ("PNG", "PPM", "TIFF", "JPEG")
_WHITE_IS_ZERO = 0  # TIFF 6.0, tag 262 PhotometricInterpretation


def is_dicom(path: Path) -> bool:
    """By its preamble (PS3.10 7.1), or by its name: archives drop suffixes, old writers the preamble."""
    if path.suffix.lower() in (".dcm", ".dicom"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error


def read_image(path: Path) -> Array:
    """Read one image file: PNG, PGM, TIFF or JPEG of 8 or 16 bits, or DICOM.

    Returns:
        float32 [h, w], brighter = denser. Grey levels as stored (0…255, 0…65535); DICOM in [0, 1] by
        `disasym.dicom.read_pixels`. Colour files are accepted when their channels are equal; alpha is ignored.

    Raises:
        ImageError: absent, damaged, truncated, coloured, animated, of another format, or above MAX_PIXELS.
    """
    if is_dicom(path):
        from disasym.dicom import read_pixels  # pydicom loads slowly, and PNG archives do not need it

        return read_pixels(path)
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ImageError(f"{path}: {file.width} × {file.height} pixels, at most {MAX_PIXELS:,} are read")
            if getattr(file, "n_frames", 1) != 1:
                raise ImageError(f"{path}: {getattr(file, 'n_frames', 1)} pictures in one file, expected one")
            return _grey(file, path)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: too large to be a mammogram, at most {MAX_PIXELS:,} pixels are read") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not a PNG, PGM, TIFF, JPEG or DICOM file") from error
    except Exception as error:  # a decoder raises anything on a damaged file: OSError, SyntaxError, struct.error, …
        raise ImageError(f"{path}: cannot be decoded ({type(error).__name__}: {error}); is it whole?") from error


def _grey(file: Any, path: Path) -> Array:
    """The grey levels of an opened Pillow image."""
    if file.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        file = file.convert("RGB")
    stored = np.asarray(file)
    if file.mode in ("LA", "La"):
        stored = stored[..., 0]
    elif file.mode in ("RGB", "RGBA", "RGBX", "RGBa"):
        stored = _one_channel(stored, path)
    grey: Array = stored.astype(np.float32)
    inverted = getattr(file, "tag_v2", {}).get(262) == _WHITE_IS_ZERO
    if inverted and file.mode.startswith("I"):  # Pillow inverts 1 and 8 bits itself, not 16
        grey = np.float32(65535) - grey
    return grey


def _one_channel(stored: Any, path: Path) -> Any:
    red, green, blue = stored[..., 0], stored[..., 1], stored[..., 2]
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise ImageError(f"{path}: a colour picture (its red, green and blue differ); a mammogram is grey")
    return red
