"""Reports for tests: a folder of results as a run leaves it, without a network or a film."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from browser import Browser
from disasym.dicom import Fate
from disasym.infer.boxes import regions_of
from disasym.infer.exams import exams_of
from disasym.infer.report import layers_file, write_report
from disasym.infer.results import Row, read_rows, row_of, write_rows
from disasym.infer.stages import Loaded, Scored, load_pair
from exams import FakeEngine, jobs_of

HEIGHT, WIDTH = 128, 64
Change = Callable[[int, Row], Row]


def hot_pair(folder: Path) -> Scored:
    """A pair that is hot at the top of the right breast and, less, at the bottom of the left one."""
    pair = load_pair(jobs_of(folder, 1)[0], HEIGHT, WIDTH)
    assert isinstance(pair, Loaded)
    views = np.stack([pair.right.pixels, pair.left.pixels])
    cam = np.zeros((2, HEIGHT // 32, WIDTH // 32), np.float32)
    cam[0, 1, 0], cam[1, 2, 0] = 1.0, 0.8
    return Scored(pair.job, pair.right, pair.left, 0.8734, (0.95, 0.8), cam, views * np.float32(0.5), views * 0)


def write_results(
    out: Path, pair: Scored, changes: Sequence[Change], fates: Sequence[Fate] = (), images: bool = True
) -> list[Row]:
    """The tables, layers and report of as many pairs as `changes`, each made from `pair`; their rows."""
    engine = FakeEngine(HEIGHT, WIDTH)
    regions = regions_of(pair)
    rows = []
    for number, change in enumerate(changes):
        row = row_of(pair, engine, regions, "")
        row = change(number, replace(row, pair_id=f"pair-{number}", exam_id=f"exam-{number // 2}"))
        rows.append(row)
        if images:
            name, content = layers_file(row, pair, regions if row.boxes else ())
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
    write_rows(out, [row.line() for row in rows])
    write_report(out, engine, exams_of(read_rows(out)), fates)
    return rows


def scored(number: int, row: Row) -> Row:
    """Rows with scores of their own: the larger the number, the worse."""
    share = (number + 1) / 1000
    return replace(row, view="CC" if number % 2 else "MLO", p_abnormal_right=share, p_abnormal_left=0.9 * share)


def ranked(number: int, row: Row) -> Row:
    """As `scored`, with fewer boxes, and of pair 2 the left breast is the worst of all."""
    row = scored(number, row)
    row = replace(row, p_asymmetry=0.5 - number / 20, boxes=row.boxes if number % 3 == 0 else ())
    return replace(row, p_abnormal_left=0.9) if number == 2 else row


def image(uri: str) -> Image.Image:
    """The image of a data: URI."""
    head, content = uri.split(",", 1)
    assert head.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(content)))


# What the tests ask a browser that shows a report

CHOSEN = "document.querySelector('.list tr[aria-current]').dataset.anchor"
SHOWN = "[...document.querySelectorAll('.list tbody tr:not([hidden])')].map(row => row.dataset.anchor)"
CARDS = "[...document.querySelectorAll('article.pair')].filter(card => card.checkVisibility()).map(card => card.id)"


def asked_for(browser: Browser) -> list[str]:
    """Every request but that for the report and its own images."""
    own = ("data:image/", "file:")
    return [url for url in browser.requests if not url.startswith(own) or (url[0] == "f" and "report" not in url)]


def fill(browser: Browser, field: str, value: str) -> None:
    """Give a field of the filter a value, as if it were typed."""
    browser.run(
        f"(() => {{ const field = document.getElementById('{field}'); field.value = '{value}';"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
