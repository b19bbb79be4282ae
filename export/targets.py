"""Builds the targets of an export, each into the folder; the manifest entry of each comes back, not yet verified."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnxruntime
import torch

from disasym.engines.base import EngineInfo
from disasym.export.fp32_shape import shape_for_fp32
from disasym.export.manifest import ONNX, PT2, Target
from disasym.export.options import PLUGGED, ExportOptions
from disasym.export.tensorrt_library import Flavour
from disasym.export.to_onnx import OPSET
from disasym.export.triton_server import VNNI_SERVER, write_plan_repository, write_repository
from disasym.files import write_whole
from disasym.model import DisAsymNet

if TYPE_CHECKING:
    from disasym.export.to_tensorrt import Built

UNVERIFIED = "not run yet"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the builders of one export share."""

    folder: Path
    earlier: Path  # the export that this one will replace, if there is one
    model: DisAsymNet
    info: EngineInfo  # with the precision and outputs that were asked for
    options: ExportOptions
    onnx: bytes  # the graph in that precision; empty when no target is built from it
    logs: dict[str, str] = field(default_factory=dict)  # builders add theirs: target → file


def build(name: str, job: Job) -> Target:
    """Build one target into the job's folder."""
    return BUILDERS[name](job)


def _onnx(job: Job) -> Target:
    write_whole(job.folder / ONNX, _for_onnxruntime(job))
    return _of_onnxruntime(job, (ONNX,), None)


def _triton_server(job: Job) -> Target:
    info, most = job.info, job.options.max_batch
    graph = _for_onnxruntime(job)
    needs = VNNI_SERVER if info.precision == "int8" else ""
    files = write_repository(job.folder, "triton-server", graph, info.height, info.width, info.outputs, most, needs)
    target = _of_onnxruntime(job, files, most)
    return dataclasses.replace(target, facts={**target.facts, "needs": needs}) if needs else target


def _for_onnxruntime(job: Job) -> bytes:
    """The graph that runs fastest there: in fp32 with fewer multiplications; int8 has its own shape already."""
    if job.info.precision != "fp32":
        return job.onnx
    shaped: bytes = shape_for_fp32(onnx.load_from_string(job.onnx)).SerializeToString(deterministic=True)
    return shaped


def _of_onnxruntime(job: Job, files: tuple[str, ...], max_batch: int | None) -> Target:
    return Target(
        engine="onnxruntime",
        precision=job.info.precision,
        files=files,
        max_batch=max_batch,
        versions={"onnxruntime": onnxruntime.__version__},
        facts={"opset": OPSET},
        parity=UNVERIFIED,
    )


def _aotinductor(job: Job) -> Target:
    from disasym.export.to_aotinductor import to_aotinductor

    device, most = "cuda" if torch.cuda.is_available() else "cpu", job.options.max_batch
    facts = to_aotinductor(job.model, job.folder / PT2, job.info.outputs, most, device, job.info.precision)
    return Target(
        engine="aotinductor",
        precision=job.info.precision,
        files=(PT2,),
        max_batch=most,
        versions={"torch": str(torch.__version__)},
        facts=facts,
        parity=UNVERIFIED,
    )


def _tensorrt(job: Job, flavour: Flavour) -> Target:
    """Engine, log and layer list in a folder of their own; it runs with exactly the version that built it."""
    built = _engine(job, flavour, flavour)
    return _of_tensorrt(job, flavour, built, (built.engine.relative_to(job.folder).as_posix(),))


def _triton_server_tensorrt(job: Job) -> Target:
    """The same engine as of `tensorrt` in a model repository; log, layers and timing cache lie beside that."""
    name = "triton-server-tensorrt"
    built, info = _engine(job, "tensorrt", name), job.info
    place, tuned = f"{name}/repository", built.facts["batches"]["tuned_for"]
    files = write_plan_repository(
        job.folder, place, built.engine, info.height, info.width, info.outputs, built.max_batch, tuned
    )
    return _of_tensorrt(job, "tensorrt", built, files)


def _engine(job: Job, flavour: Flavour, name: str) -> "Built":
    """Build into a folder with the target's name, from the timing cache that an earlier export has there."""
    from disasym.export.to_tensorrt import TIMINGS, build

    place, before = job.folder / name, job.earlier / name / TIMINGS
    place.mkdir()
    timings = before.read_bytes() if before.is_file() else b""
    plugin = job.options.plugin and name == PLUGGED
    built = build(job.onnx, place, flavour=flavour, max_batch=job.options.max_batch, timings=timings, plugin=plugin)
    job.logs[name] = built.log.relative_to(job.folder).as_posix()
    return built


def _of_tensorrt(job: Job, flavour: Flavour, built: "Built", files: tuple[str, ...]) -> Target:
    layers = built.layers.relative_to(job.folder).as_posix()
    return Target(
        engine=flavour,
        precision=job.info.precision,
        files=files,
        max_batch=built.max_batch,
        versions=built.versions,
        facts={**built.facts, "layers": layers, "warnings": list(built.warnings)},
        parity=UNVERIFIED,
    )


BUILDERS: dict[str, Callable[[Job], Target]] = {
    "onnx": _onnx,
    "aotinductor": _aotinductor,
    "triton-server": _triton_server,
    "triton-server-tensorrt": _triton_server_tensorrt,
    "tensorrt-rtx": lambda job: _tensorrt(job, "tensorrt-rtx"),
    "tensorrt": lambda job: _tensorrt(job, "tensorrt"),
}
