"""What is written agrees with what is there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import disasym

ROOT = Path(__file__).resolve().parent.parent
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def test_the_page_of_commands_is_their_own_help() -> None:
    command = [sys.executable, "docs/commands.py"]
    written = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == written, "run make docs"


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_number_title_status_and_fits_a_page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    title, _, status = text.splitlines()[:3]
    assert re.fullmatch(rf"# {path.name[:4]}\. \S.*", title)
    assert re.match(r"Status: (proposed|accepted|superseded by \d{4}), \d{4}-\d{2}-\d{2}$", status)
    assert re.findall(r"^## (.*)$", text, re.M) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 60


def test_decisions_are_numbered_without_gaps() -> None:
    assert [path.name[:4] for path in DECISIONS] == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]


def test_package_project_file_and_changelog_agree_on_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version == disasym.__version__
    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)


def test_the_changelog_gives_a_reason_for_each_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    reasons = "\n".join(re.findall(r"^- ([^:\n]+):", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M))
    for requirement in wanted:
        name = re.split(r"[<>=!~; \[]", requirement)[0]
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", reasons), f"CHANGELOG.md gives no reason for {name}"


def test_links_of_the_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://", "mailto:")):
                assert (page.parent / target).exists(), (
                    f"{page.relative_to(ROOT)} links to {target}, which is not there"
                )
