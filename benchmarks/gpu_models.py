"""The parts of `benchmarks.gpu_engines` that make what is measured: weights, pairs, exports."""

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.gpu_part import INFO, NotHere, Part, read_records, require
from benchmarks.gpu_rtx import MODULE, runs_here
from disasym.bench.lively import lively
from disasym.bench.peers import PEERS
from disasym.checkpoint import read_config, save_model
from disasym.engines import EAGER
from disasym.engines.ort import cuda_problem
from disasym.export import ExportOptions, export
from disasym.export.manifest import MANIFEST, PT2, Manifest
from disasym.export.parity import synthetic_pairs
from disasym.model import PRESETS
from disasym.spec import Array, check_views

WEIGHTS, PAIRS, SOURCE = "weights.safetensors", "pairs.npy", "pairs.json"
RTX, AOTI = "tensorrt-rtx", "aotinductor"
LARGEST = 64  # pairs in a batch
SYNTHETIC = 6  # pairs, where no real ones are given
GATE = 3  # pairs of the gate on the processor, before the GPU is asked


@dataclasses.dataclass(frozen=True)
class Kind:
    """One export."""

    precision: str
    outputs: str
    targets: tuple[str, ...]


KINDS = {  # name of the folder → what it holds
    "fp32": Kind("fp32", "all", ("onnx", RTX)),
    "fp16": Kind("fp16", "all", ("onnx", RTX)),
    "fp16-scores": Kind("fp16", "scores", ("onnx", RTX)),
    "bf16": Kind("bf16", "all", ("onnx", RTX)),
    "aotinductor": Kind("fp32", "all", (AOTI,)),
    "aotinductor-fp16": Kind("fp16", "all", (AOTI,)),
    "aotinductor-fp16-scores": Kind("fp16", "scores", (AOTI,)),
    "aotinductor-bf16": Kind("bf16", "all", (AOTI,)),
    "weights": Kind("fp32", "all", ("onnx",)),  # made on every machine: what eager PyTorch and its peers run from
}


def models(part: Part) -> None:
    """The weights that were named, else lively random ones, always the same; and the pairs that all is compared on."""
    preset = "small" if part.dry else "paper"
    if part.weights is None:
        network = lively(preset)
        save_model(part.work / WEIGHTS, network, preset=preset)
        config = network.config
    else:
        shutil.copyfile(part.weights, part.work / WEIGHTS)
        config = read_config(part.work / WEIGHTS)
        preset = next((name for name, known in PRESETS.items() if known == config), "custom")
    views, source = _pairs(part.pairs, config.height, config.width)
    np.save(part.work / PAIRS, views)
    (part.work / SOURCE).write_text(json.dumps(source), encoding="utf-8")
    kind = "named" if part.weights else "random"
    part.report("pairs", INFO, f"{len(views)} {source} pairs, preset {preset}, {kind} weights")


def _pairs(named: Path | None, height: int, width: int) -> tuple[Array, str]:
    if named is None:
        return synthetic_pairs(height, width, SYNTHETIC), "synthetic"
    with np.load(named) as file:
        views = file["views"].astype(np.float32)
    check_views(views, height, width)
    return views, "real"


def pairs(work: Path) -> tuple[Array, str]:
    """float32 [n, 2, H, W], and "real" or "synthetic"."""
    return np.load(work / PAIRS), json.loads((work / SOURCE).read_text(encoding="utf-8"))


def make(part: Part) -> None:
    """One export, by its name in KINDS. TensorRT-RTX's engine is built as without a GPU, and not run yet."""
    (name,) = part.arguments
    part.check("export", lambda: _export(part, KINDS[name], part.work / name), seconds=0)


def _export(part: Part, kind: Kind, folder: Path) -> str:
    if RTX in kind.targets and not part.dry and not runs_here(read_records(part.out)) and (problem := cuda_problem()):
        raise NotHere(f"neither TensorRT-RTX nor onnxruntime would run it on this GPU: {problem}")
    views, source = pairs(part.work)
    gate = views[:GATE] if source == "real" else None
    targets = tuple(name for name in kind.targets if name != RTX or importlib.util.find_spec(MODULE))
    options = ExportOptions(kind.precision, targets, kind.outputs, LARGEST, parity_views=gate)
    manifest = export(part.work / WEIGHTS, folder, options)
    told = [f"{name}: {_told(manifest, name)}" for name in manifest.targets]
    told += [f"{name}: {MODULE} is absent" for name in kind.targets if name not in targets]
    if AOTI in kind.targets and not part.dry:
        require(has_kernel(folder / PT2), f"{PT2} does not hold the Triton kernel: {'; '.join(told)}")
        told.append("the Triton kernel is in the package")
    return "; ".join(told)


def _told(manifest: Manifest, target: str) -> str:
    entry = manifest.targets[target]
    if isinstance(entry.parity, str):
        return entry.parity
    return ", ".join(f"|Δ {name}| {delta:.1e}" for name, delta in entry.parity.measured.items())


def has_kernel(package: Path) -> bool:
    """Whether a package carries our kernel along: the wrapper that calls it names it."""
    import zipfile

    with zipfile.ZipFile(package) as archive:
        return any(b"attention_forward" in archive.read(name) for name in archive.namelist())


def needs_export(work: Path, target: str, name: str) -> Path:
    """The folder of an export that was made. NotHere if it was not.

    What runs the weights themselves takes any export of all outputs: all hold the same float32 weights.
    """
    names = [name]
    if target == EAGER.engine or target in PEERS:
        names += [other for other, kind in KINDS.items() if kind.outputs == "all"]
    for each in names:
        if (work / each / MANIFEST).is_file():
            return work / each
    raise NotHere(f"the export {name} was not made")
