"""manifest.json: what an export holds, which tools made it, and how far each target was measured to be from the model.

Readable without torch. Strict: a field that is missing, unknown or of the wrong kind is refused, so that a manifest
that parses can be trusted to be complete. Format 1 is refused too: it was never released.
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from disasym.errors import EngineError, InputError
from disasym.export.strict import Shape, Strict
from disasym.files import sha256_of, write_whole
from disasym.spec import OUTPUT_SETS, OUTPUTS, output_shapes
from disasym.temperature import ENTRY, Temperatures, read_temperatures

FORMAT = "disasym-export-2"
MANIFEST, ONNX, PT2, WEIGHTS, CARD = "manifest.json", "model.onnx", "model.pt2", "model.safetensors", "README.md"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class Parity:
    """How far a target was measured to be from eager PyTorch in float32, and how far it may be."""

    pairs: int
    source: Literal["real", "synthetic"]
    batches: tuple[int, ...]  # the batch sizes that were run
    device: str  # "cpu" or "cuda"
    measured: dict[str, float]  # output → largest |Δ|
    tolerance: dict[str, float]  # output → largest |Δ| accepted

    def beyond(self) -> tuple[str, ...]:
        """The outputs that are further away than accepted; NaN counts as further."""
        return tuple(name for name, delta in self.measured.items() if not delta <= self.tolerance[name])


@dataclass(frozen=True, kw_only=True)
class Target:
    """One way in which an export can be run."""

    engine: str  # a name in disasym.engines.ENGINES
    precision: str  # one of PRECISIONS
    files: tuple[str, ...]  # the first is the one that the engine opens
    max_batch: int | None  # pairs in one run; None: as memory allows
    versions: dict[str, str]  # package → version, of those that a run depends on
    facts: dict[str, Any]  # what the builder noted: opset, compute capabilities, memory, …
    parity: Parity | str  # measured, or in words why not


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json."""

    format: str = FORMAT
    preset: str  # "custom" where no preset has this configuration
    config: dict[str, Any]  # the fields of ModelConfig
    precision: str  # that the export was asked for; the weights stay as they are
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]  # those of disasym.spec.OUTPUTS that every target has
    targets: dict[str, Target]
    reports: dict[str, str]  # what was measured while it was made → file
    logs: dict[str, str]  # target → file
    files: dict[str, str]  # every file → SHA-256
    tools: dict[str, str]  # package → version, of those that made it
    created: str  # ISO 8601, UTC
    temperatures: Temperatures | None = None  # those of the weights, which every target has inside; not written if None

    @property
    def height(self) -> int:
        return int(self.config["height"])

    @property
    def width(self) -> int:
        return int(self.config["width"])

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the weights file: the model's identity, the same in every engine and precision."""
        return self.files[WEIGHTS]


def symbolic_shapes(
    height: int, width: int, names: tuple[str, ...] = OUTPUTS
) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Shapes of the inputs and of the outputs `names`, the dynamic dimension by its name `batch`."""
    shapes = output_shapes(1, height, width, names)
    outputs: dict[str, Shape] = {name: ("batch", *shape[1:]) for name, shape in shapes.items()}
    return {"views": ("batch", 2, height, width)}, outputs


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into the folder, whole or not at all."""
    content = dataclasses.asdict(manifest)
    if manifest.temperatures is None:  # as before there were any
        del content[ENTRY]
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / MANIFEST, text.encode() + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export folder.

    Raises:
        EngineError: it is absent, not JSON, of another format version, incomplete or contradicts itself.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise EngineError(f"{folder} is not an export, it has no {MANIFEST}: make one with disasym export") from None
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path} cannot be read: {error}; export the model again") from None
    return _Reader(path).manifest(content)


def checked_file(folder: Path, manifest: Manifest, name: str) -> Path:
    """A file of an export, after its SHA-256 was found to be the manifest's.

    Raises:
        EngineError: it is missing, damaged or of another export.
    """
    path, wanted = folder / name, manifest.files[name]
    if not path.is_file():
        raise EngineError(f"{path} is missing, though the manifest beside it lists it: export the model again")
    found = sha256_of(path)
    if found != wanted:
        raise EngineError(
            f"{path} is damaged or belongs to another export: its SHA-256 is {found}, the manifest says {wanted};"
            " copy it again or export the model again"
        )
    return path


