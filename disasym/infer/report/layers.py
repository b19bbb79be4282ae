"""What the report shows of one pair: small images of both breasts, in one file a pair, written when it is scored.

Both breasts stand as films hang: the right one at the left of the screen, chest walls in the middle. In the network's
frame both chest walls are at column 0, so the right breast is mirrored here, with all that lies on it.

Grey images are JPEG of one channel, which keeps all 256 levels (WebP's luma has 220), of a quality at which faint
calcifications of mini-MIAS stay as they are (docs/log.md, 2026-11-25). Original and normal share it, so that switching
between them shows what the network changed, not what the compression did. The heat map is a PNG of one byte a pixel,
whose palette holds colour and opacity; it is smooth by nature, and has HEAT_ROWS rows or a few more.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from disasym.infer.boxes import Region, heat_of
from disasym.infer.colours import FAINTEST, heat
from disasym.infer.results import Row, panel_name
from disasym.infer.stages import Scored
from disasym.preprocess import Box
from disasym.spec import Array, Laterality

FOLDER = "layers"
QUALITY = 95  # of a JPEG
HEAT_ROWS = 256


@dataclass(frozen=True)
class Side:
    """One breast as it is shown; each image a data: URI, None where the model makes none."""

    original: str
    normal: str | None
    heat: str | None


@dataclass(frozen=True)
class Layers:
    """The images of a pair, and where its boxes lie on them."""

    scores: tuple[str, ...]  # model and scores of the row that they belong to
    width: int
    height: int
    right: Side
    left: Side
    boxes: tuple[Box, ...]  # (x0, y0, x1, y1) in pixels of the images as shown, in the order of the row's boxes

    @classmethod
    def read(cls, text: bytes) -> Self:
        """What `layers_file` made. ValueError, KeyError or TypeError for anything else."""
        values: dict[str, Any] = json.loads(text)
        right, left = Side(**values.pop("right")), Side(**values.pop("left"))
        scores, boxes = tuple(values.pop("scores")), tuple(tuple(box) for box in values.pop("boxes"))
        return cls(**values, right=right, left=left, scores=scores, boxes=boxes)


def layers_file(row: Row, pair: Scored, regions: Sequence[Region] | None) -> tuple[str, bytes]:
    """The images of a pair as a file: its name relative to the results, and what is in it; `regions` as in its row."""
    height, width = pair.right.pixels.shape
    layers = Layers(
        scores=scores_of(row),
        width=width,
        height=height,
        right=_side(pair, 0),
        left=_side(pair, 1),
        boxes=tuple(_hung(region.frame, region.laterality, width) for region in regions or ()),
    )
    return layers_name(row.pair_id), json.dumps(asdict(layers)).encode()


def read_layers(out: Path, row: Row) -> Layers | None:
    """The images of a pair; None if they are not there, or belong to another result than `row`."""
    try:
        layers = Layers.read((out / layers_name(row.pair_id)).read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return layers if layers.scores == scores_of(row) and len(layers.boxes) == len(row.boxes or ()) else None


def layers_name(pair_id: str) -> str:
    """Where the images of a pair are, relative to the results: a safe and unique file name for any `pair_id`."""
    return f"{FOLDER}/{Path(panel_name(pair_id)).stem}.json"


def scores_of(row: Row) -> tuple[str, ...]:
    """What tells one result of a pair from another."""
    scores = (row.p_asymmetry, row.p_abnormal_right, row.p_abnormal_left)
    return row.pair_id, row.model_sha256, row.engine, *(f"{score:.6f}" for score in scores)


def _side(pair: Scored, side: int) -> Side:
    view = (pair.right, pair.left)[side]

    def hung(values: Array) -> Array:
        return values[:, ::-1] if view.laterality == "R" else values

    return Side(
        original=jpeg(hung(view.pixels)),
        normal=None if pair.normal is None else jpeg(hung(pair.normal[side])),
        heat=None if pair.cam is None else heat_png(hung(_reduced(heat_of(view.pixels, pair.cam[side])))),
    )


def _hung(box: Box, laterality: Laterality, width: int) -> Box:
    x0, y0, x1, y1 = box
    return (width - x1, y0, width - x0, y1) if laterality == "R" else box


def _reduced(values: Array) -> Array:
    """The mean of each block of f × f pixels, for the largest whole f that leaves HEAT_ROWS rows."""
    factor = max(1, values.shape[0] // HEAT_ROWS)
    height, width = values.shape[0] // factor, values.shape[1] // factor
    blocks = values[: height * factor, : width * factor].reshape(height, factor, width, factor)
    reduced: Array = blocks.mean(axis=(1, 3), dtype=np.float32)
    return reduced


def jpeg(values: Array) -> str:
    """[h, w] in [0, 1] as a grey JPEG, a data: URI."""
    image = io.BytesIO()
    Image.fromarray(_bytes(values)).save(image, "JPEG", quality=QUALITY)
    return _uri("jpeg", image.getvalue())


def heat_png(values: Array) -> str:
    """Heat [h, w] in [0, 1] as a PNG to lay over a grey image, a data: URI.

    Colour and opacity are those of `disasym.infer.colours.overlay` with strength 1.
    """
    levels = _bytes(values)
    colours = heat(FAINTEST + (1 - FAINTEST) * np.linspace(0, 1, 256, dtype=np.float32)[None])
    image = Image.frombytes("P", (levels.shape[1], levels.shape[0]), levels.tobytes())
    image.putpalette(colours.tobytes())
    png = io.BytesIO()
    image.save(png, "PNG", transparency=bytes(range(256)), compress_level=6)
    return _uri("png", png.getvalue())


def _bytes(values: Array) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.ascontiguousarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
