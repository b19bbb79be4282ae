"""Laws of the parts of `listen`: what lies together, what is analysed when."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pynetdicom", reason="pynetdicom is absent: pip install '.[listen]'")

from pydicom import dcmread

from dicom_files import make_header, write_film, write_mammogram
from disasym.dicom import pair
from disasym.listen.analyse import complete
from disasym.listen.spool import Spool, exam_of
from disasym.listen.waiting import WaitingRoom

WOMEN = ("4711", "4712", "", "ANON", *(f"Mass-Test_P_0000{n}_{side}_CC" for n in (1, 2) for side in ("LEFT", "RIGHT")))
FILMS = st.lists(
    st.tuples(
        st.sampled_from(WOMEN),
        st.sampled_from(("19501231", "")),
        st.sampled_from(("1.2.1", "1.2.2")),
        st.sampled_from("RL"),
        st.sampled_from(("CC", "MLO")),
    ),
    max_size=12,
)
DATES = {"1.2.1": "20200102", "1.2.2": "20200102"}


@given(FILMS, st.booleans())
def test_whatever_may_be_paired_is_one_examination_and_two_women_never_are(
    films: list[tuple[str, str, str, str, str]], dated: bool
) -> None:
    headers = [
        make_header(
            *(str(number), side, view),  # type: ignore[arg-type]
            patient=patient,
            birth_date=birth,
            study_uid=study,
            study_date=DATES[study] if dated else "",
        )
        for number, (patient, birth, study, side, view) in enumerate(films)
    ]
    exams = {header.path: exam_of(header.patient, header.study_uid, header.study_date) for header in headers}
    for made in pair(headers).pairs:
        assert exams[made.right.path] == exams[made.left.path]
    for one in headers:
        for other in headers:
            if one.patient.identity != other.patient.identity:
                assert exams[one.path] != exams[other.path]


def store(spool: Spool, path: Path) -> tuple[str, bool]:
    film = dcmread(path)
    return spool.store([path.read_bytes()], film.SOPClassUID, film.SOPInstanceUID)


def test_no_name_in_the_spool_comes_from_a_tag(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", tmp_path / "exams")
    film = write_mammogram(tmp_path / "a.dcm", patient="../../C4N4RY")
    odd = str(dcmread(film).StudyInstanceUID).encode()
    film.write_bytes(film.read_bytes().replace(odd, b"../" * (len(odd) // 3) + b"." * (len(odd) % 3)))
    exam, new = store(spool, film)
    assert new
    (kept,) = (tmp_path / "spool").rglob("*.dcm")
    assert kept.parent == tmp_path / "spool" / exam
    assert set(exam) | set(kept.stem) <= set("0123456789abcdef")
    assert kept.read_bytes() == film.read_bytes()
    assert store(spool, film) == (exam, False)


def test_what_was_being_written_when_the_program_was_killed_is_cleared_away(tmp_path: Path) -> None:
    Spool(tmp_path / "spool", tmp_path / "exams")
    half = tmp_path / "spool" / ".incoming" / "half.dcm"
    half.write_bytes(b"half")
    spool = Spool(tmp_path / "spool", tmp_path / "exams")
    assert not half.exists()
    assert spool.exams() == []


def test_films_are_not_removed_when_others_came(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", tmp_path / "exams")
    exam, _ = store(spool, write_mammogram(tmp_path / "a.dcm"))
    state = spool.state(exam)
    store(spool, write_mammogram(tmp_path / "b.dcm", laterality="L"))
    assert not spool.remove(exam, state)
    assert len(spool.films(exam)) == 2
    assert spool.remove(exam, spool.state(exam))
    assert spool.exams() == []


def test_an_examination_is_complete_when_every_view_has_both_sides(tmp_path: Path) -> None:
    right, left = (write_mammogram(tmp_path / f"{side}.dcm", laterality=side) for side in "RL")
    oblique = write_mammogram(tmp_path / "mlo.dcm", view="MLO")
    odd = write_mammogram(tmp_path / "odd.dcm", Modality="OT", laterality="R", view="MLO")
    films = [write_film(tmp_path / f"film-{side}.dcm", side=side) for side in ("RIGHT", "LEFT")]
    assert complete([right, left], False)
    assert complete([right, left, odd], False)
    assert complete(films, False)
    assert not complete([right], False)
    assert not complete([right, left, oblique], False)
    assert not complete([odd], False)
    assert not complete([], False)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def room_of(whole: Callable[[str], bool]) -> tuple[WaitingRoom, Clock]:
    clock = Clock()
    return WaitingRoom(60.0, whole, clock), clock


def ready(room: WaitingRoom) -> str | None:
    found = room.next(0.0)
    return None if found is None else found[0]


def test_a_whole_examination_waits_for_its_sender_to_hang_up_and_a_part_for_quiet() -> None:
    room, clock = room_of(lambda exam: exam == "whole")
    room.arrived("whole", 1)
    room.arrived("part", 1)
    room.arrived("whole", 2)
    assert ready(room) is None
    room.closed(1)
    assert ready(room) is None, "the other sender goes on"
    room.closed(2)
    assert ready(room) == "whole"
    clock.now += 59
    room.arrived("part", 3)
    clock.now += 59
    assert ready(room) == "whole"
    room.done("whole", 1000.0)
    assert ready(room) is None
    clock.now += 2
    assert ready(room) == "part", "its sender has not hung up, and has been quiet for a minute"


def test_a_film_that_comes_while_its_examination_is_analysed_is_not_forgotten() -> None:
    room, clock = room_of(lambda exam: True)
    room.arrived("exam")
    found = room.next(0.0)
    assert found is not None
    clock.now += 1
    room.arrived("exam")
    room.done(*found)
    assert ready(room) == "exam"


def test_what_failed_waits_and_lets_others_go_first() -> None:
    room, clock = room_of(lambda exam: True)
    room.arrived("bad")
    clock.now += 1
    room.arrived("good")
    assert ready(room) == "bad"
    room.again("bad", lambda failures: 10.0 * failures)
    assert ready(room) == "good"
    room.done("good", 1001.0)
    assert ready(room) is None
    clock.now += 10
    assert ready(room) == "bad"
    room.again("bad", lambda failures: 10.0 * failures)
    clock.now += 15
    assert ready(room) is None
    room.arrived("bad")
    assert ready(room) == "bad", "a film came: it is tried at once"