class _Reader(Strict):
    def manifest(self, content: object) -> Manifest:
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            again = f"use the disasym version that made it, or export its {WEIGHTS} again into another folder"
            self.refuse("format", found, repr(FORMAT), again)
        fields = self.fields({ENTRY: None, **cast("dict[str, Any]", content)}, Manifest, "the manifest")
        manifest = Manifest(
            preset=self.text(fields["preset"], "preset"),
            config=self.config(fields["config"]),
            precision=self.one_of(fields["precision"], "precision", PRECISIONS),
            inputs=self.table(fields["inputs"], "inputs", self.shape),
            outputs=self.table(fields["outputs"], "outputs", self.shape),
            targets=self.table(fields["targets"], "targets", self.target),
            reports=self.table(fields["reports"], "reports", self.text),
            logs=self.table(fields["logs"], "logs", self.text),
            files=self.table(fields["files"], "files", self.sha256),
            tools=self.table(fields["tools"], "tools", self.text),
            created=self.text(fields["created"], "created"),
            temperatures=self.temperatures(fields[ENTRY]),
        )
        self.consistent(manifest)
        return manifest

    def target(self, content: object, name: str) -> Target:
        fields = self.fields(content, Target, name)
        target = Target(
            engine=self.text(fields["engine"], f"{name}.engine"),
            precision=self.one_of(fields["precision"], f"{name}.precision", PRECISIONS),
            files=self.several(fields["files"], f"{name}.files", self.text),
            max_batch=None if fields["max_batch"] is None else self.whole(fields["max_batch"], f"{name}.max_batch"),
            versions=self.table(fields["versions"], f"{name}.versions", self.text),
            facts=self.table(fields["facts"], f"{name}.facts", self.anything),
            parity=self.parity(fields["parity"], f"{name}.parity"),
        )
        if not target.files or (target.max_batch is not None and target.max_batch < 1):
            self.refuse(name, fields, "at least one file, and no largest batch below 1")
        return target

    def parity(self, content: object, name: str) -> Parity | str:
        if isinstance(content, str):
            return self.text(content, name)
        fields = self.fields(content, Parity, name)
        parity = Parity(
            pairs=self.whole(fields["pairs"], f"{name}.pairs"),
            source="real"
            if self.one_of(fields["source"], f"{name}.source", ("real", "synthetic")) == "real"
            else "synthetic",
            batches=self.several(fields["batches"], f"{name}.batches", self.whole),
            device=self.text(fields["device"], f"{name}.device"),
            measured=self.table(fields["measured"], f"{name}.measured", self.number),
            tolerance=self.table(fields["tolerance"], f"{name}.tolerance", self.number),
        )
        if parity.measured.keys() != parity.tolerance.keys():
            self.refuse(f"{name}.tolerance", sorted(parity.tolerance), f"one for each of {sorted(parity.measured)}")
        return parity

    def temperatures(self, content: object) -> Temperatures | None:
        try:
            return None if content is None else read_temperatures(content)
        except InputError as error:
            self.refuse(ENTRY, str(error), "those of the weights")

    def consistent(self, manifest: Manifest) -> None:
        for name in manifest.files:
            parts = name.split("/")
            if name == MANIFEST or not all(re.fullmatch(r"\w[\w.-]*", part) for part in parts):
                self.refuse("files", name, "names of files in this folder")
        named = {name for target in manifest.targets.values() for name in target.files}
        if absent := sorted(
            {WEIGHTS, *named, *manifest.reports.values(), *manifest.logs.values()} - set(manifest.files)
        ):
            self.refuse("files", sorted(manifest.files), f"{absent[0]} among them")
        if tuple(manifest.outputs) not in OUTPUT_SETS.values():
            self.refuse("outputs", list(manifest.outputs), f"one of {list(OUTPUT_SETS.values())}")
        inputs, outputs = symbolic_shapes(manifest.height, manifest.width, tuple(manifest.outputs))
        if manifest.inputs != inputs:
            self.refuse("inputs", manifest.inputs, str(inputs))
        if manifest.outputs != outputs:
            self.refuse("outputs", manifest.outputs, str(outputs))
        for name, target in manifest.targets.items():
            if isinstance(target.parity, Parity) and tuple(target.parity.measured) != tuple(manifest.outputs):
                self.refuse(f"targets.{name}.parity.measured", list(target.parity.measured), str(list(outputs)))

    def config(self, content: object) -> dict[str, Any]:
        if not isinstance(content, dict):
            self.refuse("config", content, "an object")
        for name in ("height", "width"):
            if self.whole(content.get(name), f"config.{name}") < 1:
                self.refuse(f"config.{name}", content[name], "at least 1")
        return content
