"""Which parts of AsyC learn, and how fast."""

from torch import nn

from disasym.model import AsyC

FROZEN = ("none", "shallow", "encoder", "asyc")


def frozen(asyc: AsyC, freeze: str) -> nn.Module | None:
    """Freeze the weights that `freeze` (of FROZEN) names. Returns what must stay in evaluation mode in training.

    "shallow" is the encoder up to stride 16; the BatchNorm statistics of all of the encoder are kept with it.
    """
    if freeze == "none":
        return None
    still = asyc if freeze == "asyc" else asyc.encoder
    for part in asyc.encoder.shallow_parts() if freeze == "shallow" else [still]:
        part.requires_grad_(False)
    return still


def by_rate(asyc: AsyC) -> list[list[nn.Parameter]]:
    """Parameters of AsyC by learning rate: those of the head "contrast", where it has one, come last."""
    contrast: nn.Module | None = getattr(asyc, "contrast", None)  # a comparison in the place of AsyC has none
    head = [] if contrast is None else list(contrast.parameters())
    known = {id(parameter) for parameter in head}
    rest = [parameter for parameter in asyc.parameters() if id(parameter) not in known]
    return [rest, head] if head else [rest]
