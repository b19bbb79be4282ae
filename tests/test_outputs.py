"""Exports that compute less: the graph holds no more than its outputs need, and the rest is None, never made up."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from disasym.checkpoint import read_tensors
from disasym.engines import load
from disasym.errors import EngineError, InputError
from disasym.export import ExportOptions
from disasym.export.manifest import ONNX, WEIGHTS, read_manifest, write_manifest
from disasym.export.prune import prune
from disasym.infer import InferOptions, infer
from disasym.spec import OUTPUT_SETS, OUTPUTS, Outputs
from exams import rows_of, write_exam
from networks import pairs_for
from test_cli import disasym


def weights_in(graph: onnx.ModelProto) -> int:
    return sum(int(np.prod(tensor.dims)) for tensor in graph.graph.initializer)


def test_scores_do_not_pay_for_the_decoder(scores_export: Path, small_export: Path, lively_small: bytes) -> None:
    graph = onnx.load(scores_export / ONNX)
    assert [value.name for value in graph.graph.output] == ["asymmetry", "abnormal"]
    assert not [tensor.name for tensor in graph.graph.initializer if "asyd" in tensor.name]
    assert "Resize" not in {node.op_type for node in graph.graph.node}
    tensors = read_tensors(small_export / WEIGHTS)
    decoder = sum(value.numel() for name, value in tensors.items() if name.startswith("asyd."))
    plain = onnx.load_from_string(lively_small)  # without the larger kernels of `shape_for_fp32`
    saved = weights_in(plain) - weights_in(graph)
    assert 0.99 * decoder < saved < 1.01 * decoder  # BatchNorm is folded, constants of the graph differ


@pytest.mark.parametrize("name", sorted(OUTPUT_SETS))
def test_what_is_left_of_a_graph_gives_the_same_bits(name: str, small_export: Path) -> None:
    import onnxruntime

    whole = onnx.load(small_export / ONNX)
    pruned = prune(whole, OUTPUT_SETS[name])
    onnx.checker.check_model(pruned, full_check=True)
    feed = {"views": pairs_for("small", 2)}
    results = []
    for graph in (whole, pruned):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results.append(session.run(list(OUTPUT_SETS[name]), feed))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    assert [value.name for value in pruned.graph.output] == list(OUTPUT_SETS[name])


@pytest.mark.parametrize("engine", ["onnxruntime", "eager"])
def test_what_an_export_does_not_compute_is_none(engine: str, scores_export: Path, small_export: Path) -> None:
    views = pairs_for("small", 2)
    with load(scores_export, engine) as scores, load(small_export, engine) as whole:
        assert (scores.info.outputs, whole.info.outputs) == (OUTPUT_SETS["scores"], OUTPUTS)
        assert scores.info.model_sha256 == whole.info.model_sha256, "one model, one identity"
        found, expected = scores.run(views), whole.run(views)
    assert (found.cam, found.normal, found.abnormality) == (None, None, None)
    assert list(found.named()) == ["asymmetry", "abnormal"]
    for name, value in found.named().items():
        np.testing.assert_allclose(value, expected.named()[name], atol=1e-6)


def test_named_outputs_are_those_that_are_there_in_order() -> None:
    some = Outputs(asymmetry=np.zeros(1, np.float32), abnormal=np.zeros((1, 2), np.float32))
    assert list(some.named()) == ["asymmetry", "abnormal"]
    assert len(some) == 1


def test_a_graph_with_other_outputs_than_its_manifest_is_refused(
    scores_export: Path, small_export: Path, tmp_path: Path
) -> None:
    mixed = Path(shutil.copytree(scores_export, tmp_path / "mixed"))
    shutil.copy(small_export / ONNX, mixed / ONNX)
    manifest, whole = read_manifest(mixed), read_manifest(small_export)
    manifest.files[ONNX] = whole.files[ONNX]
    write_manifest(mixed, manifest)
    with pytest.raises(EngineError, match="is not the model its manifest describes"):
        load(mixed)


def test_without_images_scores_are_written_and_it_is_said_once(tmp_path: Path, scores_export: Path) -> None:
    write_exam(tmp_path / "in", "a")
    result = disasym("infer", tmp_path / "in", "--out", tmp_path / "out", "--model", scores_export)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if "panels" in line]
    assert line.startswith("left out panels: ")
    assert line.endswith("was exported without cam, normal, abnormality")
    (row,) = rows_of(tmp_path / "out")
    assert row["panel"] == ""
    assert 0 <= float(row["p_asymmetry"]) <= 1
    assert not (tmp_path / "out" / "images").exists()


def test_scores_are_the_same_with_and_without_images(tmp_path: Path, scores_export: Path, small_export: Path) -> None:
    write_exam(tmp_path / "in", "a")
    tables = []
    for name, model in (("scores", scores_export), ("all", small_export)):
        infer(InferOptions(tmp_path / "in", tmp_path / name, model, quiet=True))
        tables.append([{**row, "panel": "", "boxes": ""} for row in rows_of(tmp_path / name)])
    for first, second in zip(*tables, strict=True):
        for column in first:
            if column.startswith("p_"):
                assert abs(float(first[column]) - float(second[column])) <= 2e-6
            else:
                assert first[column] == second[column]


def test_panels_that_are_asked_for_and_cannot_be_drawn_are_refused_before_anything_runs(
    tmp_path: Path, scores_export: Path
) -> None:
    write_exam(tmp_path / "in", "a")
    with pytest.raises(
        InputError, match=r"panels cannot be made: .* without cam, normal, abnormality; .*--outputs all"
    ):
        infer(InferOptions(tmp_path / "in", tmp_path / "out", scores_export, write=("scores", "panels")))
    assert not (tmp_path / "out").exists()
    infer(InferOptions(tmp_path / "in", tmp_path / "out", scores_export, write=("scores",), quiet=True))
    assert len(rows_of(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"outputs": "images"}, r"unknown outputs 'images': choose one of scores \| scores,cam \| all"),
        ({"precision": "fp64"}, "unknown precision 'fp64'"),
        ({"targets": ("onnx", "coreml")}, "unknown target 'coreml'"),
        ({"max_batch": 0}, "max_batch must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_exported_names_the_choices(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ExportOptions(**arguments)  # type: ignore[arg-type]
