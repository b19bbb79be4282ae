"""Figure 3: what each method looks at in the same test pairs, and the two images that DisAsymNet makes of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from disasym.checkpoint import load_model
from disasym.data.manifest import ImageRow, PairRow, load_mammogram
from disasym.errors import ImageError
from disasym.evaluate.truth import Truth
from disasym.infer.boxes import heat_of
from disasym.infer.colours import Pixels, grey, overlay
from disasym.preprocess import Mammogram
from disasym.reproduce.options import OURS, ReproduceOptions, title_of
from disasym.reproduce.plan import DONE, Cell
from disasym.spec import SIDES

STRENGTH = 0.6  # of the heat over the film
OUTLINE = (90, 220, 120)
TITLE, GAP, LETTERS = 30, 4, 10  # pixels
LOWEST = 256  # rows of a film in the figure


def figure_3(listed: Sequence[Cell], options: ReproduceOptions, folder: Path) -> list[Path]:
    """A PNG a pair: first asymmetric test pairs of the first fold, those with annotated lesions before others.

    They are taken in the order of the manifest, whatever the methods make of them.
    """
    cells = {c.method: c for c in listed if c.fraction == 1 and c.fold == 0 and c.state == DONE}
    methods = [method for method in options.methods_of("figure3") if method in cells]
    if not methods:
        return []
    test = [pair for pair in cells[methods[0]].parts.test if pair.labels[0]]
    annotated = [pair for pair in test if pair.right.lesions or pair.left.lesions]
    chosen = [*annotated, *(pair for pair in test if pair not in annotated)][: options.panels]
    written = []
    for number, pair in enumerate(chosen, 1):
        path = folder / f"figure3-{cells[methods[0]].study.slug}-{number}.png"
        draw(pair, [cells[method] for method in methods], options, path)
        written.append(path)
    return written


@torch.inference_mode()
def draw(pair: PairRow, cells: Sequence[Cell], options: ReproduceOptions, path: Path) -> None:
    """Rows: right and left breast. Columns: the film with its lesions, each method's map, then x_n and x_ab."""
    config = options.training.config
    breasts = [load_mammogram(row, config.height, config.width) for row in (pair.right, pair.left)]
    views = np.stack([breast.pixels for breast in breasts])
    films = [_outlined(row, breast) for row, breast in zip((pair.right, pair.left), breasts, strict=True)]
    columns: list[tuple[str, list[Pixels]]] = [("film", films)]
    for cell in cells:
        model = load_model(cell.folder / "model.safetensors")
        out = model(torch.from_numpy(views)[None])
        maps = out.cam[0].numpy()
        heats = [overlay(view, heat_of(view, cam), STRENGTH) for view, cam in zip(views, maps, strict=True)]
        scores = " ".join(f"{score:.2f}" for score in out.abnormal[0].tolist())
        columns.append((f"{title_of(cell.method)}\n{scores}", heats))
        if cell.method == OURS and out.normal is not None and out.abnormality is not None:
            columns.append(("x_n", [grey(image) for image in out.normal[0].numpy()]))
            columns.append(("x_ab", [grey(image) for image in out.abnormality[0].numpy()]))
    path.parent.mkdir(parents=True, exist_ok=True)
    _sheet(columns).save(path)


def _outlined(row: ImageRow, breast: Mammogram) -> Pixels:
    """The film with the border of its annotated lesions."""
    image = grey(breast.pixels)
    if row.lesions:
        try:
            inside = Truth.of(row, breast.geometry, *breast.pixels.shape).mask
        except ImageError:  # a mask that cannot be read, which the run's result says
            return image
        image[inside & ~ndimage.binary_erosion(inside, iterations=max(1, inside.shape[0] // 256))] = OUTLINE
    return image


def _sheet(columns: Sequence[tuple[str, list[Pixels]]]) -> Image.Image:
    """Columns side by side under their titles, right breast above left, with the side's letter."""
    height, width = columns[0][1][0].shape[:2]
    factor = max(1, -(-LOWEST // height))
    height, width = height * factor, width * factor
    sheet = Image.new("RGB", (len(columns) * (width + GAP) + GAP, TITLE + 2 * (height + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (title, images) in enumerate(columns):
        left = GAP + column * (width + GAP)
        pen.multiline_text((left, 2), title, fill="black", font=ImageFont.load_default(LETTERS), spacing=1)
        for row, image in enumerate(images):
            shown = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(shown, (left, TITLE + row * (height + GAP)))
            if not column:
                pen.text((left + width - 14, TITLE + row * (height + GAP) + 2), SIDES[row], fill="white")
    return sheet
