"""The report in a browser: headless Chromium reads it as a radiologist would. Skipped, with a reason, without one."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import Browser
from reports import CARDS, CHOSEN, SHOWN, fill


def pixels(browser: Browser) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(browser.picture())).convert("RGB")).astype(int)


def stage(browser: Browser, side: str) -> np.ndarray:
    """What one breast of the current pair looks like, [h, w, 3]."""
    box = browser.run(
        f"(() => {{ const b = document.querySelector('.current .{side} .stage').getBoundingClientRect();"
        " return [b.x, b.y, b.width, b.height]; })()"
    )
    x, y, width, height = (round(edge) for edge in box)
    return pixels(browser)[y : y + height, x : x + width]


# What is there at once


def test_the_worst_pair_is_shown_alone_and_all_its_images_are_there(page: Browser) -> None:
    assert page.run(CARDS) == ["pair-1"]
    assert page.run(CHOSEN) == "pair-1"
    loaded = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    assert page.run(loaded)
    assert page.run("document.querySelectorAll('.current .stage img').length") == 6
    right, left = stage(page, "right"), stage(page, "left")
    assert right[:, -20:].mean() > 2 * right[:, :20].mean()
    assert left[:, :20].mean() > 2 * left[:, -20:].mean()
    assert page.run("[...document.querySelectorAll('.current .marker')].map(e => e.innerText)") == ["R MLO", "L MLO"]


def test_right_is_left_of_left(page: Browser) -> None:
    right, left = (
        page.run(f"document.querySelector('.current .{side}').getBoundingClientRect().x") for side in ("right", "left")
    )
    assert right < left


def test_boxes_are_drawn_around_the_heat_and_numbered(page: Browser) -> None:
    page.press("End")
    page.press("k")
    boxed = page.run("document.querySelectorAll('.current svg.boxes rect').length")
    assert boxed == page.run("document.querySelectorAll('.current table.boxes tbody tr').length")
    page.click("#boxed")
    assert page.run("document.querySelectorAll('.current svg.boxes rect').length") == 2
    assert page.run("[...document.querySelectorAll('.current svg.boxes text')].map(e => e.textContent)") == ["1", "2"]
    with_boxes = pixels(page)
    page.press("b")
    changed = (with_boxes != pixels(page)).any()
    assert changed


# Sliders


def test_the_normal_slider_fades_the_image(page: Browser) -> None:
    opacity = "getComputedStyle(document.querySelector('.current .normal')).opacity"
    page.press("h")
    page.press("b")
    before = stage(page, "left")
    assert page.run(opacity) == "0"
    page.click("#normal", across=0.5)
    assert 0.3 < float(page.run(opacity)) < 0.7
    page.run("document.activeElement.blur()")
    fill(page, "normal", "0")
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.press("ArrowLeft")
    assert page.run(opacity) == "0.1"
    page.press("n")
    assert page.run(opacity) == "1"
    after = stage(page, "left")
    bright = before.max(axis=-1) > 100
    assert abs(after[bright] / before[bright] - 0.5).max() < 0.1  # the normal image is half as bright


def test_the_heat_slider_changes_the_opacity_of_the_heat_only(page: Browser) -> None:
    opacity = "getComputedStyle(document.querySelector('.current .heat')).opacity"
    page.press("b")
    assert page.run(opacity) == "0.5"
    page.press("ArrowRight", shift=True)
    assert page.run(opacity) == "0.6"
    assert page.run("document.getElementById('heat-value').textContent") == "60 %"
    hot = stage(page, "right")
    page.press("h")
    assert page.run(opacity) == "0"
    cold = stage(page, "right")
    assert (cold.max(axis=-1) - cold.min(axis=-1)).max() <= 2  # grey
    assert (hot.max(axis=-1) - hot.min(axis=-1)).max() > 40
    page.press("h")
    assert page.run(opacity) == "0.6"


def test_an_arrow_moves_the_slider_that_has_the_focus_and_nothing_else(page: Browser) -> None:
    page.run("document.getElementById('heat').focus()")
    page.press("ArrowRight")
    assert page.run("document.getElementById('heat').value") == "51"
    assert page.run("document.getElementById('normal').value") == "0"
    page.press("ArrowDown")
    assert page.run(CHOSEN) == "pair-1"
    page.press("j")  # letters stay keys of the page
    assert page.run(CHOSEN) == "pair-2"


# List, filter, sort


def test_keys_move_through_the_list_and_stop_at_its_ends(page: Browser) -> None:
    seen = []
    for key in ("ArrowDown", "j", "ArrowUp", "k", "k", "End", "j", "Home"):
        page.press(key)
        seen.append(int(page.run(CHOSEN).removeprefix("pair-")))
        assert page.run(CARDS) == [f"pair-{seen[-1]}"]
    assert seen == [2, 3, 2, 1, 1, 6, 6, 1]
    page.press("v")
    assert page.run(CHOSEN) == "pair-2"  # the other view of the same woman
    page.press("v")
    assert page.run(CHOSEN) == "pair-1"
    assert "Examination 1" in page.run("document.getElementById('said').textContent")


def test_a_click_on_a_row_shows_its_pair_and_its_address_brings_it_back(page: Browser, six_pairs: Path) -> None:
    page.click(".list tr[data-anchor=pair-4] td:nth-child(3)")
    assert page.run(CARDS) == ["pair-4"]
    assert page.run("location.hash") == "#pair-4"
    page.click(".current a.sibling")
    assert page.run(CARDS) == ["pair-3"]
    page.open("about:blank")
    page.open(f"{six_pairs.as_uri()}#pair-5")
    assert page.run(CARDS) == ["pair-5"]


def test_the_filter_filters(page: Browser) -> None:
    everything = page.run(SHOWN)
    assert everything == [f"pair-{number}" for number in range(1, 7)]
    page.press("/")
    page.type("PAIR-4 exam-2")
    assert page.run(SHOWN) == [page.run(CHOSEN)] == page.run(CARDS)
    assert page.run("document.querySelector('.current dd').textContent") == "pair-4"
    assert page.run("document.getElementById('count').textContent") == "1 of 6 pairs"
    page.type(" nowhere")
    assert (page.run(SHOWN), page.run(CARDS)) == ([], [])
    assert page.run("document.getElementById('none').checkVisibility()")
    fill(page, "text", "")
    page.press("Escape")
    assert page.run(SHOWN) == everything
    fill(page, "view", "CC")
    assert (
        page.run(
            "new Set([...document.querySelectorAll('.list tbody tr:not([hidden])')].map(r => r.dataset.view)).size"
        )
        == 1
    )
    assert len(page.run(SHOWN)) == 3
    fill(page, "least", "0.5")
    assert page.run(SHOWN) == []


@pytest.mark.parametrize(
    ("column", "key", "sign"), [("left", "left", -1), ("right", "right", -1), ("asymmetry", "asymmetry", -1)]
)
def test_a_column_sorts_and_a_second_click_turns_it_round(page: Browser, column: str, key: str, sign: int) -> None:
    values = f"[...document.querySelectorAll('.list tbody tr')].map(row => Number(row.dataset.{key}))"
    before = page.run(values)
    page.click(f"th button[data-key={column}]")
    assert page.run(values) == sorted(before, reverse=True)
    cards = page.run("[...document.querySelectorAll('article.pair')].map(card => card.id)")
    assert cards == page.run(SHOWN)  # printed in the same order
    head = f"document.querySelector('th button[data-key={column}]').parentElement.getAttribute('aria-sort')"
    assert page.run(head) == "descending"
    page.click(f"th button[data-key={column}]")
    assert page.run(values) == sorted(before)
    assert page.run(head) == "ascending"
    page.click("th button[data-key=number]")
    assert page.run(SHOWN) == [f"pair-{number}" for number in range(1, 7)]
