"""What a run is asked to write, and whether it can: said before any film is read."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from disasym.engines import Engine
from disasym.errors import InputError, MissingExtraError
from disasym.infer.jobs import is_manifest
from disasym.infer.stages import IMAGES

DICOM = ("sr", "seg", "capture")  # DICOM objects
WRITABLE = ("scores", "panels", "html", *DICOM)

NEEDS = {"panels": IMAGES, "seg": ("cam",), "capture": IMAGES}  # outputs of the model


@dataclass(frozen=True)
class Wanted:
    """What is written beside the tables."""

    panels: bool
    report: bool
    dicom: tuple[str, ...]  # of DICOM
    left_out: str = ""  # what is usually written and is not, and why

    @property
    def names(self) -> tuple[str, ...]:
        """Those of WRITABLE."""
        panels, report = ("panels",) if self.panels else (), ("html",) if self.report else ()
        return ("scores", *panels, *report, *self.dicom)


def wanted(write: tuple[str, ...] | None, engine: Engine, model: Path) -> Wanted:
    """What `write` asks for; None: the report, and panels if the model makes images.

    Raises:
        InputError: the model does not make what is needed for it.
        MissingExtraError: DICOM objects were asked for, and highdicom is not installed.
    """
    missing = [name for name in IMAGES if name not in engine.info.outputs]
    without = f"{model} was exported without {', '.join(missing)}"
    if write is None:
        return Wanted(not missing, True, (), f"panels: {without}" if missing else "")
    for name, needs in NEEDS.items():
        if name in write and not set(needs).isdisjoint(missing):
            raise InputError(f"{name} cannot be made: {without}; leave it out of --write, or export with --outputs all")
    dicom = tuple(name for name in DICOM if name in write)
    if dicom and find_spec("highdicom") is None:
        raise MissingExtraError(f"writing {', '.join(dicom)}", "highdicom", "", "pip install 'highdicom>=0.28'")
    return Wanted("panels" in write, "html" in write, dicom)


def check_source(source: Path, asked: Wanted) -> None:
    """Refuse DICOM objects for images that are no DICOM films: there is no patient and no study to file them under.

    Raises:
        InputError: `source` is a manifest.
    """
    if asked.dicom and is_manifest(source):
        raise InputError(
            f"{source} lists images that are no DICOM films, so {', '.join(asked.dicom)} cannot be written for them: a"
            " DICOM object needs the patient and the study of its film; leave it out of --write"
        )
