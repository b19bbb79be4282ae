"""The codes and words by which a file names a view, a view modifier or a side.

PS3.16 CID 4014 (views), CID 4015 (view modifiers), CID 244 (laterality); PS3.3 C.8.11.7 for ViewPosition. Each code
is listed as SNOMED CT (SCT) and as the older SNOMED-RT value that files call SRT, SNM3 or 99SDM.
"""

import re
from typing import Literal

from disasym.dicom.tags import Tags
from disasym.spec import Laterality

SNOMED = ("SCT", "SRT", "SNM3", "99SDM")

VIEWS = {
    **dict.fromkeys(("399162004", "R-10242"), "CC"),
    **dict.fromkeys(("399368009", "R-10226"), "MLO"),
    **dict.fromkeys(("399260004", "R-10224"), "ML"),
    **dict.fromkeys(("399352003", "R-10228"), "LM"),
    **dict.fromkeys(("399099002", "R-10230"), "LMO"),
    **dict.fromkeys(("399196006", "R-10244"), "FB"),
    **dict.fromkeys(("399188001", "R-102D0"), "SIO"),
    **dict.fromkeys(("441555000", "R-40AAA"), "ISO"),
    **dict.fromkeys(("399192008", "R-1024A"), "XCCL"),
    **dict.fromkeys(("399101009", "R-1024B"), "XCCM"),
    **dict.fromkeys(("127457009", "G-8310"), "specimen"),
}

MODIFIERS = {
    **dict.fromkeys(("399161006", "R-102D2"), "cleavage"),
    **dict.fromkeys(("399011000", "R-102D1"), "axillary tail"),
    **dict.fromkeys(("399197002", "R-102D3"), "rolled lateral"),
    **dict.fromkeys(("399226006", "R-102D4"), "rolled medial"),
    **dict.fromkeys(("414493004", "R-102CA"), "rolled inferior"),
    **dict.fromkeys(("415670009", "R-102C9"), "rolled superior"),
    **dict.fromkeys(("399209000", "R-102D5"), "implant displaced"),
    **dict.fromkeys(("399163009", "R-102D6"), "magnification"),
    **dict.fromkeys(("399055006", "R-102D7"), "spot compression"),
    **dict.fromkeys(("399110001", "R-102C2"), "tangential"),
    **dict.fromkeys(("442581004", "R-40AB3"), "nipple in profile"),
    **dict.fromkeys(("441752004", "P2-00161"), "anterior compression"),
    **dict.fromkeys(("442593008", "R-40ABE"), "infra-mammary fold"),
    **dict.fromkeys(("442580003", "R-40AB2"), "axillary tissue"),
}

SIDES: dict[str, Laterality] = {"24028007": "R", "G-A100": "R", "7771000": "L", "G-A101": "L"}

# Words found in ViewPosition beside CC and MLO
VIEW_WORDS = {word: word for word in ("ML", "LM", "LMO", "FB", "SIO", "ISO", "XCC", "XCCL", "XCCM")} | {
    "SPECIMEN": "specimen",
    "TAN": "tangential",
    "CV": "cleavage",
    "AT": "axillary tail",
    "AX": "axillary tissue",
    "RL": "rolled lateral",
    "RM": "rolled medial",
    "RI": "rolled inferior",
    "RS": "rolled superior",
}

_VIEW_WORD = re.compile(r"(R|L|RIGHT|LEFT)?(CC|MLO)(ID)?")


def coded(item: Tags, table: dict[str, str]) -> str | None:
    """The meaning of a code sequence item: from `table`, "unknown" for another SNOMED code, None for a private one."""
    if item.first("CodingSchemeDesignator").upper() not in SNOMED:
        return None
    return table.get(item.first("CodeValue"), "unknown")


def view_word(text: str) -> tuple[Laterality | None, Literal["CC", "MLO"], bool] | None:
    """Split a word like `RMLO`, `L CC` or `CCID` into (side, view, implant displaced); None if it is none."""
    match = _VIEW_WORD.fullmatch(re.sub(r"[\s_-]", "", text.upper()))
    if not match:
        return None
    side, view, displaced = match.groups()
    laterality: Laterality | None = None if side is None else ("R" if side.startswith("R") else "L")
    return laterality, "CC" if view == "CC" else "MLO", displaced is not None
