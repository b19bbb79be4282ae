"""The gate of an export: what differs from eager PyTorch does not get through."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from disasym.engines import load
from disasym.engines.base import Engine
from disasym.errors import ExportError
from disasym.export import export, folder, parity
from disasym.export.manifest import ONNX, WEIGHTS
from disasym.export.tolerances import tolerance
from disasym.spec import OUTPUTS, Array, check_views
from networks import pairs_for


def perturbed(content: bytes, which: str, by: float) -> bytes:
    """The graph with `by` added to the first element of the initializer whose name ends in `which`."""
    graph = onnx.load_model_from_string(content)
    for initializer in graph.graph.initializer:
        if initializer.name.endswith(which):
            value = numpy_helper.to_array(initializer).copy()
            value.flat[0] += by
            initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))
            return bytes(graph.SerializeToString())
    raise AssertionError(f"no initializer {which} among {[i.name for i in graph.graph.initializer]}")


@pytest.mark.parametrize(
    ("which", "by", "output"),
    [
        ("asyc.asymmetry.bias", 0.01, "asymmetry"),
        ("asyc.abnormality.bias", 0.01, "abnormal"),
        ("asyd.head.bias", 0.05, "normal"),
        ("asyc.blocks.0.qkv.bias", 10.0, "[a-z]+"),
    ],
)
def test_one_wrong_number_in_the_graph_fails_the_gate(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, by: float, output: str
) -> None:
    wrong = perturbed((small_export / ONNX).read_bytes(), which, by)
    monkeypatch.setattr(folder, "to_onnx", lambda model, **metadata: wrong)
    says = rf"\|Δ {output}\| is [\d.]+(e-\d+)? on 3 synthetic pairs with onnxruntime \(fp32\), at most 0\.00\d+ is"
    with pytest.raises(ExportError, match=says):
        export(small_export / WEIGHTS, tmp_path / "out")
    assert not any(tmp_path.iterdir())


class Shifted(Engine):
    """Another engine's outputs in another order of the batch, or with something added."""

    name = "shifted"

    def __init__(self, inner: Engine, order: slice = slice(None), added: Mapping[str, float] | None = None) -> None:
        super().__init__(inner.info)
        self.inner, self.order, self.added = inner, order, added or {}

    def _infer(self, views: Array) -> Mapping[str, Array]:
        outputs = self.inner.run(views)
        return {name: getattr(outputs, name)[self.order] + np.float32(self.added.get(name, 0)) for name in OUTPUTS}

    def _release(self) -> None:
        pass


def test_pairs_mixed_up_within_a_batch_fail_the_gate(small_export: Path) -> None:
    with load(small_export) as engine:
        with pytest.raises(ExportError, match="differs from eager"):
            parity.gate(engine, Shifted(engine, slice(None, None, -1)), None)
        assert parity.gate(engine, Shifted(engine), None).measured["abnormal"] <= 1e-5


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_gate_closes_at_the_tolerance_of_each_output(small_export: Path, output: str) -> None:
    allowed = tolerance("fp32", output)
    views = pairs_for("small", 1)
    with load(small_export) as engine:
        parity.gate(engine, Shifted(engine, added={output: 0.9 * allowed}), views)
        with pytest.raises(ExportError, match=rf"\|Δ {output}\|"):
            parity.gate(engine, Shifted(engine, added={output: 1.1 * allowed}), views)


@given(count=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_synthetic_pairs_are_views_and_depend_on_the_seed_alone(count: int, seed: int) -> None:
    views = parity.synthetic_pairs(64, 32, count, seed)
    check_views(views, 64, 32)
    assert np.array_equal(views, parity.synthetic_pairs(64, 32, count, seed))
    assert (views[..., 32, 0] > 0).all(), "tissue at the chest wall"
    assert not views[..., 0, -1].any(), "background at the corner"
    assert not np.array_equal(views[:, 0], views[:, 1])
