"""`disasym infer --benchmark`: the batches of a run once more, by its engine and by eager PyTorch in turns.

The run itself is as ever: its batches are only kept, with the scores that they got; the last one is filled up with
pairs that it repeats, as the run has it. When it is over and nothing else
is at work, each batch is run by two processes, one for each engine, for in one process their threads slow each other
down. Who begins changes from batch to batch. Eager's scores are compared with those that the run wrote.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from disasym.bench.child import SCORES
from disasym.bench.contenders import Contender, find, named
from disasym.bench.facts import facts
from disasym.bench.process import ContenderError, Running
from disasym.engines import EAGER, Engine, load
from disasym.engines.base import usable_cores
from disasym.errors import InputError
from disasym.export.tolerances import tolerance
from disasym.files import write_whole
from disasym.infer import InferOptions, Summary, default_model
from disasym.infer.results import BENCHMARK
from disasym.infer.run import infer_with
from disasym.spec import Array

FORMAT = "disasym-infer-benchmark-1"
KEPT = 2**29  # bytes of batches that are kept: 128 pairs of the preset `paper`, 2,048 of `small`
LEAST_TURNS = 5  # fewer say nothing of the spread: a run of fewer batches has them run again
PAUSE = 0.1  # seconds between two runs: threads that ran spin on before they sleep, and slow the next (docs/log.md)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Batch:
    """One batch of a run."""

    file: Path  # .npy: views float32 [B, 2, H, W]
    pairs: int
    scores: Mapping[str, Array]  # that the run got for it


class Recorder(Engine):
    """Another engine, which stays open and is the caller's; what it runs is kept, up to KEPT bytes and one batch."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        super().__init__(engine.info)
        self.name = engine.name
        self.batches: list[Batch] = []
        self.left_out = 0  # batches that were run and not kept
        self.problem = ""  # why, if not for their size
        self._engine, self._folder, self._bytes = engine, folder, 0

    def _infer(self, views: Array) -> Mapping[str, Array]:
        outputs = self._engine.run(views).named()
        self._keep(views, {name: outputs[name].copy() for name in SCORES})
        return outputs

    def _keep(self, views: Array, scores: Mapping[str, Array]) -> None:
        """No result is lost because a batch cannot be kept."""
        if self.problem or (self.batches and self._bytes + views.nbytes > KEPT):
            self.left_out += 1
            return
        file = self._folder / f"{len(self.batches)}.npy"
        try:
            np.save(file, views)
        except OSError as error:
            self.problem = f"batches could not be kept in {self._folder} ({error.strerror})"
            self.left_out += 1
            return
        self.batches.append(Batch(file, len(views), scores))
        self._bytes += views.nbytes

    def _release(self) -> None:
        pass


@dataclass(frozen=True)
class Recording:
    """A run that is over, and what it takes to compare its engine with eager PyTorch."""

    summary: Summary
    engine: Contender
    eager: Contender
    threads: int
    batches: tuple[Batch, ...]
    left_out: int
    problem: str


@dataclass(frozen=True)
class Figures:
    """Both engines on the same batches. Times of a pair: a batch's divided by its pairs."""

    engine: str  # "onnxruntime"
    precision: str
    outputs: tuple[str, ...]  # that both computed
    device: str
    threads: int
    batches: int
    pairs: int  # in these batches
    batch_sizes: tuple[int, ...]
    left_out: int  # batches of the run that were not kept
    turns: int  # in which both ran one batch
    engine_ms: float  # a pair, median over the turns
    eager_ms: float
    times_eager: float  # eager / engine of the same batch, median over the turns
    times_eager_p25: float
    times_eager_p75: float
    delta: dict[str, float]  # largest |Δ| of a score between eager and the results of the run
    allowed: dict[str, float]

    @property
    def differs(self) -> tuple[str, ...]:
        """The scores that are further from eager than this precision may be; NaN is further."""
        return tuple(name for name, worst in self.delta.items() if not worst <= self.allowed[name])


@contextmanager
def recorded(options: InferOptions) -> Iterator[Recording]:
    """Run `infer` and keep its batches for as long as the context lasts.

    Raises:
        InputError: the engine is the reference itself, or the reference does not run; nothing was read then.
        Others as `disasym.infer.infer`.
    """
    model = options.model or default_model()
    threads = options.threads or usable_cores()
    with tempfile.TemporaryDirectory(prefix="disasym-") as scratch:
        with load(model, options.engine, options.device, options.threads) as engine:
            contender, eager = _both(model, engine)
            _try_out(eager, engine, Path(scratch), threads)
            recorder = Recorder(engine, Path(scratch))
            summary = infer_with(recorder, options)
        batches = tuple(recorder.batches)
        yield Recording(summary, contender, eager, threads, batches, recorder.left_out, recorder.problem)


def compare(recording: Recording, say: Say) -> Figures | str:
    """Run the batches of a run in turns; or why that could not be done. Both are kept in its benchmark.json.

    Raises:
        InputError: benchmark.json cannot be written.
    """
    found: Figures | str
    if not recording.batches:
        done = recording.summary.already and "all its pairs were done before: add --fresh to score them again"
        found = recording.problem or done or "the run had no batch that an engine could run"
    else:
        try:
            found = _raced(recording, say)
        except ContenderError as error:
            found = str(error)
    _write(recording, found)
    return found


def _both(model: Path, engine: Engine) -> tuple[Contender, Contender]:
    """The run's engine and its reference, as contenders of `disasym bench`."""
    if engine.name == EAGER.engine:
        raise InputError(
            f"--benchmark compares an engine with eager PyTorch, and this run of {model} is eager PyTorch: ask for"
            " another engine; disasym export makes some"
        )
    contenders = find([model], engine.info.device, (engine.name,)).contenders
    own = next(each for each in contenders if each.engine == engine.name)  # the first, as `load` takes it
    eager = next(each for each in contenders if each.engine == EAGER.engine and each.outputs == own.outputs)
    return own, eager


