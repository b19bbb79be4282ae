"""Any bytes: only Skip and ImageError come out, in one sentence, and nothing is said to the world."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid

from dicom_files import LOSSLESS, LOSSY, breast, lut, write_mammogram
from disasym.dicom import Skip, read_header, read_pixels
from disasym.errors import ImageError

SYNTAXES = [*LOSSLESS, *LOSSY]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("fuzz")
    originals: dict[str, bytes] = {}
    for syntax in SYNTAXES:
        eight = syntax == uid.JPEGBaseline8Bit
        cells = breast().astype(np.uint8 if eight else np.uint16)
        path = write_mammogram(
            folder / "original.dcm", cells, syntax=syntax, bits=8 if eight else 12, VOILUTSequence=lut(0, [0, 9, 65535])
        )
        originals[syntax] = path.read_bytes()
    return originals


def check(path: Path, data: bytes) -> None:
    """Read `data` as a file; anything but a result, Skip or a one-sentence ImageError fails the test."""
    path.write_bytes(data)
    for read in (read_header, read_pixels):
        said = ""
        try:
            result = read(path)
            assert not isinstance(result, np.ndarray) or np.isfinite(result).all()
        except Skip as skip:
            said = skip.reason
        except ImageError as error:
            said = str(error)
            assert said.startswith(f"{path}: "), said
        assert said.isprintable()


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=6)


@settings(max_examples=200)
@given(syntax=st.sampled_from(SYNTAXES), flips=flips, cut=st.one_of(st.none(), st.floats(0, 1)))
def test_flipped_and_cut_bytes_never_escape_as_another_error(
    tmp_path: Path, originals: dict[str, bytes], syntax: str, flips: list[tuple[float, int]], cut: float | None
) -> None:
    data = bytearray(originals[syntax])
    for where, how in flips:
        data[int(where * len(data))] ^= how
    check(tmp_path / "fuzzed", bytes(data if cut is None else data[: int(cut * len(data))]))


@settings(max_examples=100)
@given(syntax=st.sampled_from(SYNTAXES), at=st.floats(0, 1, exclude_max=True), junk=st.binary(max_size=64))
def test_bytes_put_in_never_escape_as_another_error(
    tmp_path: Path, originals: dict[str, bytes], syntax: str, at: float, junk: bytes
) -> None:
    data = originals[syntax]
    place = int(at * len(data))
    check(tmp_path / "fuzzed", data[:place] + junk + data[place:])


@given(body=st.binary(max_size=400))
def test_any_bytes_after_the_prefix_never_escape_as_another_error(tmp_path: Path, body: bytes) -> None:
    check(tmp_path / "fuzzed", bytes(128) + b"DICM" + body)


def test_deeply_nested_sequences_are_refused(tmp_path: Path, originals: dict[str, bytes]) -> None:
    """100,000 sequences within each other: a parser that recurses must not take the process down."""
    level = b"\x08\x00\x11\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    data = originals[uid.ExplicitVRLittleEndian]
    at = data.index(b"\x10\x00\x10\x00PN")
    path = tmp_path / "nested"
    path.write_bytes(data[:at] + level * 100_000 + data[at:])
    with pytest.raises(ImageError, match="RecursionError"):
        read_header(path)
    check(path, path.read_bytes())
