"""Studies from a PACS in, results back into the same studies: with Orthanc and with DCMTK's programs."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from archives import UNCLOSED, free_port, listening, orthanc, receiving, until
from exams import write_exam
from validators import complaints

pytest.importorskip("pynetdicom", reason="pynetdicom is absent: pip install '.[listen]'")

pytestmark = UNCLOSED
REPORT, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.mark.slow
def test_real_films_go_from_orthanc_and_their_reports_and_segmentations_come_back_into_their_studies(
    tmp_path: Path, films: list[dict[str, Path]]
) -> None:
    port = free_port()
    with (
        listening(tmp_path / "out", send_to=(f"ORTHANC@127.0.0.1:{port}",), allow=("ORTHANC",)) as server,
        orthanc(tmp_path / "orthanc", server.port, port) as pacs,
    ):
        studies = [pacs.upload(path) for path in films[1].values()]
        assert len(set(studies)) == 4, "in CBIS-DDSM each view is its own study"
        pacs.store(studies)

        def kinds() -> dict[str, set[str]]:
            return {
                study: {
                    pacs.raw(f"/instances/{instance['ID']}/metadata/SopClassUid").decode()
                    for instance in pacs.get(f"/studies/{study}/instances")
                }
                for study in studies
            }

        until(lambda: all(REPORT in found for found in kinds().values()), 60)
        assert len(pacs.get("/studies")) == 4, "no result made a study of its own"
        assert len(pacs.get("/patients")) == 4, "no result made a patient of its own"
        written = {path.name for path in (tmp_path / "out").glob("exams/*/dicom/*.dcm")}
        count = sum(len(pacs.get(f"/studies/{study}/instances")) for study in studies)
        assert count == 4 + len(written)
        assert any("seg" in name for name in written) == any(SEGMENTATION in found for found in kinds().values())
        for number, instance in enumerate(pacs.get("/instances")):
            path = tmp_path / f"{number}.dcm"
            path.write_bytes(pacs.raw(f"/instances/{instance}/file"))
            if pacs.raw(f"/instances/{instance}/metadata/SopClassUid").decode() in (REPORT, SEGMENTATION):
                assert not complaints(path)


@pytest.mark.slow
def test_the_script_of_the_page_sends_each_study_and_its_results_start_nothing(tmp_path: Path, root: Path) -> None:
    page = (root / "docs" / "listen.md").read_text(encoding="utf-8")
    script = re.search(r"```lua\n(.*?)```", page, re.S)
    assert script is not None
    port = free_port()
    write_exam(tmp_path / "films", "woman")
    with (
        listening(tmp_path / "out", send_to=(f"ORTHANC@127.0.0.1:{port}",)) as server,
        orthanc(tmp_path / "orthanc", server.port, port, script[1]) as pacs,
    ):
        (study,) = {pacs.upload(path) for path in (tmp_path / "films").iterdir()}
        until(lambda: len(pacs.get(f"/studies/{study}/instances")) == 3, 60)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("exams/*/*.csv")}
        jobs = len(pacs.get("/jobs"))
        until(lambda: len(pacs.get("/jobs")) > jobs, 60)  # the study with the report is sent again
        time.sleep(1)
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("exams/*/*.csv")} == before
        assert len(pacs.get(f"/studies/{study}/instances")) == 3


def run(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is absent: apt-get install dcmtk")
    return subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_programs_of_dcmtk_are_answered(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    write_exam(folder, "woman")
    with receiving() as archive, listening(tmp_path / "out", send_to=(f"ARCHIVE@127.0.0.1:{archive.port}",)) as server:
        assert run("echoscu", "-aec", "DISASYM", "127.0.0.1", server.port).returncode == 0
        assert run("echoscu", "-aec", "ANOTHER", "127.0.0.1", server.port).returncode != 0
        said = run("storescu", "-aec", "DISASYM", "+sd", "127.0.0.1", server.port, folder)
        assert said.returncode == 0, said.stderr
        until(lambda: archive.taken)


def test_results_reach_the_storescp_of_dcmtk(tmp_path: Path) -> None:
    program = shutil.which("storescp")
    if program is None:
        pytest.skip("storescp is absent: apt-get install dcmtk")
    from archives import send

    port, taken = free_port(), tmp_path / "taken"
    taken.mkdir()
    receiver = subprocess.Popen([program, "-od", taken, "-aet", "DCMTK", str(port)])
    try:
        with listening(tmp_path / "out", send_to=(f"DCMTK@127.0.0.1:{port}",)) as server:
            assert send(server.port, write_exam(tmp_path / "films", "woman")) == [0, 0]
            until(lambda: list(taken.glob("SR*")))
    finally:
        receiver.terminate()
        receiver.wait(30)
