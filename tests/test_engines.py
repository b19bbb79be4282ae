"""The contract of every engine: on all of them (TensorRT's over a fake GPU), and on one that is made up."""

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from disasym import engines
from disasym.engines import Engine, EngineInfo, load
from disasym.engines.trt import TrtEngine
from disasym.errors import EngineError, InputError
from disasym.export.parity import synthetic_pairs
from disasym.spec import OUTPUTS, Array, Outputs, output_shapes
from fake_cuda import install
from fake_plans import FLAVOURS, LARGEST, with_plan
from networks import pairs_for
from processes import run_python
from tolerances import tolerance


class FakeEngine(Engine):
    """The smallest engine that keeps the contract: means and copies."""

    name = "fake"

    def __init__(self) -> None:
        super().__init__(EngineInfo("small", 256, 128, "fp32", "0" * 64, "cpu", None))
        self.released = 0

    def _infer(self, views: Array) -> Mapping[str, Array]:
        sides = views.mean((2, 3))
        return {
            "asymmetry": np.abs(sides[:, 0] - sides[:, 1]),
            "abnormal": sides,
            "cam": views.reshape(len(views), 2, 8, 32, 4, 32).max((3, 5)),
            "normal": views * 0.75,
            "abnormality": views * 0.25,
        }

    def _release(self) -> None:
        self.released += 1


@pytest.fixture(params=["eager", "onnxruntime", "fake", *FLAVOURS, pytest.param("aotinductor", marks=pytest.mark.slow)])
def engine(
    request: pytest.FixtureRequest, small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """Each engine in turn."""
    if request.param in FLAVOURS:
        monkeypatch.setattr(TrtEngine.__init__, "__defaults__", (2,))  # its chunk: three pairs are two of them
        install(monkeypatch, request.param, LARGEST)
        opened = load(with_plan(small_export, tmp_path / "export", request.param), request.param, "cuda")
    elif request.param == "aotinductor":
        opened = load(request.getfixturevalue("tiny_aotinductor"), request.param, threads=1)
    else:
        opened = FakeEngine() if request.param == "fake" else load(small_export, request.param, threads=1)
    with opened:
        yield opened


@pytest.fixture
def views(engine: Engine) -> Array:
    return synthetic_pairs(engine.info.height, engine.info.width, 3)


def same(first: Outputs, second: Outputs) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in OUTPUTS)


def largest_delta(first: Outputs, second: Outputs, name: str) -> float:
    return float(np.abs(getattr(first, name) - getattr(second, name)).max())


def assert_close(first: Outputs, second: Outputs, comparison: str) -> None:
    for name in OUTPUTS:
        assert largest_delta(first, second, name) <= tolerance(comparison), name


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_outputs_have_the_shapes_of_the_specification(engine: Engine, views: Array, batch: int) -> None:
    outputs = engine.run(views[:batch])
    for name, shape in output_shapes(batch, engine.info.height, engine.info.width).items():
        value = getattr(outputs, name)
        assert (value.shape, value.dtype) == (shape, np.float32), name
        assert value.min() >= 0, name
        assert value.max() <= 1, name


def test_outputs_belong_to_the_caller_and_views_stay_unchanged(engine: Engine, views: Array) -> None:
    before = views.copy()
    first = engine.run(views)
    kept = {name: getattr(first, name).copy() for name in OUTPUTS}
    second = engine.run(views)
    for name in OUTPUTS:
        value = getattr(second, name)
        others = [views, *(getattr(first, other) for other in OUTPUTS)]
        others += [getattr(second, other) for other in OUTPUTS if other != name]
        assert not any(np.shares_memory(value, other) for other in others), name
        value[...] = -1  # writable
        assert np.array_equal(getattr(first, name), kept[name]), name
    assert np.array_equal(views, before)


def test_the_same_views_give_the_same_bits(engine: Engine, views: Array) -> None:
    assert same(engine.run(views), engine.run(views))


def test_a_batch_gives_what_its_pairs_give_one_by_one(engine: Engine, views: Array) -> None:
    together = engine.run(views)
    for place in range(len(views)):
        alone = engine.run(views[place : place + 1])
        for name in OUTPUTS:
            delta = np.abs(getattr(together, name)[place] - getattr(alone, name)[0]).max()
            assert delta <= tolerance("batch of one vs many"), name


def test_swapping_the_sides_swaps_every_output_of_a_side(engine: Engine, views: Array) -> None:
    straight, swapped = engine.run(views), engine.run(views[:, ::-1])
    back = {name: getattr(swapped, name)[:, ::-1] for name in OUTPUTS if name != "asymmetry"}
    assert_close(straight, Outputs(asymmetry=swapped.asymmetry, **back), "swap law")


