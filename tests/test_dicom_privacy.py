"""No name, identifier or birth date in any message, repr, warning or log."""

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from dicom_files import write_film, write_mammogram
from disasym.dicom import Skip, read_header, read_pixels
from disasym.errors import ImageError

# The year of birth not inside a number or a UID: those of the files are random, and 1950 is in one of a few hundred.
CANARIES = re.compile(r"Canary|Yellow|C4N4RY|(?<![\d.])1950")


def test_no_message_repr_warning_or_log_names_the_woman(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names in every tag that could reach a message, in files that are good, odd and damaged in many ways."""
    caplog.set_level(logging.DEBUG)
    spoilt = (
        *(
            "ViewPosition",
            "Modality",
            "SeriesDescription",
            "Laterality",
            "ImageLaterality",
            "PhotometricInterpretation",
        ),
        *("PresentationIntentType", "VOILUTFunction", "PatientOrientation", "PresentationLUTShape", "StudyDate"),
        *(
            "StudyInstanceUID",
            "SeriesInstanceUID",
            "WindowCenter",
            "PixelSpacing",
            "NumberOfFrames",
            "SpecificCharacterSet",
        ),
    )
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, keyword in enumerate((None, *spoilt)):
            path = tmp_path / f"{number}.dcm"
            marked = write_mammogram(
                path, patient="C4N4RY", WindowWidth="9", **({keyword: marker(keyword)} if keyword else {})
            )
            spoil(marked)
            said += [outcome(read_header, marked), outcome(read_pixels, marked)]
            data = marked.read_bytes()
            marked.write_bytes(data[: len(data) // 2])
            said.append(outcome(read_header, marked))
    said += [str(warning.message) for warning in caught] + [caplog.text, capsys.readouterr().err]
    for text in said:
        assert not CANARIES.search(text.replace(str(tmp_path), "")), text


def marker(keyword: str) -> Any:
    """A value of the right form and of the length of "Canary^Yellow", which `spoil` puts in its place."""
    numeric = {"WindowCenter": "1234567890.25", "NumberOfFrames": "1234567890", "PixelSpacing": ["1234567890.25", "1"]}
    plain = {"StudyInstanceUID": "1.23456789.12", "SeriesInstanceUID": "1.23456789.12", "StudyDate": "20200102"}
    return numeric.get(keyword) or plain.get(keyword) or ("ISO_IR 100" if "Character" in keyword else "XXXXXXXXXXXXX")


def spoil(path: Path) -> None:
    data = path.read_bytes()
    for form in (b"XXXXXXXXXXXXX", b"1.23456789.12", b"1234567890.25"):
        data = data.replace(form, b"Canary^Yellow")
    path.write_bytes(data.replace(b"1234567890", b"Canary1950").replace(b"ISO_IR 100", b"Canary1950"))


def outcome(read: Any, path: Path) -> str:
    try:
        return repr(read(path))
    except (Skip, ImageError) as error:
        chain = "" if error.__suppress_context__ else repr(error.__context__)
        return f"{error!s} {error!r} {chain}"


def test_the_patient_key_is_a_hash_that_two_films_of_a_woman_share(tmp_path: Path) -> None:
    plain = read_header(write_mammogram(tmp_path / "a.dcm", patient="47110815"))
    other = read_header(write_mammogram(tmp_path / "b.dcm", patient="47110815", IssuerOfPatientID="ward"))
    films = [read_header(write_film(tmp_path / side, side=side)) for side in ("LEFT", "RIGHT")]
    assert plain.patient_key == "10cb66dab30322ef"  # printf '47110815\0' | sha256sum
    assert plain.patient_key != other.patient_key
    assert films[0].patient_key == films[1].patient_key
    assert "47110815" not in repr(plain)
