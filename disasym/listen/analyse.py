"""One examination of the spool through `disasym.infer`, into its own folder OUT/exams/EXAM; what came of it."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from disasym.data.loaders import Loaders
from disasym.dicom import Skip, read_header
from disasym.engines import Engine
from disasym.errors import ImageError
from disasym.infer import InferOptions
from disasym.infer.ledger import OtherSettingsError
from disasym.infer.results import CSV, EXAMS
from disasym.infer.run import infer_with
from disasym.listen.book import Outcome, Result
from disasym.listen.send import Destination
from disasym.listen.spool import read_origin

FOLDER = "exams"


def complete(films: Iterable[Path], include_processing: bool) -> bool:
    """Whether each view that is there is there of both breasts. Films that are no mammograms do not count."""
    views: dict[str, set[str]] = {}
    for film in films:
        try:
            header = read_header(film, include_processing)
        except (Skip, ImageError):
            continue
        views.setdefault(header.view, set()).add(header.laterality)
    return bool(views) and all(len(sides) == 2 for sides in views.values())


def analyse(engine: Engine, loaders: Loaders, options: InferOptions, films: Iterable[Path]) -> Outcome:
    """Score the films in `options.source` as `disasym infer` does; all again if they were scored by another model.

    Raises:
        DisasymError: as `disasym.infer.infer`.
    """
    try:
        summary = infer_with(engine, options, loaders)
    except OtherSettingsError:
        summary = infer_with(engine, replace(options, fresh=True), loaders)
    studies: dict[str, None] = {}
    women: dict[str, None] = {}
    for film in films:
        origin = read_origin(film)
        studies[origin.study_uid] = women[origin.patient_hash] = None
    exams = list(_rows(options.out / EXAMS))
    return Outcome(
        study_uids=" ".join(sorted(studies)),
        patient_id_hash=" ".join(filter(None, women)),
        films=len(summary.fates),
        pairs=summary.scored + summary.already,
        failed=summary.count("failed"),
        p_abnormal=_largest(exams, "p_abnormal"),
        p_asymmetry=_largest(exams, "p_asymmetry"),
    )


def results_of(out: Path, exam: str, destinations: Iterable[Destination]) -> list[Result]:
    """The DICOM objects of an examination that was analysed, each for every receiver."""
    found = []
    receivers = list(destinations)
    for row in _rows(out / FOLDER / exam / CSV):
        for name in row["dicom"].split():
            path = f"{FOLDER}/{exam}/{name}"
            meta = read_file_meta_info(out / path)
            kind = (
                str(meta.MediaStorageSOPClassUID),
                str(meta.MediaStorageSOPInstanceUID),
                str(meta.TransferSyntaxUID),
            )
            found += [Result(path, str(receiver), exam, *kind) for receiver in receivers]
    return found


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _largest(rows: list[dict[str, str]], column: str) -> float | None:
    values = [float(row[column]) for row in rows if row[column]]
    return max(values) if values else None
