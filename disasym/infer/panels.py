"""Figure 3 of the paper, one PNG a pair: the rows are the right and the left breast, the columns what was found.

Both chest walls are at the left, as the network sees them. Every image has the fixed scale 0…1, so that pictures of
two women can be compared. The heat map is the CAM, smoothly enlarged, on breast tissue only; around each lesion in it
is its box, with its score.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from disasym.engines import Engine
from disasym.files import write_whole
from disasym.infer.boxes import Region, enlarge
from disasym.infer.colours import Pixels, grey, overlay
from disasym.infer.stages import Scored
from disasym.spec import SIDES

COLUMNS = ("original", "heat map", "normal", "abnormality")
CELL_HEIGHT = 768  # pixels that a view is enlarged towards, by a whole factor
STRENGTH = 0.85  # opacity of the heat map where it is 1
WARNING = "research use only, not a medical device"

BACKGROUND, FRAME, TEXT, MUTED, ACCENT = (13, 15, 18), (38, 42, 48), (236, 238, 240), (148, 156, 166), (250, 165, 45)
BOX = (110, 225, 255)  # no colour of the heat map


def write_panel(path: Path, pair: Scored, engine: Engine, regions: Sequence[Region] = ()) -> None:
    """Draw a pair and write the PNG, whole or not at all. OSError when the disk refuses."""
    write_whole(path, png_of(draw_panel(pair, engine, regions)))


def png_of(picture: Image.Image) -> bytes:
    """A picture as the content of a PNG file."""
    png = io.BytesIO()
    picture.save(png, "PNG", compress_level=4)
    return png.getvalue()


def draw_panel(pair: Scored, engine: Engine, regions: Sequence[Region] = ()) -> Image.Image:
    """The picture of one pair, RGB, with the boxes of `regions`. ValueError for a pair without heat map or images."""
    layout = Layout.of(*pair.right.pixels.shape)
    picture = Image.new("RGB", (layout.width, layout.height), BACKGROUND)
    pen = Pen(ImageDraw.Draw(picture), layout.unit)
    _header(pen, layout, pair)
    for side in range(2):
        _side_title(pen, layout, side, pair.abnormal[side])
        for column, cell in enumerate(_cells(pair, side, layout)):
            picture.paste(Image.fromarray(cell), layout.cell(side, column))
            pen.frame(layout.cell(side, column), layout.cell_width, layout.cell_height)
    for region in regions:
        _box(pen, layout, region, pair.right.pixels.shape[0])
    _colour_bar(picture, pen, layout)
    _footer(pen, layout, engine)
    return picture


def _cells(pair: Scored, side: int, layout: "Layout") -> tuple[Pixels, ...]:
    """The four images of one breast, enlarged, in the order of COLUMNS."""
    if pair.cam is None or pair.normal is None or pair.abnormality is None:
        raise ValueError(f"pair {pair.job.pair_id} has no heat map or no images to draw")
    height, width = layout.cell_height, layout.cell_width
    view = (pair.right, pair.left)[side].pixels
    original = enlarge(view, height, width)
    cam = enlarge(pair.cam[side], height, width) * enlarge(view > 0, height, width)  # on tissue only
    return (
        grey(original),
        overlay(original, cam, STRENGTH),
        grey(enlarge(pair.normal[side], height, width)),
        grey(enlarge(pair.abnormality[side], height, width)),
    )


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in pixels of the picture; `unit` grows with the cells and sizes type and margins."""

    cell_width: int
    cell_height: int
    unit: float

    @classmethod
    def of(cls, height: int, width: int) -> "Layout":
        """For views of height × width: enlarged by a whole factor, so that no pixel is smeared unevenly."""
        factor = max(1, CELL_HEIGHT // height)
        return cls(width * factor, height * factor, height * factor / CELL_HEIGHT)

    def px(self, size: float) -> int:
        return round(size * self.unit)

    @property
    def margin(self) -> int:
        return self.px(36)

    @property
    def gap(self) -> int:
        return self.px(14)

    @property
    def top(self) -> int:
        """Where the first row of cells begins, below the header and the names of the columns."""
        return self.px(36 + 96 + 44 + 52)

    @property
    def bar(self) -> int:
        """The left edge of the colour bar."""
        return self.margin + 4 * self.cell_width + 3 * self.gap + self.px(32)

    @property
    def width(self) -> int:
        return self.bar + self.px(24 + 62) + self.margin

    @property
    def height(self) -> int:
        return self.cell(1, 0)[1] + self.cell_height + self.px(24 + 26) + self.margin

    def cell(self, row: int, column: int) -> tuple[int, int]:
        """The top left corner of a cell."""
        x = self.margin + column * (self.cell_width + self.gap)
        return x, self.top + row * (self.cell_height + self.px(70))


@dataclass(frozen=True)
class Pen:
    """Draws text and lines in units of the layout."""

    draw: ImageDraw.ImageDraw
    unit: float

    def text(self, at: tuple[int, int], text: str, size: float, colour: tuple[int, int, int], anchor: str) -> None:
        """`anchor` as in Pillow: l, m, r for the horizontal and s for the base line."""
        self.draw.text(at, text, colour, ImageFont.load_default(max(9, size * self.unit)), anchor)

    def frame(self, at: tuple[int, int], width: int, height: int) -> None:
        x, y = at
        self.draw.rectangle((x - 1, y - 1, x + width, y + height), outline=FRAME)


def _header(pen: Pen, layout: Layout, pair: Scored) -> None:
    left, right = layout.margin, layout.cell(0, 3)[0] + layout.cell_width
    base = layout.margin + layout.px(34)
    pen.text((left, base), f"{pair.job.view}  right and left breast", 38, TEXT, "ls")
    pen.text((right, base), f"asymmetry {pair.asymmetry:.3f}", 38, ACCENT, "rs")
    whose = f"pair {pair.job.pair_id}"
    if pair.job.patient_hash:
        whose += f"   patient {pair.job.patient_hash}"
    pen.text((left, base + layout.px(42)), whose, 24, MUTED, "ls")
    pen.text((right, base + layout.px(42)), "probability that the pair is asymmetric", 24, MUTED, "rs")
    for column, name in enumerate(COLUMNS):
        x = layout.cell(0, column)[0] + layout.cell_width // 2
        pen.text((x, layout.top - layout.px(64)), name, 28, TEXT, "ms")


def _side_title(pen: Pen, layout: Layout, side: int, abnormal: float) -> None:
    x, y = layout.cell(side, 0)
    base = y - layout.px(16)
    pen.text((x, base), ("Right", "Left")[side], 30, TEXT, "ls")
    pen.text((x + layout.cell_width, base), f"abnormal {abnormal:.3f}", 28, ACCENT, "rs")


def _box(pen: Pen, layout: Layout, region: Region, rows: int) -> None:
    """The box of a region on its breast's heat map: the line runs around its pixels, the score stands above it."""
    x, y = layout.cell(SIDES.index(region.laterality), COLUMNS.index("heat map"))
    factor = layout.cell_height // rows
    left, top, right, bottom = (round(edge * factor) for edge in region.frame)
    thick = layout.px(4)
    pen.draw.rectangle(
        (x + left - thick, y + top - thick, x + right - 1 + thick, y + bottom - 1 + thick), None, BOX, thick
    )
    above = top - layout.px(10) if top > layout.px(36) else bottom + layout.px(32)
    pen.text((x + left, y + above), f"{region.score:.2f}", 24, BOX, "ls")


def _colour_bar(picture: Image.Image, pen: Pen, layout: Layout) -> None:
    """The scale of the heat map, as it looks over tissue of middle grey."""
    x, y = layout.bar, layout.cell(0, 0)[1]
    height, width = layout.cell_height, layout.px(24)
    ramp = np.repeat(np.linspace(1, 0, height, dtype=np.float32)[:, None], width, axis=1)
    picture.paste(Image.fromarray(overlay(np.full_like(ramp, 0.5), ramp, STRENGTH)), (x, y))
    pen.frame((x, y), width, height)
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        tick = y + round((1 - value) * (height - 1))
        pen.draw.line((x + width, tick, x + width + layout.px(7), tick), MUTED)
        pen.text((x + width + layout.px(12), tick + layout.px(8)), f"{value:g}", 22, MUTED, "ls")
    pen.text((x + width // 2, y - layout.px(16)), "heat", 24, MUTED, "ms")


def _footer(pen: Pen, layout: Layout, engine: Engine) -> None:
    base = layout.height - layout.margin
    made_by = f"disasym   model {engine.info.model_sha256[:12]}   {engine.name} {engine.info.precision}"
    pen.text((layout.margin, base), made_by, 22, MUTED, "ls")
    pen.text((layout.cell(1, 3)[0] + layout.cell_width, base), WARNING, 22, MUTED, "rs")
