"""Results as DICOM objects in the study of their films, made with highdicom.

What is said stands in `findings.py`, what is repeated of a film in `film.py`, unique identifiers in `uids.py`. The
objects: a Comprehensive 3D SR (`report.py`), segmentations (`segmentation.py`), a Secondary Capture (`capture.py`).
docs/dicom_out.md says what is in each. highdicom is imported only when an object is made.
"""

from disasym.dicom.out.film import Film, read_film
from disasym.dicom.out.findings import Algorithm, Breast, Lesion, PairFindings

__all__ = ["Algorithm", "Breast", "Film", "Lesion", "PairFindings", "read_film"]
