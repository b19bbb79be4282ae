"""DICOM files → pairs of mammograms: `scan` a folder, then `read_pixels` of each header's path.

Reading rules stand in one file each: what is a screening mammogram (`selection.py`), which side and view
(`laterality.py`), what belongs together (`pairing.py`), how stored values become grey (`grey.py`), how each transfer
syntax is decoded (`decode.py`).
"""

from disasym.dicom.header import Header, read_header
from disasym.dicom.pairing import DicomPair, PairedBy, Pairing, pair
from disasym.dicom.pixels import Film, open_film, read_pixels
from disasym.dicom.reader import Skip
from disasym.dicom.scan import Fate, Scan, scan, scan_files

__all__ = [
    "DicomPair",
    "Fate",
    "Film",
    "Header",
    "PairedBy",
    "Pairing",
    "Scan",
    "Skip",
    "open_film",
    "pair",
    "read_header",
    "read_pixels",
    "scan",
    "scan_files",
]
