"""manifest.json: what an export holds, which tools made it, and how far it was measured to be from the eager model.

Readable without torch. Strict: a field that is missing, unknown or of the wrong kind is refused, so that a manifest
that parses can be trusted to be complete.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from disasym.errors import EngineError
from disasym.files import write_whole
from disasym.spec import OUTPUTS, output_shapes

FORMAT = "disasym-export-1"
MANIFEST, ONNX, WEIGHTS, CARD = "manifest.json", "model.onnx", "model.safetensors", "README.md"

Shape = tuple[int | str, ...]  # a string is the name of a dynamic dimension


@dataclass(frozen=True)
class Parity:
    """How far the exported model was measured to be from eager PyTorch, and how far it may be."""

    pairs: int
    source: Literal["real", "synthetic"]
    batches: tuple[int, ...]  # the batch sizes that were run
    measured: dict[str, dict[str, float]]  # engine → output → largest |Δ|
    tolerance: dict[str, float]  # output → largest |Δ| accepted


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json."""

    format: str = FORMAT
    preset: str  # "custom" where no preset has this configuration
    config: dict[str, Any]  # the fields of ModelConfig
    precision: str
    opset: int
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    files: dict[str, str]  # name → SHA-256
    tools: dict[str, str]  # package → version
    parity: Parity
    created: str  # ISO 8601, UTC

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


def symbolic_shapes(height: int, width: int) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Shapes of the inputs and of the outputs, the dynamic dimension by its name `batch`."""
    outputs: dict[str, Shape] = {n: ("batch", *shape[1:]) for n, shape in output_shapes(1, height, width).items()}
    return {"views": ("batch", 2, height, width)}, outputs


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into the folder, whole or not at all."""
    text = json.dumps(dataclasses.asdict(manifest), indent=2, ensure_ascii=False)
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


class _Reader:
    """Checks and converts parsed JSON; every refusal names the file, the field and what stands there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifest(self, content: object) -> Manifest:
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            self.refuse(
                "format", found, repr(FORMAT), "use the disasym version that made it, or export the model again"
            )
        fields = self.fields(content, Manifest, "the manifest")
        manifest = Manifest(
            preset=self.text(fields["preset"], "preset"),
            config=self.config(fields["config"]),
            precision=self.text(fields["precision"], "precision"),
            opset=self.whole(fields["opset"], "opset"),
            inputs=self.table(fields["inputs"], "inputs", self.shape),
            outputs=self.table(fields["outputs"], "outputs", self.shape),
            files=self.table(fields["files"], "files", self.sha256),
            tools=self.table(fields["tools"], "tools", self.text),
            parity=self.parity(fields["parity"]),
            created=self.text(fields["created"], "created"),
        )
        self.consistent(manifest)
        return manifest

    def parity(self, content: object) -> Parity:
        fields = self.fields(content, Parity, "parity")
        if fields["source"] not in ("real", "synthetic"):
            self.refuse("parity.source", fields["source"], "'real' or 'synthetic'")
        if not isinstance(fields["batches"], list):
            self.refuse("parity.batches", fields["batches"], "a list")

        def deltas(value: object, name: str) -> dict[str, float]:
            return self.table(value, name, self.number)

        return Parity(
            pairs=self.whole(fields["pairs"], "parity.pairs"),
            source=fields["source"],
            batches=tuple(self.whole(size, "parity.batches") for size in fields["batches"]),
            measured=self.table(fields["measured"], "parity.measured", deltas),
            tolerance=deltas(fields["tolerance"], "parity.tolerance"),
        )

    def consistent(self, manifest: Manifest) -> None:
        for name in manifest.files:
            if name in (".", "..", MANIFEST) or not re.fullmatch(r"[\w.-]+", name):
                self.refuse("files", name, "names of files in this folder")
        if WEIGHTS not in manifest.files:
            self.refuse("files", sorted(manifest.files), f"{WEIGHTS} among them")
        inputs, outputs = symbolic_shapes(manifest.height, manifest.width)
        if manifest.inputs != inputs:
            self.refuse("inputs", manifest.inputs, str(inputs))
        if manifest.outputs != outputs or tuple(manifest.outputs) != OUTPUTS:
            self.refuse("outputs", manifest.outputs, str(outputs))

    def config(self, content: object) -> dict[str, Any]:
        if not isinstance(content, dict):
            self.refuse("config", content, "an object")
        for name in ("height", "width"):
            if self.whole(content.get(name), f"config.{name}") < 1:
                self.refuse(f"config.{name}", content[name], "at least 1")
        return content

    def fields(self, content: object, kind: type, name: str) -> dict[str, Any]:
        wanted = {field.name for field in dataclasses.fields(kind)}
        if not isinstance(content, dict):
            self.refuse(name, content, "an object")
        if content.keys() != wanted:
            missing, unknown = sorted(wanted - content.keys()), sorted(content.keys() - wanted)
            self.refuse(f"the fields of {name}", f"missing {missing}, unknown {unknown}", f"{sorted(wanted)}")
        return content

    def table(self, content: object, name: str, convert: Callable[[object, str], Any]) -> dict[str, Any]:
        if not isinstance(content, Mapping):
            self.refuse(name, content, "an object")
        return {key: convert(value, f"{name}.{key}") for key, value in content.items()}

    def shape(self, value: object, name: str) -> Shape:
        if not isinstance(value, list) or not all(type(size) in (int, str) for size in value):
            self.refuse(name, value, "a list of sizes")
        return tuple(cast("list[int | str]", value))

    def sha256(self, value: object, name: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            self.refuse(name, value, "a SHA-256 of 64 hexadecimal digits")
        return value

    def text(self, value: object, name: str) -> str:
        if not isinstance(value, str) or not value:
            self.refuse(name, value, "a text")
        return value

    def whole(self, value: object, name: str) -> int:
        if type(value) is not int:
            self.refuse(name, value, "a whole number")
        return value

    def number(self, value: object, name: str) -> float:
        if type(value) not in (int, float) or not 0 <= cast(float, value) < float("inf"):
            self.refuse(name, value, "a finite number, at least 0")
        return float(cast(float, value))

    def refuse(self, name: str, found: object, wanted: str, remedy: str = "export the model again") -> NoReturn:
        raise EngineError(f"{self.path}: {name} is {found!r}, wanted {wanted}: {remedy}")
