"""What a reproduction is told, and what of it must stay the same when it goes on."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from disasym.comparisons import METHODS, configured
from disasym.errors import InputError
from disasym.files import sha256_of
from disasym.train import TrainOptions
from disasym.train.options import MAY_CHANGE

OURS = "disasymnet"
COMPARISONS = ("resnet18", "ham", "late-fusion", "cvt", "wang2022", OURS)
ABLATIONS = ("asyc", "asyd", "asyd-syn", "asyc-asyd", OURS)
PARTS = {"table1": COMPARISONS, "table2": ABLATIONS, "figure2": COMPARISONS, "figure3": COMPARISONS}
FRACTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the training women, in tenths
FROZEN = "frozen-features"  # the row that is trained without a trainer: disasym.reproduce.frozen
BEST, LAST = "best", "last"


@dataclass(frozen=True)
class ReproduceOptions:
    """`training` holds what every run shares: network sizes, schedule, device; its method and place are set per run."""

    training: TrainOptions
    parts: tuple[str, ...] = tuple(PARTS)
    methods: tuple[str, ...] = ()  # only these; (): all that the parts need
    fractions: tuple[float, ...] = FRACTIONS
    folds: int = 0  # of a cross-validation by woman; 0: the parts in the manifests' column `split`
    scored: str = BEST  # the epoch with the best AUC on women held back for that, or the LAST, with none held back
    bootstraps: int = 1000
    panels: int = 4  # pairs of figure 3
    frozen: Path | None = None  # ImageNet weights of EfficientNet-Lite0: adds FROZEN to table 1 and figure 2

    def __post_init__(self) -> None:
        for name, given, known in (("part", self.parts, PARTS), ("method", self.methods, (*METHODS, FROZEN))):
            if unknown := [each for each in given if each not in known]:
                raise InputError(f"unknown {name} {unknown[0]!r}: choose from {', '.join(known)}")
        if FROZEN in self.methods and self.frozen is None:
            raise InputError(f"{FROZEN} needs ImageNet weights of EfficientNet-Lite0: give --frozen FILE")
        if not self.parts:
            raise InputError(f"no part of the paper is asked for: choose from {', '.join(PARTS)}")
        if self.scored not in (BEST, LAST):
            raise InputError(f"the scored epoch is {self.scored!r}: choose {BEST} or {LAST}")
        if self.scored == LAST and self.training.patience:
            raise InputError("--patience stops by validation women, with --scored last there are none: leave it out")
        if self.training.freeze == "asyc":
            raise InputError("with --freeze asyc no method would learn to score: choose none, shallow or encoder")
        for fraction in self.fractions:
            if not (0 < fraction <= 1 and abs(fraction * 10 - round(fraction * 10)) < 1e-9):
                raise InputError(f"a training fraction is {fraction}: give tenths from 0.1 to 1")
        if self.folds == 1 or self.folds < 0:
            raise InputError(f"{self.folds} folds: give 2 or more, or 0 for the manifests' own split")

    def methods_of(self, part: str) -> tuple[str, ...]:
        """The methods of a table or figure, in its order, of those that were asked for."""
        trivial = (FROZEN,) if self.frozen is not None and part in ("table1", "figure2") else ()
        return tuple(name for name in (*trivial, *PARTS[part]) if not self.methods or name in self.methods)

    @property
    def cache_folder(self) -> Path:
        """Where preprocessed pairs are kept, for all runs."""
        return self.training.cache_folder

    @property
    def settings(self) -> dict[str, object]:
        """What makes it this experiment: all but where, how far and how fast."""
        training = json.loads(self.training.as_json())
        kept = {name: value for name, value in training.items() if name not in (*MAY_CHANGE, "method", "manifests")}
        return {
            **kept,
            "epochs": self.training.epochs,
            "patience": self.training.patience,
            "folds": self.folds,
            "scored": self.scored,
            "manifests": {str(path): sha256_of(path) for path in self.training.manifests},
        }

    def run_options(self, method: str, out: Path) -> TrainOptions:
        """Of one training run: the same budget for every method."""
        head = configured(method, self.training.preset).head
        factor = self.training.head_lr_factor if head == "contrast" else 1.0  # other heads do not start at 0
        return dataclasses.replace(
            self.training, method=method, out=out, resume=True, cache=self.cache_folder, head_lr_factor=factor
        )


def title_of(method: str) -> str:
    """As in the tables."""
    return "Frozen EfficientNet-Lite0, logistic regression" if method == FROZEN else METHODS[method].title


def source_of(method: str) -> str:
    """Where a method comes from."""
    if method == FROZEN:
        return "ImageNet features that never saw a breast (disasym/reproduce/frozen.py): the model that must be beaten"
    return METHODS[method].source


def check_settings(options: ReproduceOptions, path: Path) -> None:
    """Refuse to mix two experiments in one folder.

    Raises:
        InputError: names the first setting that differs, with both values.
    """
    if not path.is_file():
        return
    try:
        before = dict(json.loads(path.read_text()))
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}): remove it if the runs beside it are of this experiment"
        ) from None
    now = json.loads(json.dumps(options.settings))
    for name in now:
        if before.get(name) != now[name]:
            raise InputError(
                f"{path.parent} holds another experiment: {name} was {before.get(name)!r} and is now {now[name]!r};"
                " give the same options or another --out"
            )
