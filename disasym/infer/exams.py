"""One row an examination of a woman: what her CC and MLO pairs say together.

- A breast: the mean of its probabilities over the pairs, CC and MLO. On 140 women of CDD-CESM with both views, all held
  out, the mean gave a higher AUC than the larger one, and than each view alone (docs/log.md, 2026-11-24).
- The woman: the larger of her two breasts, for one of them is enough to call her back.
- Asymmetry: the mean over the pairs, as for a breast.

A pair that failed gives no probability and is counted, so that an incomplete examination can be told.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from disasym.infer.jobs import Job
from disasym.infer.results import DIGITS, Row
from disasym.spec import Laterality


@dataclass(frozen=True)
class Exam:
    """One examination; the fields are the columns of exams.csv, in this order. None: no pair of it has a result."""

    exam_id: str  # as in results.csv
    study_uid: str  # of the first pair; "" for a manifest
    patient_id_hash: str
    views: str  # that have a result, as "CC MLO"
    pairs: int  # with a result
    failed: int  # without one: see files.csv
    p_abnormal: float | None  # the woman
    p_abnormal_right: float | None
    p_abnormal_left: float | None
    p_asymmetry: float | None
    boxes_right: int | None  # lesion boxes of all views; None: the model makes no heat map
    boxes_left: int | None


def exams_of(rows: Iterable[Row], failed: Iterable[Job] = ()) -> list[Exam]:
    """The examinations of `rows`, in the order of their first rows; then those of which only `failed` pairs are known.

    Of each row a few numbers are kept.
    """
    gathered: dict[str, _Gathered] = {}
    for row in rows:
        exam = gathered.setdefault(row.exam_id, _Gathered(row.exam_id, row.study_uid, row.patient_id_hash))
        exam.views.add(row.view)
        exam.right.append(row.p_abnormal_right)
        exam.left.append(row.p_abnormal_left)
        exam.asymmetry.append(row.p_asymmetry)
        if row.boxes is not None:
            exam.boxes += [box.laterality for box in row.boxes]
            exam.looked = True
    for job in failed:
        gathered.setdefault(job.exam_id, _Gathered(job.exam_id, job.study_uid, job.patient_hash)).failed += 1
    return [_summed(exam) for exam in gathered.values()]


@dataclass
class _Gathered:
    exam_id: str
    study_uid: str
    patient_hash: str
    failed: int = 0
    views: set[str] = field(default_factory=set)
    right: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    asymmetry: list[float] = field(default_factory=list)
    boxes: list[Laterality] = field(default_factory=list)
    looked: bool = False


def _summed(exam: _Gathered) -> Exam:
    right, left = _mean(exam.right), _mean(exam.left)
    return Exam(
        exam_id=exam.exam_id,
        study_uid=exam.study_uid,
        patient_id_hash=exam.patient_hash,
        views=" ".join(sorted(exam.views)),
        pairs=len(exam.right),
        failed=exam.failed,
        p_abnormal=None if right is None or left is None else max(right, left),
        p_abnormal_right=right,
        p_abnormal_left=left,
        p_asymmetry=_mean(exam.asymmetry),
        boxes_right=exam.boxes.count("R") if exam.looked else None,
        boxes_left=exam.boxes.count("L") if exam.looked else None,
    )


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), DIGITS) if values else None
