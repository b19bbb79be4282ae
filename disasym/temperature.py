"""Temperatures: what turns the scores of a model's two heads into probabilities, and on what they were fitted.

p = σ(z / T), z the logit of a head, T > 0 its temperature (Guo et al. 2017, arXiv 1706.04599, section 4.2). T > 1 says
that the model was too sure. The order of scores and the side of 1/2 on which they are stay as they were.

A model carries them in the header of its weights; its networks divide by them inside, so every export and engine
gives the same probabilities. Importable without torch.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from disasym.errors import InputError

FORMAT = "disasym-temperatures-1"
ENTRY = "temperatures"  # of the weights' header, and of an export's manifest
HEADS = ("asymmetry", "abnormal")
LOWEST, HIGHEST = 0.05, 20.0  # beyond, the scores tell hardly anything, or part the classes completely


@dataclass(frozen=True)
class Head:
    """The temperature of one head, with its 95 % interval over women, and the entries that it was fitted on."""

    temperature: float
    low: float
    high: float
    entries: int
    positives: int
    women: int
    loss_before: float  # mean log loss on these entries at temperature 1, in nats
    loss_after: float

    def __post_init__(self) -> None:
        for name in ("temperature", "low", "high", "loss_before", "loss_after"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)}, wanted a finite number")
        if not LOWEST <= self.temperature <= HIGHEST:
            raise InputError(f"a temperature is {self.temperature}, wanted {LOWEST:g} to {HIGHEST:g}")


@dataclass(frozen=True)
class Temperatures:
    """Those of both heads, and where they come from."""

    asymmetry: Head
    abnormal: Head
    data: str  # data sets and split
    weights_sha256: str  # of the weights before
    disasym: str  # version
    format: str = FORMAT

    def as_text(self) -> str:
        """As JSON, for the header of a weights file."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False, sort_keys=True)


def read_temperatures(content: object) -> Temperatures:
    """From what JSON holds, or its text.

    Raises:
        InputError: another format, a field is missing or unknown, or a value cannot be.
    """
    try:
        fields: Any = json.loads(content) if isinstance(content, str) else content
        if fields.get("format") != FORMAT:
            raise InputError(f"temperatures have format {fields.get('format')!r}, this version reads {FORMAT!r}")
        texts = {name: value for name, value in fields.items() if name not in HEADS}
        if not all(isinstance(value, str) for value in texts.values()):
            raise InputError(f"temperatures have a field among {sorted(texts)} that is no text")
        heads = {name: Head(**_numbers(fields[name])) for name in HEADS}
        return Temperatures(heads["asymmetry"], heads["abnormal"], **texts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"temperatures cannot be read ({type(error).__name__}: {error})") from None


def _numbers(content: dict[str, Any]) -> dict[str, Any]:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in content.values()):
        raise InputError(f"a head's temperature is {content!r:.80}, wanted numbers")
    return content
