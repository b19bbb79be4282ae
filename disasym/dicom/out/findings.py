"""What is said of a pair, as plain values."""

from dataclasses import dataclass
from typing import Any

from disasym.dicom.out.film import Film
from disasym.dicom.out.uids import uid_of
from disasym.preprocess import Box
from disasym.spec import View

RESEARCH = "For research. Not a medical device: nobody may be recalled, reassured or treated because of this."
SERIES = "disasym, research only"
SIDE_NAMES = {"R": "right", "L": "left"}


@dataclass(frozen=True)
class Algorithm:
    """Who says it."""

    version: str  # of disasym
    preset: str
    model_sha256: str
    engine: str
    precision: str
    threshold: float  # of the heat map, for lesions
    calibrated: bool = False  # the model carries temperatures

    @property
    def parameters(self) -> tuple[str, ...]:
        return (
            f"preset {self.preset}",
            f"weights sha256 {self.model_sha256}",
            f"engine {self.engine}, {self.precision}",
            f"lesion where heat is at least {self.threshold:g}",
            *(("probabilities calibrated by temperature",) if self.calibrated else ()),
        )

    def uid(self, *parts: str) -> str:
        """A UID for what this algorithm says of `parts`; another model, version or engine never shares it."""
        return uid_of(self.version, *self.parameters, *parts)


@dataclass(frozen=True)
class Lesion:
    """One suspicious region."""

    box: Box  # in the film, in pixel edges
    score: float  # its largest heat, in [0, 1]


@dataclass(frozen=True, eq=False)
class Breast:
    """What is said of one film."""

    film: Film
    abnormal: float  # probability
    lesions: tuple[Lesion, ...] | None  # None: the model cannot look for any


@dataclass(frozen=True, eq=False)
class PairFindings:
    """What is said of a pair."""

    right: Breast
    left: Breast
    view: View
    asymmetry: float  # probability
    algorithm: Algorithm

    @property
    def studies(self) -> tuple[tuple[Breast, ...], ...]:
        """The breasts by study: one entry with both, or one each where their films lie in two studies."""
        if self.right.film.study_uid == self.left.film.study_uid:
            return ((self.right, self.left),)
        return ((self.right,), (self.left,))

    def tracking_uid(self, film: Film, lesion: int) -> str:
        """Names lesion `lesion`, counted from 1, in report and segmentation alike."""
        return self.algorithm.uid("lesion", film.sop_uid, str(lesion))

    def object_uid(self, kind: str, *films: Film) -> str:
        """SOPInstanceUID of one object made of this pair."""
        both = (self.right.film.sop_uid, self.left.film.sop_uid)
        return self.algorithm.uid(kind, *both, *(film.sop_uid for film in films))

    def equipment(self) -> dict[str, Any]:
        """The Enhanced General Equipment module (PS3.3 C.7.5.2), as highdicom's arguments."""
        return {
            "manufacturer": "disasym",
            "manufacturer_model_name": f"DisAsymNet {self.algorithm.preset}",
            "software_versions": self.algorithm.version,
            "device_serial_number": self.algorithm.model_sha256[:16],
        }

    def series(self, kind: str, number: int, film: Film) -> dict[str, Any]:
        """Which series of the film's study an object goes into, as highdicom's arguments."""
        return {
            "series_instance_uid": self.algorithm.uid(f"{kind} series", film.study_uid),
            "series_number": number,
            "series_description": SERIES,
        }