def _try_out(eager: Contender, engine: Engine, scratch: Path, threads: int) -> None:
    """Run the reference on an empty picture: what it lacks shows before the first film is read."""
    blank = scratch / "blank.npy"
    np.save(blank, np.zeros((1, 2, engine.info.height, engine.info.width), np.float32))
    try:
        with Running(eager) as running:
            running.open(blank, threads)
    except ContenderError as error:
        raise InputError(
            f"--benchmark compares with eager PyTorch, which does not run here: {error}; nothing was read, leave"
            " --benchmark out to run without it"
        ) from None


def _raced(recording: Recording, say: Say) -> Figures:
    batches = recording.batches
    turns = list(islice(cycle(batches), max(len(batches), LEAST_TURNS)))
    say(f"starting {recording.engine.name} and {recording.eager.name}")
    with Running(recording.engine) as engine, Running(recording.eager) as eager:
        racers = (engine, eager)
        for racer in racers:
            racer.open(batches[0].file, recording.threads)
            for first in {batch.pairs: batch for batch in reversed(batches)}.values():
                _run(racer, first)  # of each size one to warm up, which is not counted
        seconds: list[tuple[float, float]] = []
        delta = dict.fromkeys(SCORES, 0.0)
        for number, batch in enumerate(turns):
            say(f"comparing with {recording.eager.name}: {number + 1} of {len(turns)} batches")
            ran = {racer: _run(racer, batch) for racer in (racers if number % 2 == 0 else racers[::-1])}
            seconds.append((ran[engine][0] / batch.pairs, ran[eager][0] / batch.pairs))
            for name, expected in ran[eager][1].items():
                worst = np.abs(np.array(expected) - batch.scores[name]).max()
                delta[name] = float(np.maximum(delta[name], worst))  # maximum keeps NaN
    return _figures(recording, np.array(seconds), delta)


def _run(racer: Running, batch: Batch) -> tuple[float, dict[str, list[float]]]:
    time.sleep(PAUSE)
    try:
        answer = racer.ask("batch", views=str(batch.file))
    except ContenderError as error:
        raise ContenderError(f"{racer.contender.name} on a batch of {batch.pairs}: {error}", error.alive) from None
    return answer["seconds"], answer["scores"]


def _figures(recording: Recording, seconds: "np.ndarray", delta: dict[str, float]) -> Figures:
    """`seconds` [turns, 2] of a pair: engine, eager."""
    engine, batches = recording.engine, recording.batches
    p25, p50, p75 = np.percentile(seconds[:, 1] / seconds[:, 0], (25, 50, 75))
    engine_ms, eager_ms = np.median(seconds, axis=0) * 1e3
    return Figures(
        engine=engine.engine,
        precision=engine.precision,
        outputs=engine.outputs,
        device=engine.device,
        threads=recording.threads,
        batches=len(batches),
        pairs=sum(batch.pairs for batch in batches),
        batch_sizes=tuple(sorted({batch.pairs for batch in batches})),
        left_out=recording.left_out,
        turns=len(seconds),
        engine_ms=float(engine_ms),
        eager_ms=float(eager_ms),
        times_eager=float(p50),
        times_eager_p25=float(p25),
        times_eager_p75=float(p75),
        delta=delta,
        allowed={name: tolerance(engine.precision, name) for name in SCORES},
    )


def _write(recording: Recording, found: Figures | str) -> None:
    values: dict[str, object] = {"format": FORMAT, "model_sha256": recording.summary.model_sha256}
    if isinstance(found, str):
        values |= {"engine": recording.engine.engine, "problem": found}
    else:
        finite = {name: worst if math.isfinite(worst) else None for name, worst in found.delta.items()}
        values |= {**asdict(found), "delta": finite, "differs": found.differs, "problem": recording.problem}
    values |= facts(recording.engine.device)
    file = recording.summary.out / BENCHMARK
    try:
        write_whole(file, (json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode())
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror}); the results of the run stand") from None


def told(found: Figures | str, problem: str = "") -> dict[str, str]:
    """The comparison for a summary, by label. `problem`: why some batches were not kept."""
    if isinstance(found, str):
        return {"speed": f"not compared with eager PyTorch: {found}"}
    worst = max(found.differs or SCORES, key=lambda name: found.delta[name])
    parity = f"|Δ {worst}| at most {found.delta[worst]:.1e}, {found.allowed[worst]:g} is allowed in {found.precision}"
    if found.differs:
        return {"speed": "no merit where results differ", "parity": f"DIFFERS: {parity}; run disasym verify"}
    spread = f"{found.times_eager:.2f} ({found.times_eager_p25:.2f}–{found.times_eager_p75:.2f}) times as fast"
    sizes = " and ".join(map(str, found.batch_sizes))
    seen = f"{found.turns} turns, batches of {sizes}"
    if found.left_out:
        seen += f"; the first {found.batches} of {found.batches + found.left_out} batches"
    own, eager = (named(*kind, found.outputs) for kind in ((found.engine, found.precision), (EAGER.engine, "fp32")))
    times = f"{own} {found.engine_ms:.3g} ms a pair, {eager} {found.eager_ms:.3g} ms: {spread}"
    return {"speed": f"{times} ({seen}{f': {problem}' if problem else ''})", "parity": parity}


def exit_code(found: Figures | str) -> int:
    """1 where nothing could be compared, or the results differ."""
    return 1 if isinstance(found, str) or found.differs else 0
