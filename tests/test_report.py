"""The report as files: what the images show, which pair comes where, and that nothing from outside is markup."""

import json
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disasym.dicom import Fate
from disasym.errors import InputError
from disasym.infer import InferOptions, infer
from disasym.infer.boxes import HOT, heat_of, regions_of
from disasym.infer.colours import overlay
from disasym.infer.exams import exams_of
from disasym.infer.report import layers_file, write_report
from disasym.infer.report.content import PAIRS, page_name
from disasym.infer.report.layers import Layers, heat_png, jpeg, layers_name, read_layers
from disasym.infer.report.pages import printable
from disasym.infer.results import Row, panel_name, read_rows, row_of, write_rows
from disasym.infer.run import infer_with
from disasym.infer.stages import Scored
from disasym.spec import Array
from exams import FakeEngine, write_exam
from reports import HEIGHT, WIDTH, hot_pair, image, scored, write_results
from tolerances import tolerance


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return hot_pair(tmp_path_factory.mktemp("pairs"))


def layers_of(pair: Scored) -> tuple[Row, Layers]:
    row = row_of(pair, FakeEngine(HEIGHT, WIDTH), regions_of(pair), "")
    return row, Layers.read(layers_file(row, pair, regions_of(pair))[1])


def text_of(out: Path, page: str = "report.html") -> str:
    return (out / page).read_text(encoding="utf-8")


def anchors(page: str) -> list[str]:
    return re.findall(r'<article class="pair[^"]*" id="([^"]+)"', page)


# The images of a pair


def test_breasts_hang_with_their_chest_walls_in_the_middle(pair: Scored) -> None:
    _, layers = layers_of(pair)
    right, left = (np.asarray(image(side.original)).astype(int) for side in (layers.right, layers.left))
    assert right[:, -10:].mean() > 2 * right[:, :10].mean()
    assert left[:, :10].mean() > 2 * left[:, -10:].mean()
    assert abs(right[:, ::-1] - np.rint(pair.right.pixels * 255)).max() <= tolerance("report image, grey levels")
    assert abs(left - np.rint(pair.left.pixels * 255)).max() <= tolerance("report image, grey levels")


def test_normal_images_lie_over_their_originals(pair: Scored) -> None:
    _, layers = layers_of(pair)
    for side, number in ((layers.right, 0), (layers.left, 1)):
        assert side.normal is not None
        assert pair.normal is not None
        shown = np.asarray(image(side.normal)).astype(int)
        wanted = pair.normal[number][:, ::-1] if number == 0 else pair.normal[number]
        assert abs(shown - np.rint(wanted * 255)).max() <= tolerance("report image, grey levels")


def test_boxes_lie_where_the_heat_is_on_the_breast_as_it_hangs(pair: Scored) -> None:
    row, layers = layers_of(pair)
    assert row.boxes is not None
    assert [box.laterality for box in row.boxes] == ["R", "L"]
    for (x0, y0, x1, y1), side in zip(layers.boxes, (layers.right, layers.left), strict=True):
        assert side.heat is not None
        hot = np.asarray(image(side.heat)) >= HOT * 255
        rows, columns = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
        assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x0, y0, x1, y1)
    assert layers.boxes[0][2] == WIDTH  # the heat of the right breast is at its chest wall, at the right edge


