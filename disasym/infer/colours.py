"""Grey levels and heat as 8-bit colours."""

import numpy as np
import numpy.typing as npt

from disasym.spec import Array

Pixels = npt.NDArray[np.uint8]  # [h, w, 3]

# Every 17th of the 256 colours of "inferno" by Nathaniel Smith and Stéfan van der Walt (CC0, from matplotlib). Its
# lightness grows evenly with the value, so that equal steps look equal, also in grey and to colour-blind eyes.
INFERNO = (
    (0, 0, 4), (12, 8, 38), (36, 12, 79), (66, 10, 104), (93, 18, 110), (120, 28, 109), (147, 38, 103),
    (174, 48, 92), (199, 62, 76), (221, 81, 58), (237, 105, 37), (248, 133, 15), (252, 165, 10), (250, 198, 45),
    (242, 230, 97), (252, 255, 164),
)  # fmt: skip
FAINTEST = 0.3  # where on that scale an overlay begins: below it the colours are so dark that they look like fat


def grey(values: Array) -> Pixels:
    """[h, w] in [0, 1] → grey [h, w, 3]."""
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def heat(values: Array) -> Pixels:
    """[h, w] in [0, 1] → inferno [h, w, 3]."""
    stops = np.linspace(0, 1, len(INFERNO))
    table = np.array(INFERNO, np.float64)
    channels = [np.interp(values, stops, table[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def overlay(image: Array, values: Array, strength: float) -> Pixels:
    """Heat over grey: (1 − α)·grey + α·inferno(FAINTEST + (1 − FAINTEST)·value), α = strength·value. All [h, w]."""
    values = np.clip(values, 0, 1)
    alpha = strength * values[..., None]
    colour = heat(FAINTEST + (1 - FAINTEST) * values)
    return np.rint((1 - alpha) * grey(image) + alpha * colour).astype(np.uint8)
