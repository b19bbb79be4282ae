"""Which women train, validate and test: one study a data set, one or more folds a study."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from disasym.data.manifest import PairRow
from disasym.data.split import folds, split_patients
from disasym.errors import ImageError, InputError
from disasym.evaluate.part import ALL, Key, Pair, read_part
from disasym.reproduce.options import BEST, ReproduceOptions
from disasym.train.dataset import PairStore
from disasym.train.processes import Processes

TENTHS = 10
HELD_BACK = (7, 1, 0)  # training and validation women of a fold
READERS = 4  # images read at a time, before training


@dataclass(frozen=True)
class Fold:
    """Pairs of women of whom none stands in two parts."""

    train: tuple[PairRow, ...]
    validation: tuple[PairRow, ...]
    test: tuple[PairRow, ...]


@dataclass(frozen=True)
class Study:
    """One data set: its pairs and how they are shared out."""

    name: str
    pairs: dict[Key, Pair]
    folds: tuple[Fold, ...]
    left_out: tuple[tuple[str, str], ...]  # file or pair, reason

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip(".-") or "data"


def read_studies(options: ReproduceOptions, processes: Processes) -> tuple[Study, ...]:
    """One study a manifest; every image is read and preprocessed once, and those that cannot be are left out.

    Raises:
        InputError: a manifest with several data sets, a data set twice, or a part of a split without pairs.
    """
    studies: list[Study] = []
    config = options.training.config
    store = PairStore(options.cache_folder, config.height, config.width)
    for manifest in options.training.manifests:
        part = read_part(manifest, ALL)
        names = sorted({pair.rows.dataset for pair in part.pairs})
        if len(names) != 1:
            raise InputError(f"{manifest} holds {len(names)} data sets ({', '.join(names)}): give a manifest for each")
        if names[0] in {study.name for study in studies}:
            raise InputError(f"{manifest} is of the data set {names[0]!r}, as a manifest before it: join the two")
        sound, reasons = readable(list(part.pairs), store, processes)
        studies.append(
            Study(
                name=names[0] or manifest.stem,
                pairs={pair.key: pair for pair in sound},
                folds=tuple(folds_of([pair.rows for pair in sound], options)),
                left_out=(*part.unused, *reasons),
            )
        )
    if len({study.slug for study in studies}) < len(studies):
        raise InputError(f"data sets with names that are alike: {', '.join(study.name for study in studies)}")
    return tuple(studies)


def readable(
    pairs: Sequence[Pair], store: PairStore, processes: Processes
) -> tuple[list[Pair], tuple[tuple[str, str], ...]]:
    """The pairs that have labels and images that can be read, and the others with their reasons."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="disasym") as pool:
        mine = list(pool.map(partial(_problem, store=store), processes.part(pairs)))
    problems = [problem for part in processes.gather(mine) for problem in part]
    sound = [pair for pair, problem in zip(pairs, problems, strict=True) if not problem]
    return sound, tuple((pair.rows.pair_id, problem) for pair, problem in zip(pairs, problems, strict=True) if problem)


def _problem(pair: Pair, store: PairStore) -> str:
    """Why a pair cannot be used, "" if it can."""
    if pair.rows.right.abnormal is None or pair.rows.left.abnormal is None:
        return "a side has no label"
    try:
        store.views(pair.rows)
    except ImageError as error:
        return str(error)
    return ""


def folds_of(pairs: Sequence[PairRow], options: ReproduceOptions) -> list[Fold]:
    """The parts of the manifest's split as the one fold, or a cross-validation by woman."""
    if not options.folds:
        parts = {name: tuple(p for p in pairs if p.right.split == name) for name in ("train", "validation", "test")}
        if not all(parts.values()) or sum(map(len, parts.values())) != len(pairs):
            sizes = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
            raise InputError(f"{len(pairs)} pairs have no whole split ({sizes}): give --folds 5, or prepare them again")
        return [Fold(**parts)]
    found = []
    for training, test in folds(pairs, options.folds, options.training.seed):
        held: list[PairRow] = []
        if options.scored == BEST:
            split = split_patients(training, HELD_BACK, options.training.seed)
            training, held = split["train"], split["validation"]
        found.append(Fold(tuple(training), tuple(held), tuple(test)))
    return found


def some_of(training: Sequence[PairRow], fraction: float, seed: int) -> list[PairRow]:
    """A share of the training women, stratified; a smaller share is part of a larger one.

    Raises:
        InputError: fewer than ten women cannot be cut into tenths.
    """
    if fraction == 1:
        return list(training)
    tenths = [test for _, test in folds(training, TENTHS, seed)][: round(fraction * TENTHS)]
    chosen = {id(pair) for tenth in tenths for pair in tenth}
    return [pair for pair in training if id(pair) in chosen]
