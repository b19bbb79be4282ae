"""The table of methods: what each is called, where it comes from, and how it differs from DisAsymNet."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from disasym.comparisons.cvt import CrossViewTransformer
from disasym.comparisons.ham import HierarchicalAttention
from disasym.comparisons.late_fusion import LateFusion
from disasym.comparisons.single_view import SingleView
from disasym.comparisons.wang2022 import AsymmetryAttention
from disasym.efficientnet import WIDTHS
from disasym.errors import InputError
from disasym.losses import LossWeights
from disasym.model import PRESETS, AsyC, DisAsymNet, ModelConfig

CLASSIFIERS: dict[str, Callable[[ModelConfig], nn.Module]] = {
    "asyc": lambda config: AsyC(config, "auto"),
    "single-view": SingleView,
    "ham": HierarchicalAttention,
    "late-fusion": LateFusion,
    "cvt": CrossViewTransformer,
    "wang2022": AsymmetryAttention,
}


@dataclass(frozen=True)
class Method:
    """One row of table 1 or 2."""

    title: str  # as in the tables
    source: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the preset's ModelConfig
    without: tuple[str, ...] = ()  # losses that are left out

    def losses(self, asked: LossWeights) -> LossWeights:
        """`asked` without those that this method leaves out."""
        return dataclasses.replace(asked, **dict.fromkeys(self.without, 0.0))


def _comparison(title: str, source: str, classifier: str) -> Method:
    return Method(title, source, {"classifier": classifier, "blocks": 0, "decoder": (), "head": "mean"}, OF_ASYD)


OF_ASYD = ("reconstruction", "discrimination", "synthesis", "refinement")
PAPER = "Wang et al., MICCAI 2023, arXiv 2307.02935"
METHODS = {
    "disasymnet": Method("DisAsymNet", f"{PAPER}, section 2"),
    "resnet18": _comparison("ResNet-18, single view", "He et al., CVPR 2016, arXiv 1512.03385", "single-view"),
    "ham": _comparison("HAM, single view", "Ouyang et al., TMI 2021, arXiv 2112.12349, section III", "ham"),
    "late-fusion": _comparison("Late fusion", "van Tulder et al., MICCAI 2021, arXiv 2103.11390", "late-fusion"),
    "cvt": _comparison("CVT", "van Tulder et al., MICCAI 2021, arXiv 2103.11390, section 2", "cvt"),
    "wang2022": _comparison("Wang et al.", "Wang et al., MIDL 2022, short paper A-S-15", "wang2022"),
    "asyc": Method("AsyC", f"{PAPER}, section 2.1", {"decoder": ()}, OF_ASYD),
    "asyd": Method("AsyD", f"{PAPER}, section 2.2", {"blocks": 0}, ("synthesis",)),
    "asyd-syn": Method("AsyD + Syn", f"{PAPER}, sections 2.2 and 2.3", {"blocks": 0}),
    "asyc-asyd": Method("AsyC + AsyD", f"{PAPER}, sections 2.1 and 2.2", {}, ("synthesis",)),
}
ENCODER_CHANGES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "efficientnet-lite0": {"widths": WIDTHS, "heads": WIDTHS[-1] // 64},
}


def configured(method: str, preset: str, encoder: str | None = None, **changes: Any) -> ModelConfig:
    """The configuration of a method: a preset's sizes, another encoder if named, `changes` of single fields.

    Raises:
        InputError: an unknown method, preset, encoder or choice.
    """
    for name, given, known in (("method", method, METHODS), ("preset", preset, PRESETS)):
        if given not in known:
            raise InputError(f"unknown {name} {given!r}: choose one of {', '.join(known)}")
    base = PRESETS[preset]
    if encoder is not None and encoder != base.encoder:
        if encoder not in ENCODER_CHANGES:
            raise InputError(f"unknown encoder {encoder!r}: choose one of {', '.join(ENCODER_CHANGES)}")
        base = dataclasses.replace(base, encoder=encoder, **ENCODER_CHANGES[encoder])
    return dataclasses.replace(base, **{**changes, **METHODS[method].changes})


def build(config: ModelConfig, attention: str = "auto") -> DisAsymNet:
    """The network of a configuration, with random weights. InputError: an unknown classifier."""
    if config.classifier == "asyc":
        return DisAsymNet(config, attention)
    if config.classifier not in CLASSIFIERS:
        raise InputError(f"unknown classifier {config.classifier!r}: choose one of {', '.join(CLASSIFIERS)}")
    return DisAsymNet(config, attention, CLASSIFIERS[config.classifier](config))
