"""Whose image it is: kept in memory to pair, and written out only as a hash."""

import hashlib
import re
import sys
from dataclasses import dataclass, field

from disasym.dicom.reader import Skip
from disasym.dicom.tags import Tags
from disasym.spec import Laterality, View

_CBIS = re.compile(r"((?:Mass|Calc)-(?:Training|Test)_P_\d+)_(LEFT|RIGHT)_(CC|MLO)(_\d+)?")
# What anonymisers write for everybody: equal values say nothing about the person.
_PLACEHOLDER = re.compile(r"|0+|x+|anon.*|unknown|none|null|n/?a|removed|deleted|test", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CbisStem:
    """What a CBIS-DDSM PatientID says: there each view is its own patient and its own study."""

    patient: str = field(repr=False)  # e.g. Mass-Test_P_00173: the set, the split and the number of the woman
    laterality: Laterality
    view: View


@dataclass(frozen=True, repr=False, slots=True)
class Patient:
    """Compared when pairing; equal only if every field is. Never printed."""

    patient_id: str
    issuer: str
    birth_date: str
    stem: CbisStem | None

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for two images only if nothing speaks against one woman."""
        return (self.stem.patient,) if self.stem else (self.patient_id, self.issuer, self.birth_date)

    @property
    def identifying(self) -> bool:
        """False if PatientID is empty or what an anonymiser writes for everybody."""
        return _PLACEHOLDER.fullmatch(self.patient_id) is None

    @property
    def key(self) -> str:
        """The first 16 hex digits of sha256(PatientID, NUL, IssuerOfPatientID), "" without a PatientID.

        For CBIS-DDSM the PatientID without its side and view, so that one woman has one key. A pseudonym, not
        anonymity: who can guess an identifier can check the guess.
        """
        text = self.stem.patient if self.stem else self.patient_id
        return hashlib.sha256(f"{text}\0{self.issuer}".encode()).hexdigest()[:16] if text else ""

    def __repr__(self) -> str:
        return f"Patient({self.key})"


def read_patient(tags: Tags) -> Patient:
    """Read the identity.

    Raises:
        Skip: a CBIS-DDSM lesion crop or mask (`…_LEFT_CC_1`).
    """
    return identify(tags.first("PatientID"), tags.first("IssuerOfPatientID"), tags.first("PatientBirthDate"))


def identify(patient_id: str, issuer: str = "", birth_date: str = "") -> Patient:
    """The identity behind these values.

    Raises:
        Skip: as `read_patient`.
    """
    match = _CBIS.fullmatch(patient_id)
    stem = None
    if match:
        patient, side, view, lesion = match.groups()
        if lesion:
            raise Skip("a CBIS-DDSM lesion crop or mask, not a whole mammogram")
        stem = CbisStem(patient, "R" if side == "RIGHT" else "L", "CC" if view == "CC" else "MLO")
    return Patient(sys.intern(patient_id), sys.intern(issuer), sys.intern(birth_date), stem)
