"""One run at a time in a folder of results, whatever became of the run before."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from disasym.errors import InputError
from disasym.infer import InferOptions, infer
from disasym.infer.lock import RUNNING, only_run
from exams import rows_of, write_exam

HOLD = """
import sys
from pathlib import Path
from disasym.infer.lock import only_run
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(out: Path) -> subprocess.Popen[bytes]:
    """A process that has the folder until its standard input is closed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_is_told_who_has_the_folder_and_touches_nothing(tmp_path: Path, small_export: Path) -> None:
    out = tmp_path / "out"
    write_exam(tmp_path / "in", "good")
    options = InferOptions(source=tmp_path / "in", out=out, model=small_export, quiet=True, threads=1)
    infer(options)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(rows_of(out)) == 1
    process = holder(out)
    try:
        with pytest.raises(InputError, match=rf"process {process.pid} on .*, since 20.* is writing its results here"):
            infer(options)
        after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != RUNNING}
    finally:
        process.communicate()
    assert after == before
    infer(options)


def test_a_run_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / RUNNING).exists()
    with only_run(tmp_path):
        assert json.loads((tmp_path / RUNNING).read_bytes())["pid"] == os.getpid()
    assert not (tmp_path / RUNNING).exists()


def test_two_runs_in_one_process_are_two(tmp_path: Path) -> None:
    with only_run(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()}"), only_run(tmp_path):
        pass
    with only_run(tmp_path):
        pass


def test_a_holder_that_has_not_said_who_it_is_still_holds(tmp_path: Path) -> None:
    with only_run(tmp_path):
        (tmp_path / RUNNING).write_bytes(b"")
        with pytest.raises(InputError, match="another run is writing"), only_run(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="results cannot be written"), only_run(tmp_path / "file" / "out"):
        pass
