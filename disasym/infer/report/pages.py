"""The pages of the report, made from what a run has written: results.jsonl and the layers of its pairs.

Whatever comes from outside (identifiers, reasons, names of files) is text to the page: Jinja escapes it, `printable`
shows what cannot be printed or would reorder its neighbours, and a Content-Security-Policy lets run and load nothing
but the one script and the one style sheet of the page, by their hashes, and images that stand in it.
"""

import base64
import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from disasym import __version__
from disasym.dicom import Fate
from disasym.engines import Engine
from disasym.errors import EngineError, InputError
from disasym.export.manifest import read_manifest
from disasym.files import write_whole
from disasym.infer.exams import Exam
from disasym.infer.report.content import Files, Page, Shown, page_name, pages_of
from disasym.infer.report.layers import Layers, heat_png, read_layers
from disasym.spec import OUTPUTS

_PAGE = re.compile(r"report(-[1-9][0-9]*)?\.html")


@dataclass(frozen=True)
class About:
    """What made the results."""

    version: str
    preset: str
    height: int  # of the network's frame, in pixels
    width: int
    precision: str
    engine: str
    model_sha256: str
    calibrated: bool
    missing: tuple[str, ...]  # outputs that the model does not make
    demonstration: bool  # the weights that are part of the package

    @classmethod
    def of(cls, engine: Engine) -> "About":
        info = engine.info
        return cls(
            version=__version__,
            preset=info.preset,
            height=info.height,
            width=info.width,
            precision=info.precision,
            engine=engine.name,
            model_sha256=info.model_sha256,
            calibrated=info.calibrated,
            missing=tuple(name for name in OUTPUTS if name not in info.outputs),
            demonstration=info.model_sha256 == _demonstration(),
        )


def write_report(out: Path, engine: Engine, exams: Sequence[Exam], fates: Sequence[Fate]) -> None:
    """Make report.html, and report-2.html and so on, from results.jsonl and the layers in `out`.

    Each page appears whole or not at all; pages of an earlier report go.

    Raises:
        InputError: the disk refuses.
    """
    about, files, environment = About.of(engine), Files(fates, exams), _environment()
    try:
        pages = 0
        for page in pages_of(out, exams):
            pieces = _rendered(environment, page, about, files, out)
            write_whole(out / page.name, (piece.encode("utf-8", "backslashreplace") for piece in pieces))
            pages = page.pages
        remove_report(out, keep=pages)
    except OSError as error:
        raise InputError(
            f"{out}: the report cannot be written ({error.strerror}); the tables are complete: free space and run again"
        ) from error


def remove_report(out: Path, keep: int = 0) -> None:
    """Remove the pages of an earlier report but the first `keep`. OSError from the disk."""
    kept = {page_name(number) for number in range(1, keep + 1)}
    for path in out.glob("report*.html"):
        if _PAGE.fullmatch(path.name) and path.name not in kept:
            path.unlink(missing_ok=True)


def printable(value: Any) -> Any:
    """Text whose every character shows: what does not, and what would reorder others, as an escape (`\\u202e`)."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = lambda value: "–" if value is None else f"{value:.2f}"
    return environment


def _rendered(environment: Environment, page: Page, about: About, files: Files, out: Path) -> Iterator[str]:
    """The page in pieces; the images of a pair are read when its piece is made, and forgotten."""
    style = _asset("report.css").replace("ASPECT", f"{about.width / about.height:.6f}")
    script = _asset("report.js")

    def layers(pair: Shown) -> Layers | None:
        return read_layers(out, pair.row)

    yield from environment.get_template("page.html").generate(
        page=page,
        about=about,
        files=files,
        layers=layers,
        page_name=page_name,
        ramp=heat_png(np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(8, axis=0)),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704
        policy=(
            f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
            " base-uri 'none'; form-action 'none'"
        ),
    )


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source expression of Content Security Policy for an inline element with this content."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _demonstration() -> str | None:
    """The weights that are part of the package, by their SHA-256."""
    with contextlib.suppress(EngineError):
        return read_manifest(Path(__file__).parents[2] / "demonstration").model_sha256
    return None
