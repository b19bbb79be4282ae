"""The report as one screen: what works is green, what is absent is dim, what should be mended stands at the end."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from disasym.doctor import Examination
from disasym.doctor.packages import BASE, Package
from disasym.processor import lacks_vnni

WIDEST = 110
GOOD, PARTLY, ABSENT, WARNING, BAD = "good", "partly", "absent", "warning", "bad"
STYLES = {GOOD: "green", PARTLY: "dim", ABSENT: "dim", WARNING: "yellow", BAD: "bold red"}
MARKS = {GOOD: "✓", PARTLY: "·", ABSENT: "·", WARNING: "!", BAD: "✗"}
PLAIN = {GOOD: "+", PARTLY: "-", ABSENT: "-", WARNING: "!", BAD: "x"}  # where the terminal has no such characters

ASCII = str.maketrans("×Δ“”", "xd''")

Row = tuple[str, str, Text]  # how good, what, the facts


def show(found: Examination, console: Console | None = None) -> None:
    """Print the report."""
    console = console or Console(highlight=False)
    console.print(report(found, plain=console.options.ascii_only), width=min(console.width, WIDEST))


def report(found: Examination, plain: bool = False) -> RenderableType:
    """The report; `plain` without the marks that need Unicode."""
    sections = {
        "Machine": _machine(found),
        "Packages": _packages(found),
        "GPU": _gpu(found),
        "DICOM": _codecs(found),
        "Model": _model(found),
        "Engines": _engines(found),
    }
    title = Text.assemble(("disasym ", "bold"), (found.disasym, "bold"), ("   doctor", "dim"))
    tables = [part for name, rows in sections.items() for part in (Text(name, "bold"), _table(rows, plain), Text())]
    return Group(title, Text(), *tables, _verdict(found, plain))


def _table(rows: Iterable[Row], plain: bool) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=17, no_wrap=True)
    table.add_column(overflow="fold")
    for state, name, facts in rows:
        facts.plain = _shown(facts.plain, plain)
        if state == ABSENT:
            facts.stylize("dim")
        table.add_row(
            Text((PLAIN if plain else MARKS)[state], STYLES[state]),
            Text(_shown(name, plain), "dim" if state == ABSENT else ""),
            facts,
        )
    return Padding(table, (0, 0, 0, 2))


def _machine(found: Examination) -> Iterator[Row]:
    machine, folder = found.machine, found.temporary_folder
    failed = {finding.subject for finding in found.findings if finding.level == "failed"}
    python = Text.assemble(machine.python, (f"  {machine.executable}", "dim"))
    yield BAD if "python" in failed else GOOD, machine.implementation.replace("CPython", "Python"), python
    yield GOOD, "platform", Text(machine.platform)
    cores = f"{machine.cores} core{'s' if machine.cores != 1 else ''} usable"
    if machine.core_quota is not None:
        cores += f", of which a container allows {machine.core_quota:g}"
    yield GOOD, "processor", Text(f"{machine.processor or 'unknown'}, {cores}")
    if machine.instructions is None:
        yield ABSENT, "instructions", Text("not known on this platform")
    else:
        have = [name for name, there in machine.instructions.items() if there]
        lack = [name for name, there in machine.instructions.items() if not there]
        without = (f"  without {', '.join(lack)}" if lack else "", "dim")
        yield GOOD, "instructions", Text.assemble(", ".join(have) or "none of those that matter", without)
    memory = _size(machine.memory_bytes)
    if machine.memory_available_bytes is not None:
        memory += f", {_size(machine.memory_available_bytes)} available"
    if machine.memory_limit_bytes is not None:
        memory += f"; a container allows {_size(machine.memory_limit_bytes)}"
    yield GOOD, "memory", Text(memory)
    low = any(finding.subject == "folders" for finding in found.findings)
    state = BAD if not folder.writable else WARNING if low else GOOD
    room = f"  {_size(folder.free_bytes)} free" if folder.writable else f"  {folder.problem}"
    yield state, "temporary files", Text.assemble(folder.path or "none", (room, "dim" if folder.writable else ""))
    for name, value in found.environment.items():
        yield GOOD, name, Text(value)


def _packages(found: Examination) -> Iterator[Row]:
    extras_absent = []
    for extra, members in groupby(found.packages, lambda package: package.extra):
        listed = list(members)
        there = [package for package in listed if package.version is not None]
        absent = [package.name for package in listed if package.version is None]
        if extra != BASE and not there:
            extras_absent.append(extra)
            continue
        text = Text(", ").join(_package(package) for package in there)
        if absent:
            text.append(f"  without {', '.join(absent)}", "bold red" if extra == BASE else "dim")
        wrong = any(not package.suits for package in there)
        if extra == BASE:
            yield BAD if wrong or absent else GOOD, extra, text
        else:
            yield WARNING if wrong else PARTLY if absent else GOOD, extra, text
    if extras_absent:
        yield ABSENT, "not installed", Text(f"{', '.join(extras_absent)}  (pip install 'disasym[NAME]')")
    ort = found.onnxruntime
    if ort.conflict:
        claims = " and ".join(f"{name} {version}" for name, version in ort.distributions.items())
        able = ", ".join(found.onnxruntime_providers or ("none, it cannot be imported",))
        on_disk = f"{ort.on_disk} {ort.on_disk_version or ''}".strip() if ort.on_disk else "neither"
        yield WARNING, "onnxruntime", Text(f"{claims} overwrite each other; on the disk: {on_disk}; providers: {able}")


def _package(package: Package) -> Text:
    by = f" (by {package.provided_by})" if package.provided_by else ""
    text = Text.assemble(f"{package.name} ", (package.version or "", "cyan"), by)
    if not package.suits:
        text.append(f" (wanted {package.range})", "yellow")
    return text


def _gpu(found: Examination) -> Iterator[Row]:
    for gpu in found.gpu.gpus:
        facts = [f"compute capability {gpu.compute_capability or 'unknown'}"]
        if gpu.memory_bytes is not None:
            facts.append(_size(gpu.memory_bytes))
        if gpu.memory_free_bytes is not None:
            facts.append(f"{_size(gpu.memory_free_bytes)} free")
        yield GOOD, f"GPU {gpu.index}", Text(f"{gpu.name}, {', '.join(facts)}, driver {gpu.driver}")
    if not found.gpu.gpus:
        yield WARNING if found.gpu.broken else ABSENT, "GPU", Text(f"none: {found.gpu.problem}")
    nvcc = found.cuda_toolkit
    if nvcc.nvcc:
        path = f" once {nvcc.off_path} is on the PATH" if nvcc.off_path else ""
        yield GOOD, "CUDA toolkit", Text(f"nvcc {nvcc.nvcc}, pycuda can be built{path}")
    else:
        yield ABSENT, "CUDA toolkit", Text(f"{nvcc.problem}; pycuda is built from source with the toolkit")
    version = found.triton.version or ""
    of_triton = ": ".join(part for part in (version, found.triton.reason) if part)
    yield GOOD if found.triton.usable else ABSENT, "Triton", Text(of_triton)


def _codecs(found: Examination) -> Iterator[Row]:
    good = [codec for codec in found.codecs if codec.decodes]
    for codec in found.codecs:
        if not codec.decodes:
            yield BAD, codec.name, Text(codec.reason)
    if not found.codecs:
        yield BAD, "decoders", Text("could not be tried")
    if good:
        count = f"all {len(good)}" if len(good) == len(found.codecs) else f"{len(good)} of {len(found.codecs)}"
        names = Text(", ".join(codec.name for codec in good), "dim")
        yield GOOD, "decoded", Text.assemble(f"{count} transfer syntaxes  ", names)


def _model(found: Examination) -> Iterator[Row]:
    model = found.model
    where = {"bundled": "bundled with disasym", "DISASYM_MODEL": "$DISASYM_MODEL"}.get(model.source, model.source)
    yield GOOD if model.run.runs else BAD, "model", Text.assemble(model.path, (f"  {where}", "dim"))
    if model.manifest is not None:
        config, tools = model.manifest["config"], model.manifest["tools"]
        size = f"{config['height']}×{config['width']} pixels"
        made = (f"  exported {model.manifest['created'][:10]} by disasym {tools.get('disasym', 'unknown')}", "dim")
        yield (
            GOOD,
            "manifest",
            Text.assemble(f"{model.manifest['preset']}, {size}, {model.manifest['precision']}", made),
        )
        if model.manifest["precision"] == "int8" and lacks_vnni(found.machine.instructions):
            slow = "no VNNI here: the same scores, slower; float32 may be as fast (disasym bench)"
            yield PARTLY, "int8", Text(slow)
    if model.hashes:
        wrong = [name for name, right in model.hashes.items() if not right]
        right = f"SHA-256 right: {', '.join(name for name in model.hashes if name not in wrong)}"
        yield WARNING if wrong else GOOD, "files", Text(f"SHA-256 wrong: {', '.join(wrong)}" if wrong else right)
    for parity in model.parity:
        if parity.not_measured:
            yield ABSENT, "parity", Text(f"{parity.target}: {parity.not_measured}")
            continue
        worst = ", ".join(f"{name} {delta:.1e}" for name, delta in parity.measured.items())
        state = GOOD if parity.within else WARNING
        on = (f"  largest |Δ| to PyTorch on {parity.pairs} {parity.source} pairs", "dim")
        yield state, "parity", Text.assemble(f"{parity.target}: {worst}", on)
    run = model.run
    if run.runs:
        seconds = f"open {run.start_seconds:.2f} s after the start, one pair in {run.pair_seconds:.2f} s"
        yield GOOD, "run", Text(f"{run.engine} on {run.device}: {seconds}, outputs finite")
    else:
        yield BAD, "run", Text(f"{run.engine} on {run.device}: does not run, see below")


def _engines(found: Examination) -> Iterator[Row]:
    for route in found.engines:
        name = f"{route.engine} {route.device}"
        if route.state == "runs":
            yield GOOD, name, Text("runs the model")
        else:
            yield ABSENT, name, Text(f"{'not here: ' if route.state == 'absent' else 'ready: '}{route.reason}")
    if not found.engines:
        yield BAD, "engines", Text("could not be listed, see above")


def _verdict(found: Examination, plain: bool) -> RenderableType:
    marks = PLAIN if plain else MARKS
    rows: list[Row] = [
        (BAD if finding.level == "failed" else WARNING, finding.subject, Text(finding.text))
        for finding in found.findings
    ]
    if found.healthy:
        good = Text.assemble((f"{marks[GOOD]} ", "green"), "Everything that disasym infer needs works here.")
        return Group(good, _table(rows, plain)) if rows else good
    bad = Text.assemble((f"{marks[BAD]} ", "bold red"), "disasym infer does not work here. To mend:")
    return Group(bad, _table(sorted(rows, key=lambda row: row[0] == WARNING), plain))


def _shown(text: str, plain: bool) -> str:
    """What a terminal can show, as many characters as before: paths, variables and drivers may say anything."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text.translate(ASCII).encode("ascii", "replace").decode() if plain else text


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"
