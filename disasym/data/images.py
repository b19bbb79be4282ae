"""Rows of a manifest → what the network sees."""

from pathlib import Path

import numpy as np

from disasym.data.read import is_dicom, read_image
from disasym.data.rows import ImageRow, PairRow
from disasym.errors import ImageError
from disasym.levels import Picture
from disasym.preprocess import Mammogram, Side, preprocess
from disasym.spec import Array

__all__ = ["load_mammogram", "load_pair", "read_image"]


def load_mammogram(row: ImageRow, height: int, width: int) -> Mammogram:
    """Read and preprocess one image into a frame of `height` × `width`.

    A DICOM file says its pixel aspect and where the chest wall is. It must not name another side or view than its row;
    published archives drop these tags, and then the row stands.

    Raises:
        ImageError: the file cannot be read, is of another side or view than the manifest says, or shows no breast.
    """
    pixel_aspect, chest_wall = row.pixel_aspect, None
    if is_dicom(row.path):
        pixel_aspect, chest_wall = _dicom_facts(row)
    try:
        return preprocess(
            _picture(row.path),
            row.laterality,
            row.view,
            height,
            width,
            pixel_aspect=pixel_aspect,
            chest_wall=chest_wall,
        )
    except ImageError as error:
        text = str(error)
        raise ImageError(text if str(row.path) in text else f"{row.path}: {text}") from error


def load_pair(pair: PairRow, height: int, width: int) -> Array:
    """`views` of one pair: float32 [2, height, width], right first. ImageError as `load_mammogram`."""
    sides = [load_mammogram(row, height, width).pixels for row in (pair.right, pair.left)]
    return np.stack(sides)


def _picture(path: Path) -> Array | Picture:
    """What `preprocess` takes: a DICOM file is decoded no finer than it is asked for."""
    if is_dicom(path):
        from disasym.dicom import open_film  # pydicom loads slowly, and PNG archives do not need it

        return open_film(path)
    return read_image(path)


def _dicom_facts(row: ImageRow) -> tuple[float, Side | None]:
    from disasym.dicom import Skip, read_header  # pydicom loads slowly, and PNG archives do not need it

    try:
        header = read_header(row.path, otherwise=(row.laterality, row.view))
    except Skip as skip:
        raise ImageError(f"{row.path}: {skip.reason}") from skip
    if (header.laterality, header.view) != (row.laterality, row.view):
        raise ImageError(
            f"{row.path}: the manifest says {row.laterality} {row.view}, the file {header.laterality} {header.view}; "
            "correct the manifest"
        )
    return header.pixel_aspect, header.chest_wall
