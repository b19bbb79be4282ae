"""`--plugin` without TensorRT: the graph that is cut and proved, what is registered, what is refused, what is said."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from click.testing import CliRunner

from disasym import kernels
from disasym.cli import main
from disasym.engines import trt
from disasym.errors import ExportError, InputError, MissingExtraError
from disasym.export import ExportOptions, export, folder, tensorrt_library, to_tensorrt
from disasym.export.attention_node import DOMAIN, NAME
from disasym.export.manifest import ONNX, WEIGHTS, read_manifest
from disasym.export.mixed import mixed
from disasym.export.tensorrt_plugin_region import AGREE, rewrite
from disasym.export.tensorrt_plugin_register import register
from disasym.spec import OUTPUTS
from networks import pairs_for
from test_attention_node import DEFINITION
from test_to_tensorrt_gpu import H100, PACKAGE
from tolerances import tolerance

if not kernels.HAS_TRITON:
    pytest.skip("Triton has no build for this platform", allow_module_level=True)

from disasym.export import tensorrt_plugin
from disasym.kernels.ahead_of_time import MachineCode
from disasym.kernels.packed_ptx import Ptx
from disasym.kernels.tiles import Tile

BLOCKS, TOKENS, HEADS, DIM = 4, 32, 6, 32  # of the preset `small`
CODE = MachineCode(42, 0, 6144, {"HGMMA": 6})
KERNEL = Ptx("attention_packed", ".entry attention_packed()", 256, 6144, 12, Tile(64, 32, 8, 2), CODE)
# The node with one input, written out as the one with three: q, k and v are what lies side by side in `packed`.
PACKED = DEFINITION.replace(
    "BilateralAttention <scale> (q, k, v) => (out) {",
    f"""BilateralAttention <plugin_namespace, plugin_version, aot> (packed) => (out) {{
    shape = Constant <value_ints = [0, 0, 0, 3, {HEADS}, {DIM}]> ()
    parts = Reshape (packed, shape)
    three = Constant <value_ints = [3]> ()
    q0, k0, v0 = Split <axis = 3, num_outputs = 3> (parts)
    q = Squeeze (q0, three)
    k = Squeeze (k0, three)
    v = Squeeze (v0, three)""",
).replace(" <scale: float = @scale>", "")
# In the place of tensorrt.plugin: keeps what is registered, and shows which kernel would be launched for four pairs.
PLUGINS = """
import json, tensorrt
from pathlib import Path
from types import SimpleNamespace
class TensorDesc: pass
class SymIntExprs(list):
    def __init__(self, size): super().__init__([None] * size)
class KernelLaunchParams: pass
class AutoTuneCombination:
    def __init__(self, types, layouts, tactics): self.said = [types, layouts, tactics]
said = {}
def register(name): return lambda function: said.update(name=name)
def autotune(name): return lambda function: said.update(tuned=function(None, None)[0].said)
def aot_impl(name):
    def take(function):
        packed = SimpleNamespace(shape_expr=[4, 2, 32, 576], dtype=tensorrt.float32)
        entry, ptx, launch, extra = function(packed, None, 1)
        said.update(entry=entry, ptx=ptx, launch=vars(launch), extra=list(extra))
        Path(__file__).with_name("said.json").write_text(json.dumps(said))
    return take
"""
# … and a parser that takes the node, as TensorRT's does once it is registered. What it makes of it is never run.
PARSER = """
import onnx
from tensorrt_rtx_bindings import OnnxParser as RtxParser
class OnnxParser(RtxParser):
    def parse(self, model):
        graph = onnx.load_from_string(model)
        graph.graph.initializer.extend(
            onnx.numpy_helper.from_array(__import__("numpy").array([value]), name)
            for name, value in (("from", 0), ("to", 384), ("along", 3)))
        for node in graph.graph.node:
            if node.domain == "disasym":
                assert {a.name for a in node.attribute} == {"plugin_namespace", "plugin_version", "aot"}
                inputs = [*node.input, "from", "to", "along"]
                node.CopyFrom(onnx.helper.make_node("Slice", inputs, node.output, node.name))
        return RtxParser.parse(self, graph.SerializeToString())
"""


@pytest.fixture(scope="module")
def small(trained_small: bytes) -> bytes:
    return trained_small


@pytest.fixture
def package(first_to_import: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `tensorrt` with plugins, a GPU, and a kernel that took no time to compile."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is absent: pip install '.[rtx]'")
    place = first_to_import / "tensorrt"
    place.mkdir()
    (place / "__init__.py").write_text(PACKAGE + PARSER)
    (place / "plugin.py").write_text(PLUGINS)
    monkeypatch.setattr(tensorrt_library, "find_gpu", lambda: (9, 0))
    monkeypatch.setattr(to_tensorrt, "find_gpu", lambda: (9, 0))
    monkeypatch.setattr(to_tensorrt, "gpu_facts", lambda: H100)
    monkeypatch.setattr(trt, "find_gpu", lambda: "no GPU")
    monkeypatch.setattr(tensorrt_plugin, "packed_ptx", lambda *_: KERNEL)
    return place


def run(model: onnx.ModelProto, pairs: int = 2) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(OUTPUTS, {"views": pairs_for("small", pairs)}), strict=True))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_each_attention_of_a_graph_in_any_precision_becomes_one_node(small: bytes, precision: Any) -> None:
    made = rewrite(small if precision == "fp32" else mixed(small, precision))
    assert 0 < made.largest_difference <= AGREE
    assert {(r.tokens, r.heads, r.dim, r.dtype) for r in made.regions} == {(TOKENS, HEADS, DIM, precision)}
    nodes = onnx.load_from_string(made.model).graph.node
    ours = [node for node in nodes if (node.domain, node.op_type) == (DOMAIN, NAME)]
    assert len(ours) == BLOCKS
    assert not [node for node in nodes if node.op_type in ("Attention", "Slice")]
    said = {each.name: onnx.helper.get_attribute_value(each) for each in ours[0].attribute}
    assert said == {"plugin_namespace": b"disasym", "plugin_version": b"1", "aot": 1}


def test_with_the_node_defined_the_graph_computes_what_the_portable_one_does(small: bytes) -> None:
    model = onnx.load_from_string(rewrite(small).model)
    model.functions.append(onnx.parser.parse_function(PACKED))
    ours, theirs = run(model), run(onnx.load_from_string(small))
    for name in OUTPUTS:
        assert np.abs(ours[name] - theirs[name]).max() <= tolerance("attention backends, float32"), name


def test_nodes_that_compute_something_else_are_not_replaced(small: bytes) -> None:
    graph = onnx.load_from_string(small)
    flips = [node for node in graph.graph.node if node.name.startswith("node_flip")]
    assert len(flips) == 2 * BLOCKS
    flips[-1].op_type = "Identity"  # the last block's values come from the same side
    del flips[-1].input[1:]
    with pytest.raises(ExportError, match=r"are not bilateral attention, they differ from it by [\d.]+, at most 1e-05"):
        rewrite(graph.SerializeToString())


def test_an_attention_that_stands_alone_is_not_left_behind_in_silence(small: bytes) -> None:
    graph = onnx.load_from_string(small)
    last = [node for node in graph.graph.node if node.op_type == "Attention"][-1]
    last.op_type = "Mul"
    del last.input[2:], last.attribute[:]
    with pytest.raises(ExportError, match="can replace 6 of the graph's 7 Attention nodes"):
        rewrite(graph.SerializeToString())


@pytest.mark.slow
def test_the_builder_registers_the_kernel_and_the_manifest_says_what_was_and_was_not_done(
    package: Path, small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "to_onnx", lambda model, **metadata: (small_export / ONNX).read_bytes())
    options = ExportOptions(targets=("onnx", "tensorrt"), max_batch=2, plugin=True)
    export(small_export / WEIGHTS, tmp_path / "out", options)
    said = json.loads((package / "said.json").read_text())
    assert said == {
        "name": "disasym::BilateralAttention",
        "tuned": ["FP32, FP32", "LINEAR", [1]],
        "entry": "attention_packed",
        "ptx": KERNEL.text,
        "launch": {"grid_x": 4 * KERNEL.programs_a_pair, "block_x": 256, "shared_mem": 6144},
        "extra": [],
    }
    targets = read_manifest(tmp_path / "out").targets
    assert targets["tensorrt"].parity == "not run (no GPU)"
    plugin = targets["tensorrt"].facts["plugin"]
    assert plugin["nodes"] == BLOCKS
    assert 0 < plugin["region_and_reference_differ_by"] <= AGREE
    assert plugin["kernels"]["fp32"]["spills"] == 0
    assert plugin["kernels"]["fp32"]["tile"] == {"rows": 64, "columns": 32, "warps": 8, "stages": 2}
    portable = onnx.load(tmp_path / "out" / ONNX).graph.node
    assert sum(node.op_type == "Attention" for node in portable) == 2 * BLOCKS


def test_a_tensorrt_without_such_plugins_is_an_error_that_says_so(package: Path, small: bytes, tmp_path: Path) -> None:
    (package / "plugin.py").unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match=r"tensorrt 11\.4\.0\.106 has no plugins compiled ahead of time"):
        to_tensorrt.build(small, tmp_path / "out", flavour="tensorrt", plugin=True)
    assert not list((tmp_path / "out").iterdir())


def test_a_plugin_that_nothing_would_hold_is_refused_before_any_work(
    small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="the plugin is for target 'tensorrt' alone: name it with --to tensorrt"):
        ExportOptions(targets=("onnx", "tensorrt-rtx", "triton-server-tensorrt"), plugin=True)
    arguments = ["export", str(small_export / WEIGHTS), "--plugin", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "the plugin is for target 'tensorrt' alone" in result.output
    with pytest.raises(InputError, match="tensorrt-rtx has no plugin API"):
        to_tensorrt.build(b"", tmp_path, plugin=True)
    monkeypatch.setattr(tensorrt_library, "find_gpu", lambda: (9, 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "triton" else name)
    with pytest.raises(MissingExtraError, match=r"--plugin needs the package 'triton': pip install 'disasym\[gpu\]'"):
        to_tensorrt.build(b"", tmp_path, flavour="tensorrt", plugin=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*invalid escape sequence")  # in TensorRT's own source
def test_tensorrt_itself_takes_the_registration(tmp_path: Path) -> None:
    """With the package, or its bindings over any library that can be loaded: docs/log.md."""
    reason = "TensorRT is absent, and its library cannot be installed from PyPI alone"
    library = pytest.importorskip("tensorrt", reason=reason, exc_type=ImportError)
    if not hasattr(library, "IPluginV3QuickAOTBuild"):
        pytest.skip("this TensorRT has no plugins compiled ahead of time")
    (tmp_path / "kernel.ptx").write_text(KERNEL.text)
    kernel = {
        "name": "attention_packed",
        "ptx": str(tmp_path / "kernel.ptx"),
        "threads": 256,
        "shared": 6144,
        "programs_a_pair": 12,
    }
    register(library, {"kernels": dict.fromkeys(("bf16", "fp16", "fp32"), kernel)})
    found = library.get_plugin_registry().get_creator("BilateralAttention", "1", "disasym")
    assert (found.name, found.plugin_namespace, found.plugin_version) == ("BilateralAttention", "disasym", "1")
    plugins = importlib.import_module("tensorrt.plugin")
    registered = importlib.import_module("tensorrt.plugin._lib").QDP_REGISTRY["disasym::BilateralAttention"]
    (combination,) = registered.autotune_func(None, None)
    pairs = [(each.types, each.tactics) for each in combination._get_combinations()]
    assert pairs == [([kind, kind], [1]) for kind in (library.bfloat16, library.float16, library.float32)]
    packed = SimpleNamespace(shape_expr=[4, 2, 32, 576], dtype=library.float16)
    name, ptx, launch, extra = registered.aot_impl_func(packed, None, 1)
    assert (name, ptx, len(extra)) == ("attention_packed", KERNEL.text, 0)
    assert isinstance(launch, plugins.KernelLaunchParams)
