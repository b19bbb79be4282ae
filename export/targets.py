"""Builds the targets of an export, each into the folder; the manifest entry of each comes back, not yet verified."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime

from disasym.engines.base import EngineInfo
from disasym.export.manifest import ONNX, Target
from disasym.export.options import TARGETS, ExportOptions
from disasym.export.to_onnx import OPSET
from disasym.files import write_whole
from disasym.model import DisAsymNet

UNVERIFIED = "not run yet"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the builders of one export share."""

    folder: Path
    model: DisAsymNet
    info: EngineInfo  # with the precision and outputs that were asked for
    options: ExportOptions
    onnx: bytes  # the graph in that precision; empty when no target is built from it
    logs: dict[str, str] = field(default_factory=dict)  # builders add theirs: target → file
    reports: dict[str, str] = field(default_factory=dict)


def build(name: str, job: Job) -> Target:
    """Build one target into the job's folder."""
    target = BUILDERS[name](job)
    return dataclasses.replace(target, engine=TARGETS[name].engine, parity=UNVERIFIED)


def _onnx(job: Job) -> Target:
    write_whole(job.folder / ONNX, job.onnx)
    return Target(
        engine=None,
        precision=job.info.precision,
        files=(ONNX,),
        max_batch=None,
        versions={"onnxruntime": onnxruntime.__version__},
        facts={"opset": OPSET},
        parity=UNVERIFIED,
    )


BUILDERS: dict[str, Callable[[Job], Target]] = {"onnx": _onnx}
