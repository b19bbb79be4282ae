"""What the machines of a Ray cluster do: load blocks of pairs, score them, find their lesions. Ray is not imported.

A block is what Ray Data hands on: a table with one column of bytes, each a pair. Of a woman nothing but what is in her
films leaves the machine that reads them: the header that is sent to a loader has no patient.
"""

import pickle
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from disasym import __version__
from disasym.data.loaders import keep_freed_memory
from disasym.data.loading import Source
from disasym.dicom import Header
from disasym.dicom.patient import Patient
from disasym.engines import Engine, EngineInfo, load
from disasym.errors import DisasymError, EngineError
from disasym.infer.finish import Finished, finish
from disasym.infer.jobs import Job
from disasym.infer.stages import Failed, Loaded, Scored, Scorer, load_pair
from disasym.infer.wanted import Wanted
from disasym.spec import Array

PAIR = "pair"  # the column
NOBODY = Patient("", "", "", None)
Block = dict[str, npt.NDArray[np.object_]]


@dataclass(frozen=True)
class Model:
    """Which engine every machine opens."""

    path: Path  # absolute; the same files at the same place on every machine
    engine: str
    device: str
    threads: int | None


@dataclass(frozen=True)
class Opened:
    """What one machine made of it."""

    host: str
    version: str  # of disasym
    name: str  # of the engine
    info: EngineInfo | None  # None: it was not opened
    problem: str  # "" if it was opened

    @property
    def identity(self) -> tuple[object, ...]:
        """What rows depend on; equal on all machines."""
        return self.version, self.name, self.info


@dataclass(frozen=True)
class Note:
    """What a machine has to tell of a run beside its pairs."""

    text: str


class ElsewhereEngine(Engine):
    """Stands for an engine that is open on other machines: it says what they run, and runs nothing."""

    def __init__(self, name: str, info: EngineInfo) -> None:
        super().__init__(info)
        self.name = name

    def _infer(self, views: Array) -> dict[str, Array]:
        raise EngineError(f"this {self.name} engine is open on the machines of a cluster, not here")

    def _release(self) -> None:
        pass


def look(model: Model) -> Opened:
    """Open the model on this machine, and close it again; its files are checked against their SHA-256."""
    host = socket.gethostname()
    try:
        with load(model.path, model.engine, model.device, model.threads) as engine:
            return Opened(host, __version__, engine.name, engine.info, "")
    except DisasymError as error:
        return Opened(host, __version__, "", None, str(error))


def versioned() -> Opened:
    """Of a machine that opens no model."""
    return Opened(socket.gethostname(), __version__, "", None, "")


def sees(film: Path) -> tuple[str, bool]:
    """Whether the film is there, and on which machine."""
    return socket.gethostname(), film.is_file()


Entry = Job | Loaded | Scored | Finished | Failed | Note


def packed(pair: Entry) -> bytes:
    """A pair as one entry of a block."""
    return pickle.dumps(pair, protocol=pickle.HIGHEST_PROTOCOL)


def unpacked(block: Block) -> Iterator[Any]:
    """The pairs of a block. They come from other processes of the same run, never from a file."""
    for entry in block[PAIR]:
        yield pickle.loads(entry)  # noqa: S301


def anonymous(job: Job) -> Job:
    """The job without the patients of its films: pairing is over, and a cluster may spill what is sent."""
    return replace(job, right=_anonymous(job.right), left=_anonymous(job.left))


def _anonymous(source: Source) -> Source:
    return replace(source, patient=NOBODY, study_date="") if isinstance(source, Header) else source


def load_block(block: Block, height: int, width: int) -> Iterator[Block]:
    """Jobs → Loaded or Failed, one block a pair."""
    keep_freed_memory()
    for job in unpacked(block):
        yield _block(load_pair(job, height, width))


class ScoreBlock:
    """Loaded → Scored or Failed. Ray keeps one of these open in each actor."""

    def __init__(self, model: Model, batch: int, wanted: Opened) -> None:
        """Open the engine.

        Raises:
            EngineError: it is not the one that this run began with.
        """
        engine = load(model.path, model.engine, model.device, model.threads, shared=True)
        here = Opened(socket.gethostname(), __version__, engine.name, engine.info, "")
        if here.identity != wanted.identity:
            raise EngineError(differ(wanted, here))
        self._scorer = Scorer(engine, batch)

    def __call__(self, block: Block) -> Iterator[Block]:
        pairs = list(unpacked(block))
        ended = iter(self._scorer.score([pair for pair in pairs if isinstance(pair, Loaded)]))
        for pair in pairs:
            yield _block(next(ended) if isinstance(pair, Loaded) else pair)
        if self._scorer.note:
            yield _block(Note(self._scorer.note))


def finish_block(block: Block, name: str, info: EngineInfo, asked: Wanted) -> Iterator[Block]:
    """Scored → Finished or Failed."""
    engine = ElsewhereEngine(name, info)
    for pair in unpacked(block):
        yield _block(finish(pair, engine, asked) if isinstance(pair, Scored) else pair)


def differ(one: Opened, other: Opened) -> str:
    """In which way two machines would make different rows."""
    told = (
        ("disasym", one.version, other.version),
        ("engine", one.name, other.name),
        *((name, _value(one, name), _value(other, name)) for name in ("model_sha256", "precision", "device", "preset")),
    )
    which = ", ".join(f"{name} {a} and {b}" for name, a, b in told if a != b) or "different models"
    return f"{one.host} and {other.host} would give different rows: {which}; install the same on every machine"


def _value(opened: Opened, name: str) -> str:
    return str(getattr(opened.info, name, "none"))[:12]


def _block(pair: Entry) -> Block:
    return {PAIR: np.array([packed(pair)], object)}


def items_of(jobs: Iterable[Job]) -> list[dict[str, bytes]]:
    """One entry a pair."""
    return [{PAIR: packed(anonymous(job))} for job in jobs]
