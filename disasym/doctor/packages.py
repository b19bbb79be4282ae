"""What is installed, against the ranges of pyproject.toml, read from metadata: no package is imported for its version.

`onnxruntime` and `onnxruntime-gpu` are two distributions of one module. Installed together, the files of whichever came
last lie on the disk (https://github.com/microsoft/onnxruntime/issues/26996).
"""

import re
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import disasym
from disasym.doctor.findings import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

BASE = "base"
ORT = "onnxruntime"


@dataclass(frozen=True)
class Package:
    """One requirement, and what is there."""

    name: str
    extra: str  # "base": `disasym infer` needs it
    range: str  # as in pyproject.toml; "" for any version
    version: str | None  # None: not installed
    suits: bool | None  # None: not installed, or its version is no version
    provided_by: str = ""  # another distribution that brings the same module


@dataclass(frozen=True)
class OrtFiles:
    """Which distributions claim the module `onnxruntime`, and whose files are on the disk."""

    distributions: dict[str, str]  # name → version
    on_disk: str | None  # None: the module does not say
    on_disk_version: str | None

    @property
    def conflict(self) -> bool:
        return len(self.distributions) > 1


def packages(requirements: list[str] | None = None) -> list[Package]:
    """Every requirement of the project that applies on this platform, base first, then the extras."""
    from packaging.requirements import Requirement

    found = []
    for requirement in map(Requirement, project_requirements() if requirements is None else requirements):
        extra = _extra(requirement)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "" if extra == BASE else extra}):
            found.append(_package(requirement, extra))
    return found


def project_requirements() -> list[str]:
    """The requirements as PEP 508 strings: of the checkout that is run, else of the installed distribution.

    A checkout comes first, because the metadata of an editable installation stays as it was when it was installed.
    """
    try:
        project = tomllib.loads((Path(disasym.__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
        if project["name"] == "disasym":
            return [*project["dependencies"], *_with_extras(project.get("optional-dependencies", {}))]
    except (OSError, KeyError, TypeError, ValueError):
        pass
    return metadata.requires("disasym") or []


def version_of(name: str) -> str | None:
    """The version of an installed distribution, by its metadata; None if there is none."""
    try:
        version: str | None = metadata.version(name)
    except (metadata.PackageNotFoundError, OSError):
        return None
    return version or None


def ort_files() -> OrtFiles:
    """Who claims the module `onnxruntime` and who wrote it last, by the note that its build leaves in the package."""
    claims: dict[str, str] = {}
    folder: Path | None = None
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.name or "").lower()
        if not name.startswith(ORT):
            continue
        module = next((file for file in distribution.files or () if file.as_posix() == f"{ORT}/__init__.py"), None)
        if module is not None:
            claims.setdefault(name, distribution.version)
            folder = folder or Path(str(distribution.locate_file(module))).parent
    note = _read(folder / "capi" / "build_and_package_info.py") if folder else ""
    on_disk, version = _named(note, "package_name"), _named(note, "__version__")
    return OrtFiles(dict(sorted(claims.items())), on_disk, version)


def findings(listed: list[Package], ort: OrtFiles) -> list[Finding]:
    """What is wrong with the installation."""
    found = []
    for package in listed:
        base = package.extra == BASE
        install = "pip install --upgrade disasym" if base else f"pip install --upgrade 'disasym[{package.extra}]'"
        if package.version is None:
            if base:
                found.append(Finding("failed", "packages", f"{package.name} is not installed: {install}"))
        elif not package.suits:
            text = f"{package.name} is {package.version}, wanted {package.range or 'a version'}: {install}"
            found.append(Finding("failed" if base else "warning", "packages", text))
    if ort.conflict:
        found.append(Finding("warning", "packages", _conflict(ort)))
    return found


def _conflict(ort: OrtFiles) -> str:
    names = list(ort.distributions)
    on_disk = f"the files on the disk are those of {ort.on_disk or 'neither, by their own account'}"
    keep = "onnxruntime-gpu" if "onnxruntime-gpu" in names else ORT
    return (
        f"{' and '.join(f'{name} {version}' for name, version in ort.distributions.items())} are both installed and"
        f" overwrite each other, {on_disk}: pip uninstall {' '.join(names)}, then install one of them alone:"
        f" pip install {keep}" + (" (or onnxruntime where there is no GPU)" if keep != ORT else "")
    )


def _package(requirement: "Requirement", extra: str) -> Package:
    from packaging.version import InvalidVersion, Version

    name, provided_by = requirement.name, ""
    version = version_of(name)
    if version is None and name == ORT and (gpu := version_of("onnxruntime-gpu")):
        version, provided_by = gpu, "onnxruntime-gpu"
    suits = None
    if version is not None:
        try:
            suits = requirement.specifier.contains(Version(version), prereleases=True)
        except InvalidVersion:
            suits = None
    return Package(name, extra, str(requirement.specifier), version, suits, provided_by)


def _with_extras(extras: dict[str, list[str]]) -> list[str]:
    """As they stand in the metadata of a distribution: `name>=1; (marker) and extra == "x"`."""
    lines = []
    for extra, requirements in extras.items():
        for requirement in requirements:
            name, _, marker = requirement.partition(";")
            condition = f"({marker.strip()}) and " if marker.strip() else ""
            lines.append(f'{name.strip()}; {condition}extra == "{extra}"')
    return lines


def _extra(requirement: "Requirement") -> str:
    match = re.search(r"extra == [\"']([\w.-]+)[\"']", str(requirement.marker or ""))
    return match[1] if match else BASE


def _named(note: str, name: str) -> str | None:
    match = re.search(rf"^{name}\s*=\s*['\"]([\w.+-]+)['\"]", note, re.M)
    return match[1] if match else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
