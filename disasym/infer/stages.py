"""The stages that a pair passes: decoded and preprocessed by several, scored in batches, always in the same order.

Memory is bounded: at most `ahead` pairs are decoded and wait, and those of a batch are scored, at the network's size.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from disasym.ahead import in_order
from disasym.data.loading import Attempts, attempts
from disasym.engines import Engine
from disasym.errors import EngineError, InputError
from disasym.infer.clock import Clock
from disasym.infer.jobs import Job, find_work
from disasym.preprocess import Mammogram
from disasym.spec import Array, Outputs

_log = logging.getLogger(__name__)

IMAGES = ("cam", "normal", "abnormality")  # the outputs of a panel


@dataclass(frozen=True)
class Loaded:
    """Both breasts as the network sees them."""

    job: Job
    right: Mammogram
    left: Mammogram


@dataclass(frozen=True)
class Scored:
    """What the network made of a pair: the outputs of `disasym.spec` without their batch axis."""

    job: Job
    right: Mammogram
    left: Mammogram
    asymmetry: float
    abnormal: tuple[float, float]  # right, left
    cam: Array | None = None  # [2, H/32, W/32]; None: the model was exported without it
    normal: Array | None = None  # [2, H, W]
    abnormality: Array | None = None  # [2, H, W]


@dataclass(frozen=True)
class Failed:
    """A pair without a result, and why: one reason for each file at fault."""

    job: Job
    problems: dict[Path, str]


def load_all(
    jobs: Iterable[Job | None],
    height: int,
    width: int,
    pool: Executor,
    ahead: int,
    clock: Clock | None = None,
    load: Attempts = attempts,
) -> Iterator[Loaded | Failed]:
    """`load_pair` of `jobs` in `pool`; results come in the order of `jobs`, whatever finishes first.

    `ahead` pairs are under way or loaded while earlier ones are scored. None among the jobs: there is none at hand yet.
    """
    clock = clock or Clock()

    def loaded(job: Job) -> Loaded | Failed:
        with clock.busy("decode", job.pair_id):
            return load_pair(job, height, width, load)

    for pair in in_order((pool.submit(loaded, job) if job else None for job in jobs), ahead):
        with clock.waiting("engine", "input"):
            ended = pair.result()
        yield ended


def load_pair(job: Job, height: int, width: int, load: Attempts = attempts) -> Loaded | Failed:
    """Both breasts of a pair, by `load`."""
    sources = (job.right, job.left)
    right, left = load(sources, height, width)
    if isinstance(right, Mammogram) and isinstance(left, Mammogram):
        return Loaded(job, right, left)
    tried = zip(sources, (right, left), strict=True)
    return Failed(job, {source.path: why for source, why in tried if isinstance(why, str)})


def load_views(source: Path, height: int, width: int, most: int = 8) -> Array:
    """The first pairs of a folder or manifest that can be read, as `views` float32 [n, 2, H, W] with n ≤ `most`.

    Raises:
        InputError: there is none.
    """
    pairs = (load_pair(job, height, width) for job in find_work(source).jobs)
    readable = (pair for pair in pairs if isinstance(pair, Loaded))
    views = [[pair.right.pixels, pair.left.pixels] for pair in islice(readable, most)]
    if not views:
        raise InputError(f"{source}: no pair of mammograms that can be read; disasym infer says why")
    return np.array(views)


class Scorer:
    """Runs pairs through an engine, always the same number at a time.

    A batch that is not full is filled up with pairs that it repeats, whose results are dropped: an engine may add up in
    another order for another number of pairs, and what a pair gets must not depend on where a run was cut. A batch that
    does not fit into memory halves `batch` for good.
    """

    def __init__(self, engine: Engine, batch: int) -> None:
        """`batch`: pairs in one run of the engine; fewer if the engine takes no more."""
        self.engine = engine
        self.batch = min(batch, engine.info.max_batch or batch)
        self.asked = self.batch

    @property
    def note(self) -> str:
        """What is to be told of it, "" for nothing."""
        if self.batch == self.asked:
            return ""
        return f"batches of {self.asked} pairs did not fit into memory, so {self.batch} were scored at a time"

    def score(self, pairs: Sequence[Loaded]) -> list[Scored | Failed]:
        """Each pair's result, in their order; a pair fails alone and only for itself."""
        ended: list[Scored | Failed] = []
        while len(ended) < len(pairs):
            ended += self._score(pairs[len(ended) : len(ended) + self.batch])
        return ended

    def _score(self, pairs: Sequence[Loaded]) -> list[Scored | Failed]:
        """At most one batch; of a batch that is too large, fewer than were given. If it fails, halves are tried."""
        try:
            views = np.stack([[pair.right.pixels, pair.left.pixels] for pair in islice(cycle(pairs), self.batch)])
            outputs = self.engine.run(views)
        except MemoryError as error:
            if self.batch > 1:
                self.batch //= 2
                _log.warning("%s", self.note)
                return []
            return self._halves(pairs, error)
        except EngineError as error:
            return self._halves(pairs, error)
        return [_checked(_taken(pair, outputs, at)) for at, pair in enumerate(pairs)]

    def _halves(self, pairs: Sequence[Loaded], error: EngineError | MemoryError) -> list[Scored | Failed]:
        if len(pairs) > 1:
            middle = len(pairs) // 2
            return self.score(pairs[:middle]) + self.score(pairs[middle:])
        job = pairs[0].job
        return [Failed(job, dict.fromkeys((job.right.path, job.left.path), f"not scored: {error}"))]


def score_all(
    pairs: Iterable[Loaded | Failed], scorer: Scorer, clock: Clock | None = None
) -> Iterator[list[Scored | Failed]]:
    """Run `pairs` through the engine, a batch at a time; the order stays, failed ones ride along."""
    clock = clock or Clock()
    held: list[Loaded | Failed] = []
    for pair in pairs:
        held.append(pair)
        if sum(isinstance(each, Loaded) for each in held) >= scorer.batch:
            yield _score_held(held, scorer, clock)
            held = []
    if held:
        yield _score_held(held, scorer, clock)


def _score_held(held: list[Loaded | Failed], scorer: Scorer, clock: Clock) -> list[Scored | Failed]:
    pairs = [pair for pair in held if isinstance(pair, Loaded)]
    with clock.busy("engine", count=len(pairs)):
        scored = iter(scorer.score(pairs))
    return [next(scored) if isinstance(pair, Loaded) else pair for pair in held]


def _taken(pair: Loaded, outputs: Outputs, at: int) -> Scored:
    right, left = (float(p) for p in outputs.abnormal[at])
    return Scored(
        job=pair.job,
        right=pair.right,
        left=pair.left,
        asymmetry=float(outputs.asymmetry[at]),
        abnormal=(right, left),
        **{name: outputs.named()[name][at] for name in IMAGES if name in outputs.named()},
    )


def _checked(scored: Scored) -> Scored | Failed:
    """Nothing that is no probability reaches a result row."""
    for score in (scored.asymmetry, *scored.abnormal):
        if not 0.0 <= score <= 1.0:  # written so that NaN fails too
            reason = f"not scored: the engine returned {score} for a probability; export the model again"
            return Failed(scored.job, dict.fromkeys((scored.job.right.path, scored.job.left.path), reason))
    return scored
