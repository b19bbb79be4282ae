"""What became of each file in the end: exactly one fate and reason a path, whatever happened to its pair."""

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from disasym.dicom import Fate
from disasym.infer.jobs import Job, Work
from disasym.infer.stages import Failed


def final_fates(work: Work, failed: Mapping[str, Failed]) -> tuple[Fate, ...]:
    """One fate for every file of `work`, sorted by path; paths relative to its root, in the reasons too.

    `failed`: the pairs without a result, by pair_id.
    """
    fates = list(work.fates)
    for job in work.jobs:
        fates += _of_pair(job, failed.get(job.pair_id))
    return tuple(_relative(fate, work.root) for fate in one_each(fates))


def _of_pair(job: Job, failure: Failed | None) -> Iterator[Fate]:
    """Both used; or the file at fault failed and its partner skipped."""
    for source, partner in ((job.right, job.left), (job.left, job.right)):
        if failure is None:
            yield Fate(source.path, "used", sys.intern(f"paired by {job.paired_by}"))
        elif source.path in failure.problems:
            yield Fate(source.path, "failed", failure.problems[source.path])
        else:
            yield Fate(source.path, "skipped", f"its partner {partner.path} failed")


def one_each(fates: Iterable[Fate]) -> list[Fate]:
    """One fate a path, sorted by path. Of several the weightiest counts, and all reasons are kept.

    A table may name one file in two rows: failed counts before used, used before skipped.
    """
    weight = {"failed": 0, "used": 1, "skipped": 2}
    found: dict[Path, list[Fate]] = defaultdict(list)
    for fate in sorted(fates, key=lambda each: weight[each.fate]):
        found[fate.path].append(fate)
    ends = []
    for path in sorted(found):
        reasons = dict.fromkeys(fate.reason for fate in found[path])  # each once, the weightiest first
        ends.append(replace(found[path][0], reason="; ".join(reasons)))
    return ends


def _relative(fate: Fate, root: Path) -> Fate:
    path = fate.path.relative_to(root) if fate.path.is_relative_to(root) else fate.path
    return Fate(path, fate.fate, fate.reason.replace(f"{root}{os.sep}", ""))