def test_views_may_be_read_only_and_of_any_strides(engine: Engine, views: Array) -> None:
    strided = np.asfortranarray(views)
    strided.flags.writeable = False
    assert same(engine.run(strided), engine.run(views))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda views: views.astype(np.float64), "float64"),
        (lambda views: views[:, :, 32:], r"got shape \[3, 2, \d+, \d+\]"),
        (lambda views: views[:, :1], r"got shape \[3, 1, \d+, \d+\]"),
        (lambda views: views[0], r"got shape \[2, \d+, \d+\]"),
        (lambda views: views[:0], r"got shape \[0, 2, \d+, \d+\]"),
        (lambda views: np.where(views == views.max(), np.float32("nan"), views), "nan"),
        (lambda views: views * np.float32(2), r"must lie in \[0, 1\]"),
        (lambda views: views - np.float32(0.1), r"must lie in \[0, 1\]"),
    ],
    ids=["float64", "height", "one side", "no batch axis", "empty", "nan", "above 1", "below 0"],
)
def test_what_is_not_views_is_refused(engine: Engine, views: Array, spoil, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says):
        engine.run(spoil(views))


def test_a_closed_engine_refuses_to_run_and_closes_twice(engine: Engine, views: Array) -> None:
    with engine:
        engine.run(views[:1])
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(views[:1])


def test_threads_that_share_an_engine_get_their_own_results(engine: Engine, views: Array) -> None:
    alone = [engine.run(views[place : place + 1]) for place in range(3)]
    wrong: list[int] = []

    def work(place: int) -> None:
        for _ in range(3):
            if not same(engine.run(views[place : place + 1]), alone[place]):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_all_engines_of_an_export_are_one_model(small_export: Path) -> None:
    views = pairs_for("small", 3)
    assert list(engines.ENGINES) == ["tensorrt", "tensorrt-rtx", "onnxruntime", "aotinductor", "eager"]
    with load(small_export, "eager") as eager, load(small_export, "onnxruntime") as onnx:
        assert eager.info == onnx.info
        expected, found = eager.run(views), onnx.run(views)
    for name in OUTPUTS:
        kind = {"asymmetry": "score", "abnormal": "score", "cam": "cam"}.get(name, "image")
        assert largest_delta(expected, found, name) <= tolerance(f"{kind}, onnxruntime vs eager"), name
    assert np.ptp(expected.abnormal) > 0.01, "scores that hardly differ would hide pairs that are mixed up"


def test_a_batch_above_the_largest_is_refused(engine: Engine, views: Array) -> None:
    engine.info = dataclasses.replace(engine.info, max_batch=2)
    engine.run(views[:2])
    with pytest.raises(InputError, match=f"a batch of 3 pairs is above the 2 that this {engine.name} engine takes"):
        engine.run(views)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_or_infinity_from_an_engine_never_reaches_the_caller(
    engine: Engine, views: Array, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    raw = dict(engine._infer(views))
    for name in OUTPUTS:
        spoilt = raw[name].copy()
        spoilt[(-1,) * spoilt.ndim] = bad
        monkeypatch.setattr(engine, "_infer", lambda _, name=name, spoilt=spoilt: {**raw, name: spoilt})
        with pytest.raises(EngineError, match=f"the {engine.name} engine returned NaN or infinity in {name};"):
            engine.run(views)


@pytest.mark.parametrize("asymmetry", [np.zeros(2, np.float32), np.zeros(3), np.zeros((3, 1), np.float32)])
def test_outputs_of_another_shape_or_type_never_reach_the_caller(
    engine: Engine, views: Array, monkeypatch: pytest.MonkeyPatch, asymmetry: np.ndarray
) -> None:
    raw = engine._infer(views)
    monkeypatch.setattr(engine, "_infer", lambda _: {**raw, "asymmetry": asymmetry})
    with pytest.raises(EngineError, match=r"asymmetry .* wanted float32 \[3\]"):
        engine.run(views)


def test_an_engine_is_released_once() -> None:
    engine = FakeEngine()
    engine.close()
    engine.close()
    assert engine.released == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnxruntime", "eager"])
def test_a_batch_that_does_not_fit_into_memory_is_told_apart_and_a_smaller_one_still_runs(
    small_export: Path, name: str
) -> None:
    resource = pytest.importorskip("resource", reason="no memory limits on this system")
    assert resource.RLIMIT_AS
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from disasym.engines import load
with load(Path(sys.argv[1]), sys.argv[2], threads=1) as engine:
    engine.run(np.zeros((1, 2, 256, 128), np.float32))
    views = np.zeros((64, 2, 256, 128), np.float32)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20, resource.RLIM_INFINITY))
    try:
        engine.run(views)
    except MemoryError as error:
        print(error)
    engine.run(views[:1])
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    assert "a batch of 64 pairs does not fit into memory" in run_python(script, small_export, name)
