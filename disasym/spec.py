"""The tensor contract between preprocessing, model, engines and results. Importable without torch.

| name          | shape             | meaning                                                                  |
|---------------|-------------------|--------------------------------------------------------------------------|
| `views`       | [B, 2, H, W]      | axis 1: 0 = right, 1 = left; in [0, 1]; chest wall at column 0 for both; |
|               |                   | background exactly 0                                                     |
| `asymmetry`   | [B]               | ŷ^asy, probability that the pair is asymmetric                           |
| `abnormal`    | [B, 2]            | ŷ^r, ŷ^l, probability that a side is abnormal                            |
| `cam`         | [B, 2, H/32, W/32]| class activation map M in [0, 1], scaled by the side's probability       |
| `normal`      | [B, 2, H, W]      | x_n in [0, 1]: the view with its abnormality removed                     |
| `abnormality` | [B, 2, H, W]      | x_ab in [0, 1]: the abnormality alone                                    |

All are float32 in every precision, whatever an engine computes with inside. An export may hold fewer outputs
(OUTPUT_SETS): what it does not compute is None. Symbols as in DisAsymNet, arXiv 2307.02935, section 2.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from disasym.errors import InputError

Laterality = Literal["R", "L"]
View = Literal["CC", "MLO"]
Array = npt.NDArray[np.float32]

SIDES: tuple[Laterality, Laterality] = ("R", "L")  # the order of axis 1, everywhere
STRIDE = 32  # one token, and one cell of the CAM, covers STRIDE × STRIDE pixels
OUTPUTS = ("asymmetry", "abnormal", "cam", "normal", "abnormality")
OUTPUT_SETS = {"scores": OUTPUTS[:2], "scores,cam": OUTPUTS[:3], "all": OUTPUTS}  # what an export can be made with
BITS_OF_ONE = np.float32(1).view(np.uint32)  # floats from 0 to 1 are the integers from 0 to this one: see `all_finite`


@dataclass(frozen=True)
class Outputs:
    """What an engine returns for a batch; fresh float32 arrays that the caller owns. None: not in this export."""

    asymmetry: Array  # [B]
    abnormal: Array  # [B, 2]
    cam: Array | None = None  # [B, 2, H/32, W/32]
    normal: Array | None = None  # [B, 2, H, W]
    abnormality: Array | None = None  # [B, 2, H, W]

    def __len__(self) -> int:
        return len(self.asymmetry)

    def named(self) -> dict[str, Array]:
        """The outputs that are there, by name, in the order of OUTPUTS."""
        return {name: value for name in OUTPUTS if (value := getattr(self, name)) is not None}


def output_shapes(
    batch: int, height: int, width: int, outputs: tuple[str, ...] = OUTPUTS
) -> dict[str, tuple[int, ...]]:
    """Shape of each of `outputs` for a batch of `batch` pairs of `height` × `width` pixels."""
    image = (batch, 2, height, width)
    shapes: dict[str, tuple[int, ...]] = {
        "asymmetry": (batch,),
        "abnormal": (batch, 2),
        "cam": (batch, 2, height // STRIDE, width // STRIDE),
        "normal": image,
        "abnormality": image,
    }
    return {name: shapes[name] for name in outputs}


def check_views(views: np.ndarray, height: int, width: int) -> None:
    """Refuse an array that is not `views` for an H × W model.

    Raises:
        InputError: wrong dtype, shape, a value outside [0, 1], NaN or infinity.
    """
    wanted = f"float32 [B, 2, {height}, {width}]"
    if views.dtype != np.float32:
        raise InputError(f"views must be {wanted}, got {views.dtype}: convert with views.astype(numpy.float32)")
    if views.ndim != 4 or views.shape[1:] != (2, height, width) or views.shape[0] == 0:
        raise InputError(f"views must be {wanted} with B ≥ 1, got shape {list(views.shape)}: preprocess for this model")
    if views.view(np.uint32).max() > BITS_OF_ONE:  # the rare case: something is outside, or a zero is written -0.0
        low, high = float(views.min()), float(views.max())
        if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails too
            raise InputError(f"views must lie in [0, 1], got [{low}, {high}]: preprocess the images first")


def all_finite(values: np.ndarray) -> bool:
    """Whether no number is NaN or infinite; nothing is copied.

    The bits of a float without its sign, read as an integer, grow with the number (IEEE 754): infinity comes after
    the largest finite number, NaN after infinity, and a sign bit after those. So the largest integer tells: one pass
    over the memory, and a second one only where a number is negative.

    Args:
        values: float16, float32 or float64, not empty, of any shape and strides.
    """
    unsigned, signed = (np.dtype(f"{kind}{values.dtype.itemsize}") for kind in "ui")
    infinity = np.array([np.inf, -np.inf], values.dtype).view(unsigned)
    largest = values.view(unsigned).max()
    if largest < infinity[0]:
        return True
    # Some number is not finite or below 0. As signed integers all those below 0 come first.
    return bool(largest < infinity[1] and values.view(signed).max() < infinity[0])
