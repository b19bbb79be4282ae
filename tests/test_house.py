"""Rules of the house that ruff and mypy do not know: what imports what, what is shipped, what is never written."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from workers import PORTS

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("disasym", "kernels", "export", "engines")  # folders whose Python files go into the wheel
WITHOUT_TORCH = (
    "disasym.cli",
    "disasym.doctor",
    "disasym.infer",
    "disasym.listen",
    "disasym.engines",
    "disasym.dicom",
    "disasym.preprocess",
    "disasym.data.manifest",
)
MOST_LINES = 350


def tracked() -> list[Path]:
    """Every file that git keeps or would keep, relative to the checkout; links are left out."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of files to look at")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [
        path for path in map(Path, filter(None, names)) if (ROOT / path).is_file() and not (ROOT / path).is_symlink()
    ]


def sources(*folders: str) -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and (not folders or path.parts[0] in folders)]


def test_imports_point_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is absent: pip install '.[dev]'")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_no_file_imports_the_top_level_folders_by_their_bare_names() -> None:
    bare = {"kernels", "export", "engines"}
    for path in sources():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            assert not bare & {name.split(".")[0] for name in names}, f"{path}:{node.lineno}: import disasym.… instead"


def test_files_stay_short() -> None:
    long = {
        str(path): count for path in sources() if (count := len((ROOT / path).read_bytes().splitlines())) > MOST_LINES
    }
    assert not long, f"over {MOST_LINES} lines, split by idea: {long}"


def test_no_work_is_done_at_import() -> None:
    definitions = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
    )
    for path in sources(*SHIPPED):
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            guard = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
            assert isinstance(node, definitions) or docstring or guard, f"{path}:{node.lineno}: runs when imported"


def test_reading_films_and_running_an_export_need_no_torch() -> None:
    script = (
        "import importlib, sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch': raise ModuleNotFoundError('torch is hidden', name=name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "for module in sys.argv[1:]: importlib.import_module(module)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, *WITHOUT_TORCH], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_no_path_of_a_build_machine_is_written_down() -> None:
    machine = [re.escape(str(ROOT) + "/"), re.escape(str(Path.home()) + "/"), r"/(?:work|root|tmp)/(?=[\w.])"]
    found = re.compile(r"(?<![\w.~$}\-])(?:" + "|".join(machine) + ")")
    for path in tracked():
        data = (ROOT / path).read_bytes()
        if b"\0" in data or path == Path("tests/test_house.py"):
            continue
        for number, line in enumerate(data.decode("utf-8", errors="replace").splitlines(), 1):
            assert not found.search(line), f"{path}:{number}: a path of one machine: {line.strip()[:100]}"


def test_no_film_is_committed() -> None:
    pictures = {".png", ".jpg", ".jpeg", ".pgm", ".tif", ".tiff", ".dcm", ".jp2", ".j2k"}
    for path in tracked():
        data = (ROOT / path).read_bytes()
        assert data[128:132] != b"DICM", f"{path} is a DICOM file"
        assert path.suffix.lower() not in pictures or path.parts[:2] == ("docs", "images"), f"{path} is a picture"
        assert len(data) < 17_000_000, f"{path}: {len(data)} bytes; the repository holds code and one small model"


def test_every_entry_of_the_readme_tree_exists() -> None:
    block = re.search(r"^```text\ndisasym/ .*?^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert block, "README.md has no tree: a ```text block that starts with disasym/"
    folders: dict[int, Path] = {-1: Path()}
    for line in block.group().splitlines()[1:-1]:
        if not (entry := re.match(r"( *)(\S+)", line)):
            continue
        depth = len(entry[1])
        path = folders[max(level for level in folders if level < depth)] / entry[2]
        folders = {level: folder for level, folder in folders.items() if level < depth} | {depth: path}
        assert (ROOT / path).exists(), f"README.md names {path}, which is not there"
        assert (ROOT / path).is_dir() == entry[2].endswith("/"), f"README.md: {path}: folders end in /"


def test_files_that_open_ports_are_the_work_of_one_worker() -> None:
    opens = re.compile(r"^ *from \w+ import .*\b(free_port|listening|start_all|two_machines)\b", re.MULTILINE)
    found = {path.name for path in (ROOT / "tests").glob("test_*.py") if opens.search(path.read_text(encoding="utf-8"))}
    assert found == PORTS, "tests/workers.py names other files"


def test_every_package_is_declared_for_the_wheel() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = set()
    for path in sources(*SHIPPED):
        parts = path.parent.parts
        present.add(".".join(parts if parts[0] == "disasym" else ("disasym", *parts)))
    assert declared == present


@pytest.mark.slow
def test_the_wheel_holds_every_module_once_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in tracked():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, source / path)
    for name in ("kernels", "export", "engines"):  # as in a checkout
        (source / "disasym" / name).symlink_to(Path("..") / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    wanted = {
        path.as_posix() if path.parts[0] == "disasym" else f"disasym/{path.as_posix()}" for path in sources(*SHIPPED)
    }
    wanted |= {path.as_posix() for path in tracked() if path.parts[:2] == ("disasym", "demonstration")}
    wanted |= {"disasym/py.typed", "disasym/kernels/tiles.csv"}
    wanted |= {f"disasym/infer/report/{name}" for name in ("page.html", "parts.html", "report.css", "report.js")}
    metadata = {name for name in names if ".dist-info/" in name}
    assert sorted(set(names) - metadata) == sorted(wanted)
    assert len(names) == len(set(names))
    assert {Path(name).name for name in metadata} >= {"LICENSE", "NOTICE", "METADATA", "entry_points.txt"}


def test_the_demonstration_model_is_what_its_manifest_says() -> None:
    """The card too: `disasym doctor` calls a folder damaged where a file is not that of its manifest."""
    from disasym.files import sha256_of

    folder = ROOT / "disasym" / "demonstration"
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    found = {path.name: sha256_of(path) for path in folder.iterdir() if path.name != "manifest.json"}
    assert found == files, "the card was changed: put its SHA-256 into manifest.json"
