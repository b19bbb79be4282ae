"""Headers → pairs of a right and a left breast of one woman, one view, one examination. In doubt: no pair.

Rules, in this order; a pair carries the name of the one that made it:

1. `study`: same StudyInstanceUID, view and patient.
2. `cbis-ddsm-stem`: CBIS-DDSM, where each view is its own study and its own patient: same `Mass-Test_P_00173`, view.
3. `patient-date`: same patient, StudyDate and view; PatientID and StudyDate neither empty nor a placeholder.

The same patient means the same PatientID, IssuerOfPatientID and PatientBirthDate. Two candidates for one breast in
one group are ambiguous, unless they are the same picture under two SOPInstanceUIDs: the whole group is skipped. The
outcome does not depend on the order of the input.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from disasym.dicom.header import Header
from disasym.dicom.selection import Kind
from disasym.spec import Laterality, View

PairedBy = Literal["study", "cbis-ddsm-stem", "patient-date"]
Picture = Callable[[Header], str]

# Only images of one family are compared; within a family the first kind is preferred.
FAMILIES: tuple[tuple[Kind, ...], ...] = (
    ("standard", "nipple in profile", "implant displaced"),
    ("synthetic",),
    ("for processing",),
)


@dataclass(frozen=True)
class DicomPair:
    """The two breasts of one woman in one view."""

    right: Header
    left: Header
    view: View
    paired_by: PairedBy


@dataclass(frozen=True)
class Pairing:
    """Every header is in one of `pairs` or in `skipped`, once."""

    pairs: tuple[DicomPair, ...]  # sorted by the path of the right breast
    skipped: tuple[tuple[Path, str], ...]  # (path, reason), sorted by path


def pair(headers: Iterable[Header], picture: Picture | None = None) -> Pairing:
    """Pair `headers`, which have one path each; O(n log n).

    `picture` returns a digest of a file's decoded picture. It is asked only where two files compete for one breast:
    a copy under a new SOPInstanceUID (recompressed, anonymised, MONOCHROME1) then does not cost the pair.
    """
    unique = {header.path: header for header in headers}
    waiting, skipped = _without_duplicates(sorted(unique.values(), key=lambda header: header.path))
    pairs: list[DicomPair] = []
    for rule, key in RULES.items():
        groups: dict[Hashable, list[Header]] = defaultdict(list)
        left_over = []
        for header in waiting:
            group_key = key(header)
            if group_key is None:
                left_over.append(header)
            else:
                groups[group_key, header.view].append(header)
        for group in groups.values():
            outcome = _match(group, rule, picture)
            pairs += outcome.pairs
            skipped += outcome.skipped
            left_over += outcome.waiting
        waiting = left_over
    skipped += [(header.path, _alone(header)) for header in waiting]
    return Pairing(tuple(sorted(pairs, key=lambda p: p.right.path)), tuple(sorted(skipped)))


@dataclass(frozen=True)
class _Outcome:
    pairs: list[DicomPair]
    skipped: list[tuple[Path, str]]
    waiting: list[Header]


def _match(group: list[Header], rule: PairedBy, picture: Picture | None) -> _Outcome:
    """Make at most one pair of the images of one woman and view."""
    for family in FAMILIES:
        right, left = (_best(group, side, family) for side in ("R", "L"))
        if not right or not left:
            continue
        copies = _copies(right, picture) | _copies(left, picture)
        right, left = ([header for header in side if header.path not in copies] for side in (right, left))
        if len(right) > 1 or len(left) > 1:
            reason = f"ambiguous: {len(right)} right and {len(left)} left {group[0].view} images match by {rule}"
            return _Outcome([], [(header.path, reason) for header in group], [])
        made = DicomPair(right[0], left[0], group[0].view, rule)
        rest = [header for header in group if header not in (made.right, made.left)]
        return _Outcome([made], [(header.path, copies.get(header.path, _passed_over(header))) for header in rest], [])
    return _Outcome([], [], group)


def _copies(candidates: list[Header], picture: Picture | None) -> dict[Path, str]:
    """The candidates whose picture an earlier one (by path) has too, with the reason to skip them."""
    if picture is None or len(candidates) < 2:
        return {}
    first: dict[str, Path] = {}
    copies = {}
    for header in sorted(candidates, key=lambda candidate: candidate.path):
        original = first.setdefault(picture(header), header.path)
        if original != header.path:
            copies[header.path] = f"duplicate of {original} (the same picture under another SOPInstanceUID)"
    return copies


def _best(group: list[Header], side: Laterality, family: tuple[Kind, ...]) -> list[Header]:
    """The images of one breast that are of the most preferred kind present."""
    for kind in family:
        found = [header for header in group if header.laterality == side and header.kind == kind]
        if found:
            return found
    return []


def _without_duplicates(headers: list[Header]) -> tuple[list[Header], list[tuple[Path, str]]]:
    """Keep one file of each SOPInstanceUID: the first by path, if all say the same of whose breast it is."""
    instances: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        instances[header.sop_uid].append(header)
    kept: list[Header] = []
    skipped: list[tuple[Path, str]] = []
    for same in instances.values():
        first, *others = same
        if len({_claims(header) for header in same}) > 1:
            reason = f"{len(same)} files share this SOPInstanceUID and contradict each other"
            skipped += [(header.path, reason) for header in same]
        else:
            kept.append(first)
            skipped += [(header.path, f"duplicate of {first.path} (same SOPInstanceUID)") for header in others]
    return kept, skipped


def _claims(header: Header) -> Hashable:
    whose = (header.patient.identity, header.study_uid, header.study_date)
    return whose, header.laterality, header.view, header.kind, header.rows, header.columns


def _by_study(header: Header) -> Hashable | None:
    return header.study_uid, header.patient.identity


def _by_stem(header: Header) -> Hashable | None:
    return header.patient.identity if header.patient.stem else None


def _by_patient_and_date(header: Header) -> Hashable | None:
    if header.patient.stem or not header.patient.identifying or not header.study_date:
        return None
    return header.patient.identity, header.study_date


RULES: dict[PairedBy, Callable[[Header], Hashable | None]] = {
    "study": _by_study,
    "cbis-ddsm-stem": _by_stem,
    "patient-date": _by_patient_and_date,
}


def _passed_over(header: Header) -> str:
    return f"passed over ({header.kind}): the pair is made of images that are preferred to it"


def _alone(header: Header) -> str:
    side = "left" if header.laterality == "R" else "right"
    return f"no partner: no {side} {header.view} of the same examination"
