"""The end of a scored pair: its lesions, its row, and the files that are asked for beside the tables."""

from dataclasses import dataclass

from disasym.engines import Engine
from disasym.errors import ImageError
from disasym.infer.boxes import regions_of
from disasym.infer.jobs import Job
from disasym.infer.panels import draw_panel, png_of
from disasym.infer.report import layers_file
from disasym.infer.results import Row, panel_name, row_of
from disasym.infer.stages import Failed, Scored
from disasym.infer.wanted import Wanted

FileContent = tuple[str, bytes]  # its name relative to the results, and what is in it


@dataclass(frozen=True)
class Finished:
    """A pair with its row and the files that the row names. It can be pickled."""

    job: Job
    row: Row
    files: tuple[FileContent, ...]


def finish(pair: Scored, engine: Engine, asked: Wanted) -> Finished | Failed:
    """Find the lesions of a pair and make what is asked for; nothing is written, and only the films are read.

    `engine` is asked for what it is, not run. A pair without the DICOM objects that were asked for has failed, so that
    nobody overlooks it.
    """
    regions = regions_of(pair)
    drawn = draw_panel(pair, engine, regions or ()) if asked.panels or "capture" in asked.dicom else None
    objects: list[FileContent] = []
    if asked.dicom:
        from disasym.infer.objects import objects_of

        try:
            objects = objects_of(pair, regions, engine, asked.dicom, drawn)
        except ImageError as error:
            return _without_objects(pair, f"cannot be made: {error}")
        except Exception as error:  # odd tags of one film cost its pair, not the archive; the text may quote them
            return _without_objects(pair, f"failed with an unexpected {type(error).__name__}: please report this")
    panel = panel_name(pair.job.pair_id) if asked.panels else ""
    pictures = [(panel, png_of(drawn))] if drawn is not None and panel else []
    row = row_of(pair, engine, regions, panel, [name for name, _ in objects])
    layers = [layers_file(row, pair, regions)] if asked.report else []
    return Finished(pair.job, row, (*objects, *pictures, *layers))


def _without_objects(pair: Scored, why: str) -> Failed:
    reason = f"scored, but its DICOM result {why}"
    return Failed(pair.job, dict.fromkeys((pair.job.right.path, pair.job.left.path), reason))
