"""A made-up film with known answers: where the breast, its chest wall, the label and the frame are."""

import numpy as np
import numpy.typing as npt

from disasym.spec import Array

CENTRE, HALF_HEIGHT, REACH = 0.5, 0.36, 0.62  # of the height, the height, the width


def breast_of(height: int, width: int) -> npt.NDArray[np.bool_]:
    """A half ellipse whose chest wall is the left border."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside: npt.NDArray[np.bool_] = ((y / height - CENTRE) / HALF_HEIGHT) ** 2 + (x / width / REACH) ** 2 <= 1
    return inside


def film(height: int = 300, width: int = 220, seed: int = 0, label: bool = True, frame: int = 0) -> Array:
    """Breast at the left, film base with noise, a lead label, and a white frame of `frame` pixels at top and bottom."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] + 0.5
    ellipse = ((y / height - CENTRE) / HALF_HEIGHT) ** 2 + (x / width / REACH) ** 2
    depth = np.clip(1 - ellipse, 0, 1) ** 0.5  # thin, hence dim, at the skin
    image = 12 + 2 * rng.random((height, width)) + 150 * depth * (1 + 0.2 * rng.random((height, width)))
    if label:
        image[height // 12 : height // 7, width * 7 // 10 : width * 9 // 10] = 250
    if frame:
        image[:frame], image[-frame:] = 255, 255
    film: Array = image.astype(np.float32)
    return film
