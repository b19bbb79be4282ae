"""What is wrong, in one sentence each, and how bad it is."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["failed", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing to mend. `failed`: `disasym infer` does not work. `warning`: it does, and something else does not."""

    level: Level
    subject: str  # the section of the report
    text: str  # what is wrong, and the next step
