"""The report for everybody: names of controls, contrast, paper, no scripts; hostile values; page after page."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from browser import Browser
from disasym.dicom import Fate
from disasym.infer.report.content import PAIRS
from disasym.infer.results import Row
from disasym.infer.stages import Scored
from reports import CARDS, CHOSEN, SHOWN, asked_for, fill, hot_pair, scored, write_results

HOSTILE = "</script><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">'\u202e"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return hot_pair(tmp_path_factory.mktemp("pairs"))


# For everybody


def test_every_control_has_a_name(page: Browser) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "checkbox", "searchbox", "combobox", "spinbutton", "link"}
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert len(controls) > 20
    for node in controls:
        assert node.get("name", {}).get("value", "").strip(), node


def test_tab_reaches_every_control_and_the_focus_can_be_seen(page: Browser) -> None:
    reached = []
    for _ in range(12):
        page.press("Tab")
        reached.append(page.run("document.activeElement.id"))
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert {"theme", "keys", "text", "view", "least", "boxed"} <= set(reached)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance, of #rrggbb."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_stands_out_from_its_ground(page: Browser, theme: str) -> None:
    if theme == "light":
        page.press("l")
    assert page.run("document.documentElement.dataset.theme") == theme
    colours = {
        name: page.run(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        for name in ("ground", "raised", "chosen", "text", "quiet", "accent")
    }
    for ground in ("ground", "raised", "chosen"):
        for text in ("text", "quiet", "accent"):
            dark, bright = sorted(luminance(colours[name].replace("#fff", "#ffffff")[:7]) for name in (ground, text))
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, (theme, text, ground)  # WCAG 2.2, level AA


def test_the_keys_are_listed_on_the_page(page: Browser) -> None:
    page.press("?")
    assert page.run("document.getElementById('help').open")
    assert page.run("document.getElementById('help').innerText").count("\n") > 20
    page.press("j")
    assert page.run(CHOSEN) == "pair-1"  # the page behind it keeps still
    page.press("Escape")
    assert not page.run("document.getElementById('help').open")


@pytest.mark.parametrize("width", [360, 600, 1000, 1440, 2560])
def test_nothing_is_wider_than_the_window(page: Browser, width: int) -> None:
    page.resize(width, 800)
    assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    right = page.run("document.querySelector('.current .stage').getBoundingClientRect().width")
    assert right >= 150


def test_without_scripts_every_pair_is_there(chromium: Browser, six_pairs: Path) -> None:
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(six_pairs)
        assert len(chromium.run(CARDS)) == 6
        assert not chromium.run("document.querySelector('.toolbar').checkVisibility()")
    finally:
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)


def test_paper_shows_the_list_and_every_pair_that_was_not_filtered_out(page: Browser) -> None:
    def sheets() -> int:
        return len(re.findall(rb"/Type */Page\b", page.printed()))

    everything = sheets()
    assert 3 <= everything <= 6
    page.call("Emulation.setEmulatedMedia", media="print")
    assert len(page.run(CARDS)) == 6
    assert not page.run("document.querySelector('.toolbar').checkVisibility()")
    fill(page, "text", "pair-4")
    assert len(page.run(CARDS)) == 1
    page.call("Emulation.setEmulatedMedia", media="")
    assert sheets() < everything


# Against hostile values


def test_hostile_values_are_shown_and_do_nothing(chromium: Browser, pair: Scored, tmp_path: Path) -> None:
    def hostile(number: int, row: Row) -> Row:
        names = ("pair_id", "exam_id", "study_uid", "patient_id_hash", "right_sop_uid", "left_sop_uid", "paired_by")
        return replace(row, **dict.fromkeys(names, f"{HOSTILE}{number}"))  # type: ignore[arg-type]

    write_results(tmp_path, pair, [hostile] * 2, [Fate(Path(HOSTILE), "failed", HOSTILE)])
    chromium.open(tmp_path / "report.html")
    chromium.press("j")
    assert chromium.run("document.title") == "disasym: 2 pairs"
    assert chromium.run("document.scripts.length") == 1
    shown = chromium.run("document.querySelector('.failed bdi').textContent")
    assert shown == HOSTILE.replace("\u202e", "\\u202e")
    assert chromium.complaints == []
    assert asked_for(chromium) == []


def test_the_page_runs_and_loads_nothing_that_was_slipped_into_it(
    chromium: Browser, six_pairs: Path, tmp_path: Path
) -> None:
    """The second wall: were an escape forgotten, the policy of the page would still hold."""
    slipped = (
        "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
        "<img src='http://127.0.0.1:9/x.png'><link rel=stylesheet href='http://127.0.0.1:9/x.css'>"
        "<body onload=\"document.title='hacked'\"><iframe src='data:text/html,x'></iframe>"
        "<script src='http://127.0.0.1:9/x.js'></script>"
    )
    page = six_pairs.read_text(encoding="utf-8").replace("</footer>", "").replace("</body>", f"{slipped}</body>")
    (tmp_path / "slipped.html").write_text(page, encoding="utf-8")
    chromium.open(tmp_path / "slipped.html")
    assert chromium.run("document.title") == "disasym: 6 pairs"
    assert len(chromium.run(CARDS)) == 1  # the script of the page itself runs
    assert len([text for text in chromium.complaints if "Content Security Policy" in text]) >= 6


# Many pairs


def test_over_two_hundred_pairs_lead_from_page_to_page(chromium: Browser, pair: Scored, tmp_path: Path) -> None:
    chromium.resize(1440, 900)
    write_results(tmp_path, pair, [scored] * (PAIRS + 4))
    chromium.open(tmp_path / "report.html")
    assert len(chromium.run(SHOWN)) == PAIRS
    assert chromium.run("document.getElementById('count').textContent") == f"{PAIRS} of {PAIRS} pairs on this page"
    chromium.press("End")
    assert chromium.run(CARDS) == [f"pair-{PAIRS}"]
    assert chromium.run(
        "(() => { const r = document.querySelector('.list tr[aria-current]').getBoundingClientRect();"
        " return r.top >= 0 && r.bottom <= innerHeight; })()"
    )
    target = chromium.run("document.querySelector('a[rel=next]').href")
    chromium.open(target)
    assert chromium.run(SHOWN) == [f"pair-{PAIRS + number}" for number in range(1, 5)]
    assert chromium.run("document.querySelector('a[rel=prev]').href").endswith("/report.html")
    assert chromium.complaints == []
