"""The export folder: weights, card and targets, gated, with the manifest written last."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import onnx
import onnxruntime
import onnxscript
import torch

from disasym import __version__
from disasym.checkpoint import load_model, read_config, read_metadata, save_model, temperatures_of
from disasym.engines.base import EngineInfo
from disasym.engines.eager import describe
from disasym.errors import ExportError
from disasym.export import parity, verify
from disasym.export.manifest import CARD, WEIGHTS, Manifest, symbolic_shapes
from disasym.export.manifest import write_manifest as write
from disasym.export.options import TARGETS, ExportOptions, require_targets
from disasym.export.place import built_beside, refuse_foreign
from disasym.export.precision import in_precision
from disasym.export.targets import Job, build
from disasym.export.to_onnx import config_json, to_onnx
from disasym.files import sha256_of, write_whole
from disasym.model import ModelConfig
from disasym.spec import OUTPUT_SETS, check_views
from disasym.temperature import ENTRY, Temperatures

TOOLS = (torch, onnx, onnxscript, onnxruntime)


def export(weights: Path, out: Path, options: ExportOptions) -> Manifest:
    """See `disasym.export.export`."""
    out = out.resolve()
    refuse_foreign(out)
    require_targets(options.targets, options.plugin)
    config = read_config(weights)
    for views in (options.parity_views, options.calibration_views):
        if views is not None:
            check_views(views, config.height, config.width)
    with built_beside(out) as folder:
        if options.half_weights:
            _halve(weights, folder / WEIGHTS)
        else:
            write_whole(folder / WEIGHTS, weights.read_bytes())
        info = describe(folder / WEIGHTS, "cpu")
        write_whole(folder / CARD, _card(weights, info, config).encode())
        info = dataclasses.replace(info, precision=options.precision, outputs=_outputs(weights, info, options))
        manifest = _built(folder, out, config, info, options)
        found = {
            name: verify.run(folder, manifest, name, options.parity_views, parity.gate) for name in manifest.targets
        }
        manifest = verify.with_parity(manifest, found)
        write(folder, manifest)  # last: a folder without it is no export
    return manifest


def _outputs(weights: Path, info: EngineInfo, options: ExportOptions) -> tuple[str, ...]:
    """Those that were asked for; a method without AsyD makes no images."""
    wanted = OUTPUT_SETS[options.outputs]
    if absent := [name for name in wanted if name not in info.outputs]:
        largest = max((name for name, each in OUTPUT_SETS.items() if set(each) <= set(info.outputs)), key=len)
        raise ExportError(f"the model of {weights} makes no {' and no '.join(absent)}: give --outputs {largest}")
    return wanted


def _halve(weights: Path, target: Path) -> None:
    """Write the same weights as float16, with the same header."""
    header = {key: value for key, value in read_metadata(weights).items() if key not in ("format", "config")}
    save_model(target, load_model(weights), torch.float16, **header)


def _built(folder: Path, earlier: Path, config: ModelConfig, info: EngineInfo, options: ExportOptions) -> Manifest:
    """Build every target, and the manifest of what is there then; nothing is verified yet."""
    model, reports = load_model(folder / WEIGHTS), dict[str, str]()
    graph = b""
    if any(TARGETS[name].from_onnx for name in options.targets):
        graph = to_onnx(model, outputs=info.outputs, preset=info.preset, weights_sha256=info.model_sha256)
        graph = in_precision(graph, options, folder, reports)
    job = Job(folder=folder, earlier=earlier, model=model, info=info, options=options, onnx=graph)
    targets = {name: build(name, job) for name in options.targets}
    inputs, outputs = symbolic_shapes(info.height, info.width, info.outputs)
    return Manifest(
        preset=info.preset,
        config=json.loads(config_json(config)),
        precision=info.precision,
        inputs=inputs,
        outputs=outputs,
        targets=targets,
        reports=reports,
        logs=job.logs,
        files={
            path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()
        },
        tools={"disasym": __version__, **{tool.__name__: str(tool.__version__) for tool in TOOLS}},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        temperatures=temperatures_of(folder / WEIGHTS),
    )


def _card(weights: Path, info: EngineInfo, config: ModelConfig) -> str:
    """The model card beside the weights; without one, the little that is known from the weights alone."""
    card = weights.parent / CARD
    said = _probabilities(temperatures_of(weights))
    if card.is_file():
        return card.read_text(encoding="utf-8") + said
    metadata = {key: value for key, value in read_metadata(weights).items() if key not in ("config", "preset", ENTRY)}
    rows = {"configuration": config_json(config), "SHA-256 of the weights": info.model_sha256, **metadata}
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"# A disasym model, preset {info.preset}\n\n| | |\n|---|---|\n{table}\n\n"
        "No model card came with these weights: what they were trained on and how well they do is not known here.\n"
        "Not a medical device; not for clinical use.\n"
    ) + said


def _probabilities(carried: Temperatures | None) -> str:
    """What the temperatures of the weights mean, for the card; nothing where there are none."""
    if carried is None:
        return ""
    rows = [
        f"| {name} | {head.temperature:.3f} [{head.low:.3f}, {head.high:.3f}] | {head.entries} | {head.positives} |"
        f" {head.women} | {head.loss_before:.4f} → {head.loss_after:.4f} |"
        for name, head in (("asymmetry", carried.asymmetry), ("abnormal", carried.abnormal))
    ]
    head = "| head | temperature, 95 % interval | entries | positive | women | log loss |\n|---|---|---|---|---|---|\n"
    return (
        f"\n## Probabilities\n\nThe logits of both heads are divided by temperatures that were fitted on {carried.data}"
        f" (weights before: {carried.weights_sha256[:12]}):\n\n" + head + "\n".join(rows) + "\n\n"
        "They make scores probabilities for women like those. Where fewer are abnormal, as in screening, the scores are"
        " still too high.\n"
    )
