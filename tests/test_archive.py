"""The archive that benchmarks are measured on: every film is its own, whole, and in the syntax that it says."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.archive import AIR, BITS, HANGING, SYNTAXES, Plate, fitted, make_archive, read_plates, write_plates
from dicom_files import breast
from disasym.dicom import read_pixels, scan
from disasym.dicom.decode import DECODERS

LOSSY = ("jpeg-extended", "jpeg-ls-near", "j2k-lossy", "htj2k-lossy")
EVERY = tuple(SYNTAXES)


def plates() -> tuple[Plate, ...]:
    """Two women."""
    films = (breast(96, 80, peak) for peak in range(3200, 4000, 100))
    return tuple(Plate(view, side, film) for film, (view, side) in zip(films, HANGING * 2, strict=True))


def test_every_film_of_an_archive_is_used_none_is_taken_for_a_copy(tmp_path: Path) -> None:
    made = make_archive(tmp_path, plates(), 2 * len(EVERY), EVERY)
    found = scan(tmp_path)
    assert len(found.fates) == made.files == 8 * len(EVERY)
    assert {fate.fate for fate in found.fates} == {"used"}
    assert len(found.pairs) == 4 * len(EVERY)
    headers = [header for pair in found.pairs for header in (pair.right, pair.left)]
    assert len({header.sop_uid for header in headers}) == made.files
    assert len({header.study_uid for header in headers}) == made.exams
    assert len({header.patient_key for header in headers}) == made.exams
    assert made.bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.dcm"))


def test_each_syntax_is_the_one_that_it_says_and_holds_the_picture(tmp_path: Path) -> None:
    make_archive(tmp_path, plates(), len(EVERY), EVERY)
    plate = plates()[0]  # R CC of the first woman
    for number, name in enumerate(EVERY):
        path = tmp_path / "000" / f"{number:06}" / "RCC.dcm"
        (header,) = (header for pair in scan(path.parent).pairs for header in (pair.right,) if header.path == path)
        assert header.transfer_syntax == SYNTAXES[name].uid
        found = read_pixels(path)
        close = np.abs(found - plate.cells / (2**BITS - 1)).max()
        assert close <= (0.03 if name in LOSSY else 1e-3), name


def test_an_archive_can_have_every_kind_of_compression_that_is_read() -> None:
    uids = {syntax.uid for syntax in SYNTAXES.values()}
    other_wrappings = {
        "1.2.840.10008.1.2",  # implicit: the pixels are those of explicit
        "1.2.840.10008.1.2.4.50",  # baseline is for 8 bits
        "1.2.840.10008.1.2.4.57",  # predictors but the first are hardly written
        "1.2.840.10008.1.2.4.202",  # another order of packets
    }
    assert set(DECODERS) - uids == other_wrappings


def test_the_same_call_makes_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_archive(tmp_path / name, plates(), 2, ("j2k",))
    for path in (tmp_path / "one").rglob("*.dcm"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_picture_keeps_its_aspect_and_its_chest_wall_and_air_is_nothing(mirrored: bool) -> None:
    picture = np.full((50, 20), AIR / 2, np.float32)
    picture[10:30, :12] = 0.5
    film = fitted(picture[:, ::-1] if mirrored else picture, 100, 80)
    film = film[:, ::-1] if mirrored else film
    rows, columns = np.nonzero(film > 1000)
    assert film.shape == (100, 80)
    assert (rows.min(), columns.min()) == (20, 0)
    assert (abs(rows.max() - 59), abs(columns.max() - 23)) <= (1, 1)
    assert not film[:15].any()
    assert not film[:, 30:].any()
    assert film.max() <= 2**BITS - 1


def test_plates_are_the_same_after_a_journey(tmp_path: Path) -> None:
    write_plates(tmp_path / "plates.npz", plates())
    for made, found in zip(plates(), read_plates(tmp_path / "plates.npz"), strict=True):
        assert (made.view, made.laterality) == (found.view, found.laterality)
        assert np.array_equal(made.cells, found.cells)
