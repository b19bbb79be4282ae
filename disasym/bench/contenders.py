"""Who runs: every target that this machine can run, eager PyTorch beside them; and who does not, and why."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from disasym.bench.peers import PEERS
from disasym.engines import EAGER, ENGINES, obstacle
from disasym.errors import InputError
from disasym.export.manifest import PRECISIONS, Manifest, Target, read_manifest
from disasym.export.options import TARGETS
from disasym.spec import OUTPUT_SETS, OUTPUTS

REFERENCE = "eager fp32"


@dataclass(frozen=True)
class Contender:
    """One way to run the model."""

    name: str  # "onnxruntime int8, scores"; no two are alike
    folder: Path  # the export
    target: str  # a key of its manifest's targets, "eager", or one of PEERS
    engine: str  # a name in disasym.engines.ENGINES, or that of the peer
    precision: str
    outputs: tuple[str, ...]
    device: str  # "cpu" or "cuda"
    max_batch: int | None


@dataclass(frozen=True)
class Absent:
    """Who or what did not run, and why; never silently absent."""

    name: str
    reason: str
    engine: str = ""


@dataclass(frozen=True)
class Field:
    """All contenders of one model, the reference first."""

    contenders: tuple[Contender, ...]
    absent: tuple[Absent, ...]
    manifest: Manifest  # of the first export: model, preset and size are the same in all


def find(exports: Sequence[Path], device: str, engines: Sequence[str] = (), compiled: bool = False) -> Field:
    """The contenders of these exports on a device.

    Args:
        exports: folders of `disasym export`, of the same weights.
        engines: only these; () means all. The reference always runs.
        compiled: race torch.compile too.

    Raises:
        InputError: an unknown engine, or exports of different weights.
        EngineError: a folder is no export.
    """
    known = tuple(dict.fromkeys((*ENGINES, *(peer.split()[0] for peer in PEERS))))
    if unknown := [name for name in engines if name not in known]:
        raise InputError(f"unknown engine {unknown[0]!r}: choose from {', '.join(known)}")
    manifests = {folder: read_manifest(folder) for folder in exports}
    _refuse_different(manifests)
    others = [*_targets(manifests, device), *_peers(manifests, device, compiled), *_not_exported(manifests)]
    chosen = [each for each in others if not engines or each.engine in engines]
    racing = [*_eager(manifests, device), *(each for each in chosen if isinstance(each, Contender))]
    absent = tuple(each for each in chosen if isinstance(each, Absent))
    return Field(tuple(_told_apart(racing)), absent, next(iter(manifests.values())))


def _refuse_different(manifests: dict[Path, Manifest]) -> None:
    (first, one), *others = manifests.items()
    for folder, manifest in others:
        if manifest.model_sha256 != one.model_sha256:
            raise InputError(
                f"{first} and {folder} hold different weights (SHA-256 {one.model_sha256[:12]} and"
                f" {manifest.model_sha256[:12]}): a race is between engines of one model, run one for each"
            )


def _eager(manifests: dict[Path, Manifest], device: str) -> Iterator[Contender]:
    """The reference with all outputs, and eager with fewer where an export has fewer: the fair peer of that."""
    sets = {OUTPUTS, *(tuple(manifest.outputs) for manifest in manifests.values())}
    for outputs in sorted(sets, key=len, reverse=True):
        folder = next(iter(manifests))
        yield Contender(named("eager", "fp32", outputs), folder, EAGER.engine, "eager", "fp32", outputs, device, None)


def _targets(manifests: dict[Path, Manifest], device: str) -> Iterator[Contender | Absent]:
    for folder, manifest in manifests.items():
        seen: dict[tuple[str, str], str] = {}  # engine and the hash of what it opens → target
        outputs = tuple(manifest.outputs)
        for key, target in manifest.targets.items():
            name = named(target.engine, target.precision, outputs)
            same = seen.setdefault((target.engine, manifest.files[target.files[0]]), key)
            if same != key:
                why = f"target {key} of {folder} is the same file as {same}, which is raced"
                yield Absent(name, why, target.engine)
            elif problem := _problem(target, device):
                yield Absent(name, f"{problem} (target {key} of {folder})", target.engine)
            else:
                engine, precision = target.engine, target.precision
                yield Contender(name, folder, key, engine, precision, outputs, device, target.max_batch)


def _problem(target: Target, device: str) -> str:
    if target.engine not in ENGINES:
        return obstacle(target)[1]
    backend = ENGINES[target.engine]
    able = backend.devices(target)
    if device in able:
        return backend.problem(target, device)
    return obstacle(target)[1] or f"it does not run on {device}: --device {able[0]}"


def _peers(manifests: dict[Path, Manifest], device: str, compiled: bool) -> Iterator[Contender | Absent]:
    folder = next(iter(manifests))
    for name, precision in PEERS.items():
        engine = name.split()[0]
        shown = named(engine, precision, OUTPUTS)
        if name == "torch.compile" and not compiled:
            yield Absent(shown, "not asked for, it takes a while to compile: --compile", engine)
        elif name != "torch.compile" and device != "cuda":
            yield Absent(shown, "for GPUs only: --device cuda", engine)
        else:
            yield Contender(shown, folder, name, engine, precision, OUTPUTS, device, None)


def _not_exported(manifests: dict[Path, Manifest]) -> Iterator[Absent]:
    """Engines and precisions that none of the exports has."""
    targets = [target for manifest in manifests.values() for target in manifest.targets.values()]
    for engine in ENGINES:
        kinds = ",".join(name for name, kind in TARGETS.items() if kind.engine == engine)
        if engine != EAGER.engine and not any(target.engine == engine for target in targets):
            yield Absent(engine, f"no export given has it: disasym export --to {kinds}", engine)
    for precision in PRECISIONS:
        if not any(target.precision == precision for target in targets):
            flag = "" if precision == "fp32" else f" --{precision}"
            yield Absent(precision, f"no export given has it: disasym export{flag}")


def _told_apart(contenders: list[Contender]) -> Iterator[Contender]:
    """Contenders of the same name get the folder of their export behind it."""
    names = [each.name for each in contenders]
    for each in contenders:
        alike = names.count(each.name) > 1
        yield dataclasses.replace(each, name=f"{each.name} ({each.folder}: {each.target})") if alike else each


def named(engine: str, precision: str, outputs: tuple[str, ...]) -> str:
    """What a contender is called."""
    kind = next(name for name, each in OUTPUT_SETS.items() if each == tuple(outputs))
    return f"{engine} {precision}" + ("" if kind == "all" else f", {kind}")
