"""What a training run is told, and what of it must not change when it is resumed."""

import json
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path

from disasym.comparisons import METHODS, configured
from disasym.errors import InputError
from disasym.losses import LossWeights
from disasym.model import ModelConfig
from disasym.train.dataset import PASTES
from disasym.train.frozen import FROZEN

PRECISIONS = ("fp32", "bf16", "fp16")
MAY_CHANGE = (
    "out",
    "resume",
    "epochs",
    "patience",
    "device",
    "workers",
    "cache",
)  # without making it another experiment


@dataclass(frozen=True)
class TrainOptions:
    """Defaults are the paper's (section 3): Adam, learning rate 1e-4, batch 8, 20 epochs, ×0.1 every 10."""

    manifests: tuple[Path, ...]
    out: Path
    tumours: tuple[Path, ...] = ()  # banks; a pair takes its tumours from a bank of another dataset
    preset: str = "paper"
    method: str = "disasymnet"  # a name in disasym.comparisons.METHODS
    encoder: str | None = None  # None: the preset's, here and in the next three
    size: tuple[int, int] | None = None  # H, W
    upsampling: str | None = None  # a name in disasym.model.UPSAMPLING
    x_ab: str | None = None  # a name in disasym.model.X_AB
    epochs: int = 20
    lr: float = 1e-4
    asyd_lr_factor: float = 1.0  # AsyD learns this many times faster; short trainings need it (docs/adr/0008)
    lr_step: int = 10  # epochs after which the learning rate falls to a tenth
    batch: int = 8  # pairs
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"  # bf16 and fp16: automatic mixed precision, weights stay float32
    init: Path | None = None  # ImageNet weights of the encoder as safetensors: disasym.train.imagenet
    start: Path | None = None  # weights of an earlier run to begin with: its AsyC, and its AsyD where it has one
    freeze: str = "none"  # a name in FROZEN: what keeps the weights that it begins with (docs/train.md)
    head_lr_factor: float = (
        1.0  # the head "contrast", which starts at 0, learns this many times faster than AsyC's rest
    )
    paste: str = "symmetric"  # a name in PASTES: what tumours are pasted into, and L_syn with it (docs/adr/0029)
    patience: int = 0  # epochs without a better validation AUC after which training stops; 0: never
    resume: bool = False
    workers: int = 0  # data loading processes
    cache: Path | None = None  # preprocessed pairs; None: inside `out`
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        _ = self.config  # refuses an unknown method, preset, encoder or choice
        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}")
        if self.freeze not in FROZEN:
            raise InputError(f"cannot freeze {self.freeze!r}: choose one of {', '.join(FROZEN)}")
        if self.paste not in PASTES:
            raise InputError(f"cannot paste into {self.paste!r}: choose one of {', '.join(PASTES)}")
        if self.freeze != "none" and self.init is None and self.start is None:
            raise InputError(f"--freeze {self.freeze} keeps random weights for ever: give --init or --start")
        if self.freeze == "asyc" and not self.config.decoder:
            raise InputError(f"method {self.method!r} has no AsyD: with --freeze asyc nothing would be left to learn")
        if not self.manifests:
            raise InputError("no manifest: give at least one with --manifest")
        if self.weights.synthesis and not self.tumours:
            raise InputError("the synthesis loss needs a tumour bank: give --tumours BANK, or --no-synthesis")
        for name in ("epochs", "lr_step", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.patience < 0:
            raise InputError(f"patience must be 0 (never stop early) or more epochs, got {self.patience}")
        if self.head_lr_factor != 1 and self.config.head != "contrast":
            raise InputError(f"head_lr_factor is for the head 'contrast'; the head here is {self.config.head!r}")
        for name in ("lr", "asyd_lr_factor", "head_lr_factor"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")

    @property
    def config(self) -> ModelConfig:
        """The network of this method at this preset."""
        height, width = self.size or (None, None)
        asked = {"height": height, "width": width, "upsampling": self.upsampling, "x_ab": self.x_ab}
        changes = {name: value for name, value in asked.items() if value is not None}
        return configured(self.method, self.preset, self.encoder, **changes)

    @property
    def weights(self) -> LossWeights:
        """`losses` without those that the method leaves out; a frozen AsyC is not refined."""
        weights = METHODS[self.method].losses(self.losses)
        return replace(weights, refinement=0.0) if self.freeze == "asyc" else weights

    @property
    def cache_folder(self) -> Path:
        """Where preprocessed pairs are kept."""
        return self.cache or self.out / "cache"

    def learning_rate(self, epoch: int) -> float:
        """lr · 0.1^⌊epoch / lr_step⌋ for the epoch counted from 0."""
        return self.lr * 0.1 ** (epoch // self.lr_step)

    def as_json(self) -> str:
        """All options, readable, in a fixed order."""
        return json.dumps(asdict(self), default=str, indent=2)

    def check_resumes(self, stored: str, where: Path) -> None:
        """Refuse to continue another experiment. An option that `stored` does not know came later: it had its default.

        Raises:
            InputError: names the first option that differs, with both values.
        """
        later = {option.name: option.default for option in fields(self) if option.default is not MISSING}
        before, now = {**later, **json.loads(stored)}, json.loads(self.as_json())
        for name in now:
            if name not in MAY_CHANGE and before.get(name) != now[name]:
                raise InputError(
                    f"cannot resume {where}: {name} was {before.get(name)!r} and is now {now[name]!r};"
                    " give the same options or another --out"
                )
