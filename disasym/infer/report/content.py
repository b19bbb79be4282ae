"""What stands on which page of the report, and in which order.

The unit of reading is the examination: its pairs stand together, on one page. Worst first, over all pages: the
examination of the woman with the largest score (`exams.py`), and in it the pair with the largest score of a breast. Of
rows that are not on the page in the making only their places in results.jsonl are held.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from disasym.dicom import Fate
from disasym.infer.exams import Exam
from disasym.infer.results import JSONL, Row

PAIRS = 200  # on a page, unless one examination alone has more
LISTED = 500  # files of one fate that are named; all of them stand in files.csv
REPORT = "report.html"


class Place(NamedTuple):
    """Where a row stands in results.jsonl, and what it is ranked by."""

    offset: int
    worst: float


@dataclass(frozen=True)
class Shown:
    """One pair in the report."""

    number: int  # 1 is the worst over all pages
    row: Row

    @property
    def anchor(self) -> str:
        return f"pair-{self.number}"

    @property
    def worst(self) -> float:
        return worst_of(self.row)


@dataclass(frozen=True)
class Reading:
    """One examination in the report, its worse pair first."""

    number: int  # 1 is the worst over all pages
    exam: Exam
    pairs: tuple[Shown, ...]


@dataclass(frozen=True)
class Page:
    """One page: its examinations, and where it stands among the others."""

    number: int  # from 1
    pages: int
    readings: tuple[Reading, ...]

    @property
    def name(self) -> str:
        return page_name(self.number)

    @property
    def pairs(self) -> int:
        return sum(len(reading.pairs) for reading in self.readings)


@dataclass(frozen=True)
class Files:
    """What became of all files and examinations."""

    fates: Sequence[Fate]
    exams: Sequence[Exam]

    @property
    def pairs(self) -> int:
        return sum(exam.pairs for exam in self.exams)

    @property
    def lost(self) -> int:
        """Examinations of which no pair has a result."""
        return sum(exam.pairs == 0 for exam in self.exams)

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(fate.fate for fate in self.fates)

    def of(self, fate: str) -> list[Fate]:
        """The first LISTED files with this fate."""
        return [each for each in self.fates if each.fate == fate][:LISTED]

    def more(self, fate: str) -> int:
        """Files with this fate that `of` leaves out."""
        return max(0, self.counts[fate] - LISTED)


def page_name(number: int) -> str:
    """report.html, report-2.html, report-3.html, …"""
    return REPORT if number == 1 else f"report-{number}.html"


def worst_of(row: Row) -> float:
    """The score of the breast that is more probably abnormal."""
    return max(row.p_abnormal_right, row.p_abnormal_left)


def pages_of(out: Path, exams: Iterable[Exam]) -> Iterator[Page]:
    """The pages of the report on the results in `out`, in order; one with nothing on it if no pair has a result.

    Args:
        exams: those of the rows in results.jsonl, and maybe others without a row.
    """
    places = _places(out / JSONL)
    ranked = sorted(
        (exam for exam in exams if exam.exam_id in places),  # sorted is stable: equal ones stay in the order of rows
        key=lambda exam: -(exam.p_abnormal or 0.0),
    )
    divided = list(_divided([len(places[exam.exam_id]) for exam in ranked])) or [slice(0, 0)]
    pair = 1
    with (out / JSONL).open("rb") as file:
        for number, part in enumerate(divided, 1):
            readings = []
            for exam_number, exam in enumerate(ranked[part], part.start + 1):
                shown = []
                for place in sorted(places[exam.exam_id], key=lambda each: -each.worst):
                    file.seek(place.offset)
                    shown.append(Shown(pair, Row.read(file.readline())))
                    pair += 1
                readings.append(Reading(exam_number, exam, tuple(shown)))
            yield Page(number, len(divided), tuple(readings))


def _places(path: Path) -> dict[str, list[Place]]:
    """The rows of each exam_id, in their order."""
    places: dict[str, list[Place]] = defaultdict(list)
    offset = 0
    with path.open("rb") as file:
        for line in file:
            row = Row.read(line)
            places[row.exam_id].append(Place(offset, worst_of(row)))
            offset += len(line)
    return places


def _divided(sizes: Sequence[int]) -> Iterator[slice]:
    """Examinations with so many pairs each, as pages of at most PAIRS pairs."""
    start = pairs = 0
    for at, size in enumerate(sizes):
        if at > start and pairs + size > PAIRS:
            yield slice(start, at)
            start, pairs = at, 0
        pairs += size
    if start < len(sizes):
        yield slice(start, len(sizes))
