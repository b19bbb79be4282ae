"""The export folder: assembled under a hidden name beside its place, gated, then renamed: whole or absent."""

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import onnx
import onnxruntime
import onnxscript
import torch

from disasym import __version__
from disasym.checkpoint import load_model, read_config, read_metadata, save_model
from disasym.engines.base import EngineInfo
from disasym.engines.eager import EagerEngine, describe
from disasym.engines.ort import OrtEngine
from disasym.errors import EngineError, ExportError
from disasym.export import parity
from disasym.export.manifest import CARD, MANIFEST, ONNX, WEIGHTS, Manifest, Parity, read_manifest, symbolic_shapes
from disasym.export.manifest import write_manifest as write
from disasym.export.to_onnx import OPSET, config_json, to_onnx
from disasym.files import sha256_of, write_whole
from disasym.model import ModelConfig
from disasym.spec import Array, check_views

TOOLS = (torch, onnx, onnxscript, onnxruntime)


def export(weights: Path, out: Path, parity_views: Array | None, half_weights: bool) -> Manifest:
    """See `disasym.export.export`."""
    out = out.resolve()
    _refuse_foreign(out)
    config = read_config(weights)
    if parity_views is not None:
        check_views(parity_views, config.height, config.width)
    with _built_beside(out) as folder:
        if half_weights:
            _halve(weights, folder / WEIGHTS)
        else:
            write_whole(folder / WEIGHTS, weights.read_bytes())
        info = describe(folder / WEIGHTS, "cpu")
        write_whole(folder / CARD, _card(weights, info, config).encode())
        model = to_onnx(load_model(folder / WEIGHTS), preset=info.preset, weights_sha256=info.model_sha256)
        write_whole(folder / ONNX, model)
        manifest = _manifest(folder, config, info, _gate(folder, info, parity_views))
        write(folder, manifest)  # last: a folder without it is no export
    return manifest


def _halve(weights: Path, target: Path) -> None:
    """Write the same weights as float16, with the same header."""
    header = {key: value for key, value in read_metadata(weights).items() if key not in ("format", "config")}
    save_model(target, load_model(weights), torch.float16, **header)


def _gate(folder: Path, info: EngineInfo, views: Array | None) -> Parity:
    with EagerEngine(folder / WEIGHTS, info) as reference, OrtEngine(folder / ONNX, info) as exported:
        return parity.gate(reference, exported, views)


def _manifest(folder: Path, config: ModelConfig, info: EngineInfo, measured: Parity) -> Manifest:
    inputs, outputs = symbolic_shapes(info.height, info.width)
    return Manifest(
        preset=info.preset,
        config=json.loads(config_json(config)),
        precision=info.precision,
        opset=OPSET,
        inputs=inputs,
        outputs=outputs,
        files={name: sha256_of(folder / name) for name in (ONNX, WEIGHTS, CARD)},
        tools={"disasym": __version__, **{tool.__name__: str(tool.__version__) for tool in TOOLS}},
        parity=measured,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _card(weights: Path, info: EngineInfo, config: ModelConfig) -> str:
    """The model card beside the weights; without one, the little that is known from the weights alone."""
    card = weights.parent / CARD
    if card.is_file():
        return card.read_text(encoding="utf-8")
    metadata = {key: value for key, value in read_metadata(weights).items() if key not in ("config", "preset")}
    rows = {"configuration": config_json(config), "SHA-256 of the weights": info.model_sha256, **metadata}
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"# A disasym model, preset {info.preset}\n\n| | |\n|---|---|\n{table}\n\n"
        "No model card came with these weights: what they were trained on and how well they do is not known here.\n"
        "Not a medical device; not for clinical use.\n"
    )


def _refuse_foreign(out: Path) -> None:
    """Only an empty folder, or one that holds an export and nothing else, may be replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportError(f"{out} is a file: name a folder to export to")
    present = {path.name for path in out.iterdir()}
    if not present:
        return
    try:
        own = {MANIFEST, *read_manifest(out).files}
    except EngineError:
        raise ExportError(f"{out} is not empty and not a disasym export: name another folder") from None
    if foreign := sorted(present - own):
        raise ExportError(
            f"{out} also holds {foreign[0]!r}, which is not of its export: move it, or name another folder"
        )


@contextmanager
def _built_beside(out: Path) -> Iterator[Path]:
    """A hidden new folder that takes the place of `out` on success and vanishes on failure."""
    mark = secrets.token_hex(4)
    new, old = out.parent / f".{out.name}.{mark}.new", out.parent / f".{out.name}.{mark}.old"
    new.mkdir(parents=True)
    try:
        yield new
        if out.exists():
            out.rename(old)
        new.rename(out)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