def test_heat_over_an_original_looks_as_in_the_panel(pair: Scored) -> None:
    assert pair.cam is not None
    heat = heat_of(pair.left.pixels, pair.cam[1])
    over = image(heat_png(heat)).convert("RGBA")
    colour, alpha = np.asarray(over)[..., :3] / 255, np.asarray(over)[..., 3:] / 255
    grey = np.rint(pair.left.pixels * 255)[..., None] / 255
    for strength in (0.0, 0.5, 1.0):  # CSS opacity multiplies the alpha of an image
        shown = (1 - strength * alpha) * grey + strength * alpha * colour
        wanted = overlay(pair.left.pixels, heat, strength)
        assert abs(shown * 255 - wanted).max() <= tolerance("report heat, colour levels")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_size_of_view_can_be_shown(height: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((height, width), np.float32)
    assert image(jpeg(values)).size == image(heat_png(values)).size == (width, height)


def test_images_of_another_result_are_not_shown(pair: Scored, tmp_path: Path) -> None:
    row, layers = layers_of(pair)
    name, content = layers_file(row, pair, regions_of(pair))
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(content)
    assert read_layers(tmp_path, row) == layers
    for other in (
        replace(row, model_sha256="1" * 64),
        replace(row, p_abnormal_left=row.p_abnormal_left + 1e-6),
        replace(row, engine="tensorrt"),
        replace(row, boxes=()),
        replace(row, pair_id="elsewhere"),
    ):
        assert read_layers(tmp_path, other) is None
    for damaged in (content[:-100], b"", b"[]", b"{}", b"\xff"):
        (tmp_path / name).write_bytes(damaged)
        assert read_layers(tmp_path, row) is None


@given(st.text())
def test_the_images_of_a_pair_get_a_safe_name_of_their_own(pair_id: str) -> None:
    assert re.fullmatch(r"layers/[a-z0-9][a-z0-9._-]*\.json", layers_name(pair_id))
    assert layers_name(pair_id)[len("layers/") : -len(".json")] == panel_name(pair_id)[len("images/") : -len(".png")]


# Which pair stands where


def test_the_worst_examination_comes_first_over_all_pages_and_none_is_divided(pair: Scored, tmp_path: Path) -> None:
    count = 2 * PAIRS + 50
    rows = write_results(tmp_path, pair, [scored] * count, images=False)
    pages = [text_of(tmp_path, page_name(number)) for number in (1, 2, 3)]
    assert not (tmp_path / page_name(4)).exists()
    assert [len(anchors(page)) for page in pages] == [PAIRS, PAIRS, 50]
    assert [anchor for page in pages for anchor in anchors(page)] == [
        f"pair-{number}" for number in range(1, count + 1)
    ]
    found = [pair_id for page in pages for pair_id in re.findall(r"<dt>Pair</dt><dd><bdi>([^<]+)</bdi>", page)]
    assert found == [row.pair_id for row in reversed(rows)]  # larger numbers are worse
    for before, page, after in ((None, pages[0], 2), (1, pages[1], 3), (2, pages[2], None)):
        links = set(re.findall(r'href="(report[^"#]*)" rel', page))
        assert links == {page_name(number) for number in (before, after) if number is not None}


def test_three_pairs_of_one_woman_stay_on_one_page(pair: Scored, tmp_path: Path) -> None:
    def change(number: int, row: Row) -> Row:
        return replace(scored(number, row), exam_id=f"exam-{number // 3}")

    write_results(tmp_path, pair, [change] * (PAIRS + 1), images=False)
    assert len(anchors(text_of(tmp_path))) == PAIRS - PAIRS % 3


def test_pages_of_a_longer_report_before_are_removed_and_other_files_are_not(pair: Scored, tmp_path: Path) -> None:
    for name in ("report-2.html", "report-17.html", "report-old.html", "report.html.bak", "report-02.html"):
        (tmp_path / name).touch()
    write_results(tmp_path, pair, [scored], images=False)
    left = {path.name for path in tmp_path.glob("report*")}
    assert left == {"report.html", "report-old.html", "report.html.bak", "report-02.html"}


def test_the_same_results_give_the_same_bytes(pair: Scored, tmp_path: Path) -> None:
    for name in "ab":
        write_results(tmp_path / name, pair, [scored] * 3)
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


def test_one_pair_at_a_time_is_in_memory(pair: Scored, tmp_path: Path) -> None:
    rows = write_results(tmp_path, pair, [scored] * 24, images=False)
    filler = "data:image/jpeg;base64," + "A" * 250_000
    for row in rows:
        layers = layers_of(pair)[1]
        made = json.loads(layers_file(row, pair, regions_of(pair))[1])
        made["right"]["original"] = made["left"]["original"] = filler
        path = tmp_path / layers_name(row.pair_id)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(made))
        assert len(layers.boxes) == 2
    exams = exams_of(read_rows(tmp_path))
    tracemalloc.start()
    write_report(tmp_path, FakeEngine(HEIGHT, WIDTH), exams, ())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "report.html").stat().st_size > 24 * 500_000
    assert peak < 6_000_000  # half of the page


# What comes from outside is text


HOSTILE = "</script><script>document.title='hacked'</script><img src=x onerror=alert(1)>\" onfocus=alert(1) x='&amp;"


def test_hostile_values_are_text(pair: Scored, tmp_path: Path) -> None:
    def hostile(number: int, row: Row) -> Row:
        text = dict.fromkeys(
            ("pair_id", "exam_id", "study_uid", "patient_id_hash", "right_sop_uid", "left_sop_uid", "paired_by"),
            HOSTILE,
        )
        return replace(row, **text, view=HOSTILE)  # type: ignore[arg-type]

    write_results(tmp_path, pair, [hostile], [Fate(Path(HOSTILE), "failed", HOSTILE)])
    page = text_of(tmp_path)
    assert page.count("<script") == page.count("</script>") == 1
    assert page.count("<img ") == 1 + 6  # the scale, and three layers of two breasts
    assert "onfocus=alert(1) x='" not in page
    assert "&lt;/script&gt;" in page


@given(st.text())
def test_every_character_shows_and_none_reorders_others(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\u200fx", "\\u200fx"),
        ("a\nb", "a\\nb"),
        ("\udcff", "\\udcff"),
        ("é", "é"),
    ],
)
def test_marks_of_direction_and_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_name_that_is_no_text_can_be_written(pair: Scored, tmp_path: Path) -> None:
    write_results(tmp_path, pair, [scored], [Fate(Path("film-\udcff.dcm"), "failed", "no \ud800 text")])
    assert "film-\\udcff.dcm" in text_of(tmp_path)


# What is missing is said


