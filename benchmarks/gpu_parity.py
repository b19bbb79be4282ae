"""Is it the same model? Every contender against eager PyTorch in float32, before anything is timed.

An engine of disasym that is further away than an export may be fails the run and is not timed. Autocast and
torch.compile are not ours: how far they are is told, and they are timed as their users would run them.
"""

from pathlib import Path

import numpy as np

from benchmarks.gpu_models import RTX, needs_export, pairs
from benchmarks.gpu_part import CUT, FAIL, INFO, PASS, NotHere, Part, Prevented, Record, read_records, require
from benchmarks.gpu_rtx import runs_here
from disasym.bench.child import opened
from disasym.bench.peers import PEERS
from disasym.engines import EAGER, obstacle
from disasym.engines.base import Engine, usable_cores
from disasym.export.manifest import Parity, read_manifest
from disasym.export.parity import compare
from disasym.spec import OUTPUTS, Array

PARITY, CHECK = "parity", "parity"


def parity(part: Part) -> None:
    """Arguments: the target, the folder of its export. Eager PyTorch on the GPU is compared with that on the CPU."""
    *words, folder = part.arguments
    part.check(CHECK, lambda: _parity(part, " ".join(words), folder), seconds=0)


def _parity(part: Part, target: str, name: str) -> str:
    folder = needs_export(part.work, target, name)
    device = part.device if target in PEERS or target == EAGER.engine else _device(folder, target, part)
    views, source = pairs(part.work)
    views = views[:2] if target == EAGER.engine else views
    with (
        opened(folder, EAGER.engine, OUTPUTS, _reference_device(part, target), usable_cores()) as reference,
        open_contender(folder, target, device) as exported,
    ):
        found = compare(reference, exported, views)
        _stay(exported, views)
    text = f"{', '.join(f'|Δ {each}| {delta:.1e}' for each, delta in found.measured.items())} on {len(views)} {source}"
    return judged(found, f"{text} pairs, batches {' and '.join(map(str, found.batches))}, {device}", target)


def _stay(engine: Engine, views: Array) -> None:
    """What a run returned is the caller's: later runs, which may use memory again, leave it as it is."""
    first = engine.run(views[:1])
    before = {name: value.copy() for name, value in first.named().items()}
    for _ in range(3):
        engine.run(views[1:2])
    changed = [name for name, value in first.named().items() if not np.array_equal(value, before[name])]
    require(not changed, f"later runs wrote into what an earlier one had returned: {', '.join(changed)}")


def judged(found: Parity, text: str, target: str) -> str:
    """The text, if an engine is close enough; a peer need not be: how far it is is told."""
    beyond = ", ".join(f"{name} over {found.tolerance[name]:g}" for name in found.beyond())
    if beyond and target in PEERS:
        raise NotHere(f"{text}; {beyond}")
    require(not beyond, f"{beyond}: {text}")
    return text


def open_contender(folder: Path, target: str, device: str) -> Engine:
    """An engine of an export, eager PyTorch, or one of PEERS."""
    manifest = read_manifest(folder)
    return opened(folder, target, tuple(manifest.outputs), device, usable_cores())


def _reference_device(part: Part, target: str) -> str:
    """Eager PyTorch on the GPU is what all are compared with; it itself is held against the CPU."""
    return "cpu" if target == EAGER.engine else part.device


def _device(folder: Path, target: str, part: Part) -> str:
    """That of this run. NotHere, with the reason, where a target does not run on it; Prevented, where it should."""
    manifest = read_manifest(folder)
    if target not in manifest.targets:
        raise NotHere(f"{folder.name} holds no {target}")
    device, problem = obstacle(manifest.targets[target])
    if device != part.device and not problem:  # onnxruntime without CUDA would run on the processor: not what is asked
        from disasym.engines import ENGINES

        entry = manifest.targets[target]
        backend = ENGINES[entry.engine]
        able = part.device in backend.devices(entry)
        problem = backend.problem(entry, part.device) if able else f"it runs on {device} alone"
    if problem and target == RTX and runs_here(read_records(part.out)):
        raise Prevented(f"{problem}, though TensorRT-RTX runs on this GPU")
    if problem:
        raise NotHere(problem)
    return part.device


def part_of(target: str, folder: str) -> str:
    """The part that checks a contender."""
    return f"{PARITY} {target} {folder}"


def objection(records: list[Record], target: str, folder: str) -> str:
    """Why a contender may not be timed, "" if it may: only what was checked and not found wrong."""
    name = part_of(target, folder)
    found = {one.status: one.detail for one in records if one.part == name}
    if FAIL in found:
        return f"parity: {found[FAIL]}"
    if PASS in found or (INFO in found and target in PEERS):
        return ""
    return f"parity: {found.get(INFO) or found.get(CUT) or 'was not checked'}"
