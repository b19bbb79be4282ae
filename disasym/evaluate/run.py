"""The whole of `disasym evaluate`: pairs in, figures out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from disasym.engines import load
from disasym.errors import InputError
from disasym.evaluate.calibration import LEVELS as CALIBRATED
from disasym.evaluate.calibration import Calibration, calibration
from disasym.evaluate.comparison import Compared, compare
from disasym.evaluate.discrimination import FEWEST, Discrimination, Draws, discrimination
from disasym.evaluate.evidence import doubts
from disasym.evaluate.lesions import Lesions, Looking
from disasym.evaluate.levels import LEVELS, check_groupings, samples
from disasym.evaluate.part import Pair, Part, read_part
from disasym.evaluate.predictions import Predictions, predict
from disasym.infer.stages import Scored

DATASET = "dataset"


@dataclass(frozen=True)
class EvaluateOptions:
    """What an evaluation is told."""

    model: Path  # an export folder, or a .safetensors weights file
    manifest: Path
    out: Path
    against: Path | None = None  # a second model
    split: str | None = None  # None: test where the manifest has splits, else all
    splits: Path | None = None  # a table of splits in place of the manifest's column
    by: tuple[str, ...] = ()  # columns of the manifest whose groups get figures of their own
    engine: str = "auto"
    device: str = "cpu"
    batch: int = 4
    workers: int | None = None
    threads: int | None = None
    bootstraps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_groupings(self.by)
        for name, least in {"batch": 1, "workers": 1, "threads": 1, "bootstraps": 2, "seed": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class Group:
    """The figures of one level: of all its entries, or of those with one value in a column."""

    level: str
    column: str  # "" for all
    value: str
    found: Discrimination


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found."""

    options: EvaluateOptions
    part: Part
    predictions: Predictions
    against: Predictions | None
    doubts: tuple[str, ...]
    groups: tuple[Group, ...]
    compared: tuple[Compared, ...]
    calibrations: tuple[Calibration, ...]
    lesions: Lesions | None  # None: no image has annotated lesions, or the model makes no heat map

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """Files that a model could not use, and why; each once."""
        return tuple(dict.fromkeys((*self.predictions.failed, *(self.against.failed if self.against else ()))))

    @property
    def exit_code(self) -> int:
        """0: every pair was scored. 1: some failed."""
        return 1 if self.failed else 0


Say = Callable[[str, int], Callable[[int], None]]  # (what is done, of how many) → call with how many more are done
Look = Callable[[Pair, Scored], None]


def evaluate(options: EvaluateOptions, say: Say = lambda _, __: lambda ___: None) -> Evaluation:
    """Score the chosen pairs and compute every figure; `report.write` puts them into `options.out`.

    Raises:
        InputError: no such split, no pair of it could be scored, or `options.out` cannot be made.
        ManifestError, EngineError, MissingExtraError, CheckpointError: see `read_manifest` and `engines.load`.
    """
    _check_places(options)
    part = read_part(options.manifest, options.split, options.splits)
    looking = Looking()
    predictions = predicted(options.model, part.pairs, options, say, looking)
    second = None if options.against is None else predicted(options.against, part.pairs, options, say)
    draws = Draws(options.bootstraps, options.seed)
    return Evaluation(
        options=options,
        part=part,
        predictions=predictions,
        against=second,
        doubts=_doubts(part, predictions, second, options),
        groups=grouped(predictions, options, draws),
        compared=() if second is None else compare(predictions, second, draws),
        calibrations=tuple(calibration(samples(predictions)[level], draws) for level in CALIBRATED),
        lesions=looking.found(draws),
    )


def _check_places(options: EvaluateOptions) -> None:
    """Before the work, not after it."""
    if options.against is not None and not options.against.exists():
        raise InputError(f"no model at {options.against}: give an export folder or a .safetensors file")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{options.out}: no folder for the results ({error.strerror}): name another") from error


def predicted(
    model: Path, pairs: tuple[Pair, ...], options: EvaluateOptions, say: Say, look: Look = lambda _, __: None
) -> Predictions:
    """What a model says of `pairs`. InputError when none of them could be scored."""
    with load(model, options.engine, options.device, options.threads) as engine:
        done = say(f"scoring with {model.name}", len(pairs))
        found = predict(str(model), engine, pairs, options.batch, options.workers, done, look)
    if not found.scored:
        reason = f"; the first: {': '.join(found.failed[0])}" if found.failed else ""
        raise InputError(f"{options.manifest}: none of {len(pairs)} pairs could be scored{reason}")
    return found


def grouped(predictions: Predictions, options: EvaluateOptions, draws: Draws) -> tuple[Group, ...]:
    """Figures of each level; of each data set where there are several; of the groups that were asked for."""
    groups = []
    columns = options.by
    if len({pair.dataset for pair in predictions.pairs}) > 1 and DATASET not in columns:
        columns = (DATASET, *columns)
    for level, sample in samples(predictions).items():
        groups.append(Group(level, "", "", discrimination(sample, draws)))
        for column in columns:
            groups += [
                Group(level, column, value, discrimination(sample.where(column, value), draws, FEWEST))
                for value in sample.values(column)
            ]
    return tuple(sorted(groups, key=lambda group: LEVELS.index(group.level)))


def _doubts(part: Part, first: Predictions, second: Predictions | None, options: EvaluateOptions) -> tuple[str, ...]:
    found = doubts(part, options.model, first.model.sha256)
    if second is not None and options.against is not None:
        found += tuple(f"{options.against}: {text}" for text in doubts(part, options.against, second.model.sha256))
    mixed = {pair.dataset for pair in first.pairs}
    if len(mixed) > 1:
        found += (f"{len(mixed)} data sets together: telling them apart already helps a model; see each of them",)
    return found