def test_failed_files_and_incomplete_examinations_are_told(pair: Scored, tmp_path: Path) -> None:
    write_results(tmp_path, pair, [scored] * 2)
    exams = [replace(exam, failed=2) for exam in exams_of(read_rows(tmp_path))]
    lost = replace(exams[0], exam_id="none", pairs=0, failed=1, p_abnormal=None)
    fates = [
        Fate(Path("a.dcm"), "failed", "cut short"),
        *(Fate(Path(f"{n}.txt"), "skipped", "text") for n in range(700)),
    ]
    write_report(tmp_path, FakeEngine(HEIGHT, WIDTH), [*exams, lost], fates)
    page = text_of(tmp_path)
    assert "<bdi>a.dcm</bdi></td><td><bdi>cut short</bdi>" in page
    assert "0 used, 700 skipped, 1 failed" in page
    assert "and 200 more in" in page
    assert "2 other pairs of this examination gave no result" in page
    assert "1 examination gave no result at all" in page


def test_without_any_pair_the_page_says_why(pair: Scored, tmp_path: Path) -> None:
    write_results(tmp_path, pair, [], [Fate(Path("ct.dcm"), "skipped", "Modality is CT")])
    page = text_of(tmp_path)
    assert "No pair of mammograms was found" in page
    assert "Modality is CT" in page
    assert '<details class="skipped" open>' in page
    write_results(tmp_path, pair, [])
    assert "The source holds no file at all" in text_of(tmp_path)


def test_a_pair_whose_images_are_gone_still_has_its_scores(pair: Scored, tmp_path: Path) -> None:
    write_results(tmp_path, pair, [scored], images=False)
    page = text_of(tmp_path)
    assert "images of this pair were not kept" in page
    assert "abnormal 0.00" in page


class ScoresOnly(FakeEngine):
    """An export without CAM and images."""

    def __init__(self) -> None:
        super().__init__(HEIGHT, WIDTH)
        self.info = replace(self.info, outputs=("asymmetry", "abnormal"))

    def _infer(self, views: Array) -> dict[str, Array]:
        outputs = super()._infer(views)
        return {name: outputs[name] for name in self.info.outputs}


def test_a_model_of_scores_alone_gets_a_report_of_scores_and_films(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "a")
    summary = infer_with(ScoresOnly(), InferOptions(tmp_path / "in", tmp_path / "out", quiet=True))
    page = text_of(tmp_path / "out")
    assert "exported without cam, normal, abnormality" in page
    assert "no heat map and no boxes and no normal images" in page
    assert page.count("<img ") == 2
    assert "the model makes no heat map to look for them" in page
    assert summary.exit_code == 0


# As part of a run


def test_a_run_makes_the_report_and_one_without_it_leaves_none(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", "a")
    options = InferOptions(tmp_path / "in", tmp_path / "out", quiet=True)
    infer_with(FakeEngine(HEIGHT, WIDTH), options)
    assert anchors(text_of(tmp_path / "out")) == ["pair-1"]
    infer_with(FakeEngine(HEIGHT, WIDTH), replace(options, write=("scores",), fresh=True))
    assert not (tmp_path / "out" / "report.html").exists()


def test_films_that_come_later_join_the_report_as_if_they_had_been_there(tmp_path: Path) -> None:
    options = InferOptions(tmp_path / "in", tmp_path / "out", quiet=True)
    write_exam(tmp_path / "in", "a")
    infer_with(FakeEngine(HEIGHT, WIDTH), options)
    write_exam(tmp_path / "in", "b", seed=3)
    second = infer_with(FakeEngine(HEIGHT, WIDTH), options)
    assert (second.scored, second.already) == (1, 1)  # the images of the first pair come from layers/
    infer_with(FakeEngine(HEIGHT, WIDTH), replace(options, out=tmp_path / "at-once"))
    assert len(anchors(text_of(tmp_path / "out"))) == 2
    assert text_of(tmp_path / "out") == text_of(tmp_path / "at-once")
    assert "were not kept" not in text_of(tmp_path / "out")


def test_the_bundled_weights_are_called_a_demonstration_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISASYM_MODEL", raising=False)
    write_exam(tmp_path / "in", "a")
    infer(InferOptions(tmp_path / "in", tmp_path / "demo", threads=1, quiet=True))
    infer_with(FakeEngine(HEIGHT, WIDTH), InferOptions(tmp_path / "in", tmp_path / "own", quiet=True))
    demonstration, own = text_of(tmp_path / "demo"), text_of(tmp_path / "own")
    assert "Demonstration weights" in demonstration
    assert "Demonstration weights" not in own
    assert "Not a medical device" in demonstration
    assert "Not a medical device" in own


def test_a_disk_that_refuses_is_one_sentence_and_no_half_page(pair: Scored, tmp_path: Path) -> None:
    write_rows(tmp_path, [])
    (tmp_path / "report.html").mkdir()  # a rename onto a folder fails
    with pytest.raises(InputError, match="the report cannot be written"):
        write_report(tmp_path, FakeEngine(HEIGHT, WIDTH), [], ())
    assert [path.name for path in tmp_path.glob(".report*")] == []
