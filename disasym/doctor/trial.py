"""The model that would be used, tried: its manifest, its files' hashes, its parity, and one synthetic pair run on it.

Everything runs in a process of its own, so that the start-up time is that of a fresh `disasym infer`, and a library
that crashes or hangs is a finding.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disasym.doctor.child import Answer, ask, sentence
from disasym.doctor.findings import Finding

SECONDS = 180.0  # an engine that compiles itself for the GPU at first start takes its time


@dataclass(frozen=True)
class Run:
    """One engine on one device, tried."""

    engine: str  # as asked for, or the one that "auto" chose
    device: str
    runs: bool
    problem: str  # empty if it runs
    start_seconds: float | None = None  # from an empty process to an open engine
    pair_seconds: float | None = None  # the first pair, which also pays for warming up


@dataclass(frozen=True)
class ParityRow:
    """How far one target of an export was measured to be from PyTorch when it was made."""

    target: str
    measured: dict[str, float]  # output → largest |Δ|
    tolerance: dict[str, float]
    pairs: int
    source: str  # "real" or "synthetic"
    not_measured: str = ""  # or why it was not measured

    @property
    def within(self) -> bool:
        return all(delta <= self.tolerance.get(name, 0.0) for name, delta in self.measured.items())


@dataclass(frozen=True)
class Model:
    """A model and what was found of it; facts that could not be found are None or empty."""

    path: str
    source: str  # "--model", "DISASYM_MODEL" or "bundled"
    manifest: dict[str, Any] | None  # the content of manifest.json; None for a weights file, or if unreadable
    parity: tuple[ParityRow, ...]
    hashes: dict[str, bool]  # file → whether its SHA-256 is the manifest's
    run: Run
    problems: tuple[str, ...]  # beside that of the run: files that other engines would need, and documents


@dataclass(frozen=True)
class Trial:
    """What the process that tried the model found out on its way."""

    model: Model
    engines: tuple[str, ...]  # every engine that this version of disasym has
    providers: tuple[str, ...] | None  # of onnxruntime; None: it could not be asked


def source_of(model: Path | None) -> tuple[str, Path | None]:
    """Where the model comes from; None for the bundled one."""
    if model is not None:
        return "--model", model
    named = os.environ.get("DISASYM_MODEL")
    return ("DISASYM_MODEL", Path(named)) if named else ("bundled", None)


def look(model: Path | None, engine: str, device: str, seconds: float = SECONDS) -> Trial:
    """Try `model` (None: the default) on `engine` and `device`."""
    source, path = source_of(model)
    arguments = {"model": None if path is None else str(path), "engine": engine, "device": device}
    answer = ask("disasym.doctor.trial:attempt", {**arguments, "began": time.time()}, seconds)
    return understood(answer, source, str(path or "the bundled demonstration"), engine, device)


def attempt_engine(model: str, engine: str, device: str, seconds: float = SECONDS) -> Run:
    """Only whether one engine runs the model."""
    arguments = {"model": model, "engine": engine, "device": device, "began": time.time()}
    return _run(ask("disasym.doctor.trial:start", arguments, seconds), engine, device)


def understood(answer: Answer, source: str, path: str, engine: str, device: str) -> Trial:
    """The answer of `attempt`."""
    facts = answer.facts
    run = _run(answer, engine, device)
    problems = facts.get("hash_problems", {})
    model = Model(
        path=facts.get("path", path),
        source=source,
        manifest=facts.get("manifest"),
        parity=_parity(facts.get("manifest")),
        hashes=facts.get("hashes", {}),
        run=run,
        problems=tuple(text for file, text in problems.items() if file not in run.problem),  # each said once
    )
    providers = facts.get("providers")
    return Trial(
        model=model,
        engines=tuple(facts.get("engines", ())),
        providers=None if providers is None else tuple(providers),
    )


def attempt(model: str | None, engine: str, device: str, began: float) -> Iterator[dict[str, Any]]:
    """Everything about a model; `began` is when this process was asked for, in seconds since the epoch."""
    from disasym.engines import ENGINES

    yield {"engines": list(ENGINES)}
    import disasym.infer  # and with it all that `disasym infer` needs

    path = disasym.infer.default_model() if model is None else Path(model)
    yield {"path": str(path)}
    before = time.time()
    yield from _described(path)
    yield from start(str(path), engine, device, began + time.time() - before)
    yield from _providers()


def start(model: str, engine: str, device: str, began: float) -> Iterator[dict[str, Any]]:
    """Open the engine and run one pair."""
    import numpy as np

    from disasym.engines import load

    yield {"opening": model}
    try:
        with load(Path(model), engine, device) as opened:
            yield {"engine": opened.name, "device": opened.info.device, "start_seconds": time.time() - began}
            from disasym.export.parity import synthetic_pairs

            views = synthetic_pairs(opened.info.height, opened.info.width, n=1)
            before = time.time()
            outputs = opened.run(views)
            yield {"pair_seconds": time.time() - before}
            wrong = [
                name for name, value in vars(outputs).items() if value is not None and not np.isfinite(value).all()
            ]
            yield {"run_problem": f"NaN or infinity in {', '.join(wrong)}"} if wrong else {"runs": True}
    except Exception as error:  # any failure of a framework is the finding
        yield {"run_problem": sentence(error)}


def _described(path: Path) -> Iterator[dict[str, Any]]:
    """The manifest, and whether each file is still the one it was written for."""
    import dataclasses

    from disasym.export.manifest import read_manifest
    from disasym.files import sha256_of

    if not path.is_dir():
        return
    try:
        manifest = read_manifest(path)
    except Exception:  # the engine that is started next refuses it with the same words
        return
    yield {"manifest": dataclasses.asdict(manifest)}
    hashes: dict[str, bool] = {}
    problems: dict[str, str] = {}
    for name, wanted in manifest.files.items():
        file = path / name
        try:
            hashes[name] = sha256_of(file) == wanted
            problem = "" if hashes[name] else "is not the file of its manifest, its SHA-256 differs"
        except OSError as error:
            hashes[name], problem = False, f"cannot be read: {error.strerror}"
        if problem:
            problems[str(file)] = f"{file} {problem}: copy the export again"
        yield {"hashes": hashes, "hash_problems": problems}


def _providers() -> Iterator[dict[str, Any]]:
    try:
        import onnxruntime

        yield {"providers": list(onnxruntime.get_available_providers())}
    except Exception:  # a module that two distributions wrote can fail in any way; the run has said how
        yield {"providers": None}


def _parity(manifest: dict[str, Any] | None) -> tuple[ParityRow, ...]:
    """One row a target."""
    if manifest is None:
        return ()
    rows = []
    for name, target in manifest["targets"].items():
        parity = target["parity"]
        if isinstance(parity, str):
            rows.append(ParityRow(name, {}, {}, 0, "", parity))
        else:
            rows.append(ParityRow(name, *(parity[key] for key in ("measured", "tolerance", "pairs", "source"))))
    return tuple(rows)


def _run(answer: Answer, engine: str, device: str) -> Run:
    facts = answer.facts
    problem = facts.get("run_problem") or ("" if facts.get("runs") else _broken_off(answer))
    return Run(
        engine=facts.get("engine", engine),
        device=facts.get("device", device),
        runs=bool(facts.get("runs")) and not problem,
        problem=problem,
        start_seconds=facts.get("start_seconds"),
        pair_seconds=facts.get("pair_seconds"),
    )


def _broken_off(answer: Answer) -> str:
    """A process that ended before it knew: while doing what."""
    facts = answer.facts
    if not facts.keys() & {"path", "opening"}:
        return f"disasym cannot be imported: {answer.problem}; install it again: pip install --force-reinstall disasym"
    if "opening" not in facts:
        return f"while its files were read: {answer.problem}"
    return f"while {'a pair was run' if 'start_seconds' in facts else 'the engine was opened'}: {answer.problem}"


def findings(model: Model) -> list[Finding]:
    """What keeps the model from running, and what else is wrong with it."""
    found = [] if model.run.runs else [Finding("failed", "model", model.run.problem)]
    found += [Finding("warning", "model", problem) for problem in model.problems]
    for row in model.parity:
        if not row.within:
            text = f"{row.target} was measured to be further from PyTorch than its manifest accepts: export it again"
            found.append(Finding("warning", "model", text))
    return found
