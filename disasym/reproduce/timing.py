"""How long runs take: from their own epochs where there are any, else from the first steps of each method."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from disasym.files import write_whole
from disasym.reproduce.frozen import features, network_of
from disasym.reproduce.options import FROZEN, ReproduceOptions
from disasym.reproduce.plan import DONE, Cell
from disasym.reproduce.study import some_of
from disasym.train.dataset import EpochBatches, PairStore, TrainingPairs, loader
from disasym.train.options import TrainOptions
from disasym.train.processes import Processes
from disasym.train.run import banks_of, initial_model
from disasym.train.state import read_header
from disasym.train.step import Step

TIMED = 2  # steps, after one that warms up
SPEEDS = "speeds.json"  # seconds a training step of a method takes, by data set


def measure(cell: Cell, options: ReproduceOptions, processes: Processes) -> float:
    """Seconds of a training step of this method, and of what it needs from disk; nothing is kept of it."""
    if cell.method == FROZEN:
        return measure_frozen(cell, options, processes)
    told = options.run_options(cell.method, cell.folder)
    step = Step(initial_model(told, processes.device), told.weights, told.precision, processes, told.freeze)
    step.set_learning_rate(told.lr, told.lr)
    store = PairStore(told.cache_folder, told.config.height, told.config.width)
    pairs = TrainingPairs(cell.parts.train, store, banks_of(told), told.seed)
    batches = EpochBatches(len(pairs), told.batch, told.seed, processes)
    started, steps = time.perf_counter(), -1
    while steps < TIMED:  # an epoch may be shorter
        for batch in loader(pairs, batches, 0, pin=False):
            if steps == 0:
                started = time.perf_counter()
            step(batch.to(processes.device)).sum().item()  # until it is done
            steps += 1
            if steps == TIMED:
                break
    return (time.perf_counter() - started) / TIMED


def measure_frozen(cell: Cell, options: ReproduceOptions, processes: Processes) -> float:
    """Seconds of the features of a batch."""
    network, batch = network_of(options, processes.device), cell.parts.train[: options.training.batch]
    features(network, batch, options, processes)  # warms up
    started = time.perf_counter()
    features(network, batch, options, processes)
    return time.perf_counter() - started


class Clock:
    """Seconds that are left, run by run; a file in the folder remembers what was measured."""

    def __init__(self, options: ReproduceOptions) -> None:
        self.options = options
        self.path = options.training.out / SPEEDS
        self.speeds: dict[str, float] = json.loads(self.path.read_text()) if self.path.is_file() else {}

    def learn(self, cell: Cell, seconds_a_step: float, write: bool) -> None:
        """A method's speed on a data set, measured or seen."""
        self.speeds[self._key(cell)] = round(seconds_a_step, 4)
        if write:
            write_whole(self.path, (json.dumps(self.speeds, indent=2, sort_keys=True) + "\n").encode())

    def knows(self, cell: Cell) -> bool:
        return self._key(cell) in self.speeds

    def left(self, listed: Sequence[Cell]) -> dict[Path, float | None]:
        """Seconds left of each run: 0 of a finished one, None where nobody has seen its method at work."""
        return {cell.folder: self._left(cell) for cell in listed}

    def _key(self, cell: Cell) -> str:
        return f"{cell.study.name}, {cell.method}, {self.options.training.device}"

    def _left(self, cell: Cell) -> float | None:
        if cell.state == DONE:
            return 0.0
        if not self.knows(cell):
            return None
        if cell.method == FROZEN:
            pairs = len(cell.parts.train) + len(cell.parts.test)
            return -(-pairs // self.options.training.batch) * self.speeds[self._key(cell)]
        epochs = self.options.training.epochs - epochs_done(cell)
        return max(0, epochs) * steps_of(cell, self.options.training, self.options) * self.speeds[self._key(cell)]


def steps_of(cell: Cell, training: TrainOptions, options: ReproduceOptions) -> int:
    """Steps of an epoch, with the scoring of validation pairs as a third of a step a batch: it has no backward pass."""
    pairs = len(some_of(cell.parts.train, cell.fraction, options.training.seed))
    batch = min(training.batch, pairs)
    return pairs // batch + -(-len(cell.parts.validation) // (3 * training.batch))


def epochs_done(cell: Cell) -> int:
    """Whole epochs of a run that was begun."""
    state = cell.folder / "state.safetensors"
    return len(json.loads(read_header(state)["history"])) if state.is_file() else 0


def seen(cell: Cell, options: ReproduceOptions) -> float | None:
    """Seconds a step of a run that was trained, from its own table of epochs; None if there is none."""
    table = cell.folder / "metrics.csv"
    if not table.is_file():
        return None
    header, *rows = [line.split(",") for line in table.read_text().splitlines()]
    seconds = sorted(float(row[header.index("seconds")]) for row in rows)
    return seconds[len(seconds) // 2] / steps_of(cell, options.training, options)


def duration(seconds: float) -> str:
    """For people: 40 s, 12 min, 3 h 20 min, 4 days."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 1440:.1f} days"
