"""What is installed, what can run, and whether `disasym infer` works: `examine()` is the whole of `disasym doctor`.

Whatever may crash, hang or take long is asked of another process with a time limit (`child.py`, `limited.py`); this
one imports no framework, not even numpy. docs/doctor.md: the keys of the JSON.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disasym import __version__
from disasym.doctor import codecs, gpu, machine, packages, trial
from disasym.doctor.child import sentence
from disasym.doctor.codecs import Codec
from disasym.doctor.findings import Finding
from disasym.doctor.gpu import Gpus, Toolkit, Triton
from disasym.doctor.limited import stop_all
from disasym.doctor.machine import Folder, Machine
from disasym.doctor.packages import OrtFiles, Package
from disasym.doctor.routes import Ground, Route, judge
from disasym.doctor.trial import Model, Run, Trial

__all__ = ["FORMAT", "Examination", "examine"]

FORMAT = "disasym-doctor-1"


@dataclass(frozen=True)
class Examination:
    """Everything that was found. The fields are the keys of the JSON."""

    disasym: str
    machine: Machine
    temporary_folder: Folder
    environment: dict[str, str]  # DISASYM_* alone
    packages: tuple[Package, ...]
    onnxruntime: OrtFiles
    onnxruntime_providers: tuple[str, ...] | None
    gpu: Gpus
    cuda_toolkit: Toolkit
    triton: Triton
    codecs: tuple[Codec, ...]
    model: Model
    engines: tuple[Route, ...]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Everything that `disasym infer` needs works."""
        return not any(finding.level == "failed" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as docs/doctor.md describes them."""
        return {"format": FORMAT, "healthy": self.healthy, **dataclasses.asdict(self)}


def examine(
    model: Path | None = None, engine: str = "auto", device: str = "cpu", thorough: bool = False
) -> Examination:
    """Look at this machine. Never raises for what it finds.

    Args:
        model: an export folder or weights; None means $DISASYM_MODEL, else the bundled demonstration.
        engine: what must run it; "auto" as in `disasym infer`.
        device: "cpu" or "cuda".
        thorough: also start every other engine that nothing is known to stand in the way of, which may import PyTorch.
    """
    with ThreadPoolExecutor(4) as pool:
        try:
            asked = pool.submit(gpu.look), pool.submit(gpu.toolkit)
            decoded, tried = pool.submit(codecs.look), pool.submit(trial.look, model, engine, device)
            computer, temporary = machine.look(), machine.temporary_folder()
            listed, ort, problems = _installed()
            found, (syntaxes, unread), made = asked[0].result(), decoded.result(), tried.result()
            ground = Ground(found, asked[1].result(), made.providers)
        except BaseException:  # Ctrl-C above all: leaving the block waits for the threads
            stop_all()
            raise
    runs = [made.model.run, *(_others(made, ground) if thorough else ())]
    return Examination(
        disasym=__version__,
        machine=computer,
        temporary_folder=temporary,
        environment={name: value for name, value in sorted(os.environ.items()) if name.startswith("DISASYM_")},
        packages=tuple(listed),
        onnxruntime=ort,
        onnxruntime_providers=made.providers,
        gpu=found,
        cuda_toolkit=ground.toolkit,
        triton=gpu.triton(found),
        codecs=syntaxes,
        model=made.model,
        engines=judge(made.engines, ground, runs),
        findings=(
            *machine.findings(computer, temporary),
            *problems,
            *packages.findings(listed, ort),
            *gpu.findings(found),
            *codecs.findings(syntaxes, unread),
            *trial.findings(made.model),
        ),
    )


def _installed() -> tuple[list[Package], OrtFiles, list[Finding]]:
    """The packages; metadata that cannot be read, or its reader `packaging` missing, is a finding too."""
    try:
        return packages.packages(), packages.ort_files(), []
    except Exception as error:
        text = f"the packages cannot be listed: {sentence(error)}; make a new environment and install disasym again"
        return [], OrtFiles({}, None, None), [Finding("failed", "packages", text)]


def _others(made: Trial, ground: Ground) -> list[Run]:
    """Start every other engine that could run, one after the other: each may fill the memory."""
    untried = [
        (route.engine, route.device)
        for route in judge(made.engines, ground, [made.model.run])
        if route.state == "ready"
    ]
    return [trial.attempt_engine(made.model.path, engine, device) for engine, device in untried]
