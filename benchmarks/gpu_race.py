"""End to end, host memory to host memory: `disasym.bench.race` in two heats, so that what fails costs one of them.

Both have eager PyTorch in float32; the first has what the targets compare in fp16, the second everything else.
"""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.gpu_measure import read_lines
from benchmarks.gpu_models import KINDS, pairs
from benchmarks.gpu_parity import objection
from benchmarks.gpu_part import CUT, INFO, NotHere, Part, read_records
from benchmarks.timing import append
from disasym.bench.contenders import REFERENCE, Absent, Contender, Field, find
from disasym.bench.facts import facts
from disasym.bench.plot import plot
from disasym.bench.race import Pace
from disasym.bench.race import race as run_race
from disasym.bench.rows import FORMAT, Row, absent_json
from disasym.engines.base import usable_cores
from disasym.errors import EngineError, MissingExtraError
from disasym.export.manifest import MANIFEST, WEIGHTS, read_manifest

ROWS, PNG = "bench.jsonl", "bench.png"
HEATS = ("fp16", "others")
BATCHES = (1, 8, 32, 64)
START = 15.0  # seconds that a contender takes to be started twice
MARGIN = 8.0  # seconds before the part would be killed


def race(part: Part) -> None:
    """One heat, by its name in HEATS; rows are written as they come."""
    (heat,) = part.arguments
    part.check("race", lambda: _race(part, heat), seconds=30)


def _race(part: Part, heat: str) -> str:
    field = heat_of(field_of(part), heat)
    known = common(part)
    for absent in field.absent:
        _keep(part, heat, absent_json(absent), known)
        part.report(absent.name, INFO, absent.reason)
    pace = Pace((2,), part.left, 5) if part.dry else Pace(BATCHES, pace_seconds(part.left, len(field.contenders)))
    counted = 0
    with TemporaryDirectory() as folder:
        np.save(file := Path(folder) / "pairs.npy", pairs(part.work)[0])
        for each in run_race(field, file, usable_cores(), pace, lambda line: print(line, flush=True)):
            if isinstance(each, Absent):
                _keep(part, heat, absent_json(each), known)
                part.report(each.name, CUT if each.name.startswith("batch") else INFO, each.reason)
            else:
                _keep(part, heat, each.as_json(), known)
                counted += 1
    if not counted:
        raise EngineError("no contender came to a row")
    return f"{counted} rows of {len(field.contenders)} contenders: {ROWS}"


def pace_seconds(left: float, contenders: int) -> float:
    """Seconds for the turns: what is left when all have been started."""
    return max(10.0, left - MARGIN - START * contenders)


def field_of(part: Part) -> Field:
    """All that can run here and was found to be the model; who does not run, and why."""
    made = [part.work / name for name in KINDS if (part.work / name / MANIFEST).is_file()]
    if not made:
        raise NotHere("no export was made")
    folders = [folder for folder in made if folder.name != "weights"] or made  # `weights` has no contender of its own
    found = find(folders, part.device, compiled=not part.dry)
    records = read_records(part.out)
    racing: list[Contender] = []
    absent = list(found.absent)
    for each in found.contenders:
        why = "" if each.engine == "eager" else objection(records, each.target, each.folder.name)
        if why:
            absent.append(Absent(each.name, why, each.engine))
        else:
            racing.append(each)
    return Field(tuple(racing), tuple(absent), found.manifest)


def heat_of(field: Field, heat: str) -> Field:
    """The contenders of a heat. Who does not run at all is told in the first one."""
    first = heat == HEATS[0]
    racing = [
        each
        for each in field.contenders
        if each.name == REFERENCE or (each.precision == "fp16" or each.engine == "eager") == first
    ]
    return Field(tuple(racing), field.absent if first else (), field.manifest)


def common(part: Part) -> dict[str, Any]:
    """What every row says of where and on what it was measured."""
    views, source = pairs(part.work)
    folder = next(part.work / name for name in KINDS if (part.work / name / MANIFEST).is_file())
    manifest = read_manifest(folder)
    return {
        **facts(part.device),
        "commit": part.commit,
        "model_sha256": manifest.files[WEIGHTS],
        "preset": manifest.preset,
        "height": manifest.height,
        "width": manifest.width,
        "threads": usable_cores(),
        "input": {"source": source, "distinct": len(views)},
    }


def _keep(part: Part, heat: str, row: dict[str, Any], known: dict[str, Any]) -> None:
    append(part.out / ROWS, {**row, "heat": heat, **known})


def picture(part: Part) -> None:
    """The picture of the race, of all rows that there are."""
    part.check(PNG, lambda: _picture(part), seconds=0)


def _picture(part: Part) -> str:
    rows = race_rows(read_lines(part.out / ROWS))
    if not rows:
        raise NotHere("no row to draw")
    where = "a dry run on a CPU, which measures nothing" if part.dry else "host memory to host memory"
    try:
        plot(rows, (), f"{read_lines(part.out / ROWS)[0]['preset']}, {where}", part.out / PNG)
    except MissingExtraError as problem:
        raise NotHere(str(problem)) from None
    return f"{len(rows)} rows"


def race_rows(lines: Iterable[dict[str, Any]]) -> list[Row]:
    """The rows of the race, of the reference those of the first heat that has them."""
    found: dict[tuple[str, int], Row] = {}
    for line in lines:
        if line["kind"] == "race" and line["format"] == FORMAT:
            values = {name: line[name] for name in Row.__dataclass_fields__}
            values |= {name: tuple(line[name]) for name in ("outputs", "differs")}
            values["delta"] = {name: float("nan") if x is None else x for name, x in line["delta"].items()}
            row = Row(**values)
            found.setdefault((row.contender, row.batch), row)
    return list(found.values())
