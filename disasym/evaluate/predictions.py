"""What a model says of pairs: the same stages as `disasym infer`, without its files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from disasym.data.manifest import PairRow
from disasym.engines import Engine
from disasym.engines.base import usable_cores
from disasym.evaluate.part import Key, Pair
from disasym.infer.stages import Scored, Scorer, load_all, score_all
from disasym.spec import Array


@dataclass(frozen=True)
class Model:
    """Which model said it, and through which engine."""

    path: str
    sha256: str  # of the weights
    preset: str
    engine: str
    precision: str
    height: int
    width: int
    calibrated: bool = False  # its probabilities went through temperatures


@dataclass(frozen=True)
class Predictions:
    """P pairs in the order of the manifest; those without a result are in `failed`."""

    model: Model
    scored: tuple[Pair, ...]
    asymmetry: Array  # [P]
    abnormal: Array  # [P, 2] right, left
    failed: tuple[tuple[str, str], ...]  # file, reason

    @property
    def pairs(self) -> tuple[PairRow, ...]:
        return tuple(pair.rows for pair in self.scored)

    @property
    def women(self) -> tuple[str, ...]:
        return tuple(pair.woman for pair in self.scored)

    def only(self, keys: set[Key]) -> "Predictions":
        """Those of these pairs."""
        kept = [at for at, pair in enumerate(self.scored) if pair.key in keys]
        return Predictions(
            self.model, tuple(self.scored[at] for at in kept), self.asymmetry[kept], self.abnormal[kept], self.failed
        )


def predict(
    path: str,
    engine: Engine,
    pairs: Sequence[Pair],
    batch: int = 4,
    workers: int | None = None,
    done: Callable[[int], None] = lambda _: None,
    look: Callable[[Pair, Scored], None] = lambda _, __: None,
) -> Predictions:
    """Run every pair through the engine.

    Args:
        path: what the model is called in tables.
        batch: pairs in one run of the engine.
        workers: pairs decoded at a time; None: one a usable core.
        done: called with the number of pairs that are through.
        look: called with each pair that was scored and all that the model made of it, which is dropped afterwards.
    """
    workers, scorer = workers or usable_cores(), Scorer(engine, batch)
    by_job = {id(pair.job): pair for pair in pairs}
    scored: list[Pair] = []
    asymmetry: list[float] = []
    abnormal: list[tuple[float, float]] = []
    failed: list[tuple[str, str]] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="disasym") as pool:
        jobs = [pair.job for pair in pairs]
        loaded = load_all(jobs, engine.info.height, engine.info.width, pool, ahead=workers + scorer.batch)
        for ended in score_all(loaded, scorer):
            for each in ended:
                if isinstance(each, Scored):
                    look(by_job[id(each.job)], each)
                    scored.append(by_job[id(each.job)])
                    asymmetry.append(each.asymmetry)
                    abnormal.append(each.abnormal)
                else:
                    failed += [(str(file), reason) for file, reason in each.problems.items()]
            done(len(ended))
    return Predictions(
        model=Model(
            path=path,
            sha256=engine.info.model_sha256,
            preset=engine.info.preset,
            engine=engine.name,
            precision=engine.info.precision,
            height=engine.info.height,
            width=engine.info.width,
            calibrated=engine.info.calibrated,
        ),
        scored=tuple(scored),
        asymmetry=np.array(asymmetry, np.float32),
        abnormal=np.array(abnormal, np.float32).reshape(-1, 2),
        failed=tuple(failed),
    )
