"""Takes what the GPU commands need to a GPU machine without a network, in two or three loads of at most 40 MiB.

    python -m benchmarks.gpu_carry pack DEST --pycuda WHEEL --pairs MANIFEST     # where there is a network
    python -m benchmarks.gpu_carry pack DEST --pycuda WHEEL --films              # for benchmarks.gpu_pipeline too
    python -m benchmarks.gpu_carry unpack LOADS SITE                             # on the GPU machine

The machine is taken to have Linux on x86-64, Python 3.12, PyTorch for CUDA 13, Triton, onnx, onnxscript, onnxruntime,
safetensors, numpy, scipy, rich and matplotlib. What is left to carry is TensorRT-RTX, whose library is packed into one
archive of 60 MB and halved, pycuda as a wheel (PyPI has only its source), and pairs, if some are named. To read films:
pydicom, click, imagecodecs, and the four films of one woman to make exams of.
README.md in this folder says what to send and to run, step by step.
"""

import argparse
import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
RTX = ("tensorrt_rtx_cu13_libs==1.7.1.116", "tensorrt_rtx_cu13_bindings==1.7.1.116")  # as in constraints.txt
LOADS = ("one", "two")  # what is needed in any case
THIRD, FILMS = "three", "films.npz"
READING = {"one": ("pydicom==3.0.2", "click==8.5.1"), THIRD: ("imagecodecs==2026.3.6",)}
WOMAN = 4  # films
ARCHIVE, PAIRS = "rtx.tar.xz", "pairs.npz"
HALVES = (f"{ARCHIVE}.0", f"{ARCHIVE}.1")
MOST = 40 * 2**20  # bytes of a load
# x86: rewrites the addresses of calls, which then repeat; the dictionary spans the whole library
FILTERS = [
    {"id": lzma.FILTER_X86},
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**28},
]
# Python 3.11.2, as Debian 12 has it, does not know the argument yet; the archive is our own
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
HEIGHT, WIDTH, COUNT = 1024, 512, 8  # of the pairs: those of the preset `paper`


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_carry", description=(__doc__ or "").split("\n")[0])
    what = parser.add_subparsers(dest="what", required=True)
    packing = what.add_parser("pack", help="download and pack; some minutes, 3 GB of memory")
    packing.add_argument("dest", type=Path, help="folder for the two loads")
    packing.add_argument("--pycuda", type=Path, metavar="WHEEL", help="a wheel of pycuda for Python 3.12")
    packing.add_argument("--pairs", type=Path, metavar="MANIFEST", help="real pairs, as disasym bench takes them")
    packing.add_argument("--films", action="store_true", help="what reads films, and four, in a third load")
    packing.add_argument("--also", nargs="*", default=[], metavar="NAME==VERSION", help="further packages")
    unpacking = what.add_parser("unpack", help="join and install")
    unpacking.add_argument("loads", type=Path, help="folder that holds what pack wrote, both loads")
    unpacking.add_argument("site", type=Path, help="folder to install into; name it in PYTHONPATH")
    arguments = parser.parse_args()
    if arguments.what == "unpack":
        unpack(arguments.loads, arguments.site)
        return
    pack(arguments.dest, arguments.pycuda, arguments.pairs, arguments.also, films=arguments.films)
    for load in (*LOADS, *((THIRD,) if arguments.films else ())):
        for file in sorted((arguments.dest / load).iterdir()):
            print(f"{file.stat().st_size / 1e6:6.1f} MB  {load}/{file.name}")


def pack(
    dest: Path, pycuda: Path | None, manifest: Path | None, also: Sequence[str] = (), *, films: bool = False
) -> None:
    """Write the loads. SystemExit if one is too large, a wheel does not fit, or a download fails."""
    first, second = (dest / load for load in LOADS)
    for load in (first, second):
        load.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        download(RTX, Path(folder))
        halves = halved(archive(sorted(Path(folder).glob("*.whl"))))
    for load, name, half in zip((first, second), HALVES, halves, strict=True):
        (load / name).write_bytes(half)
    if also:
        download(also, first)
    if pycuda is not None:
        _refuse_unfit(pycuda)
        (first / pycuda.name).write_bytes(pycuda.read_bytes())
    if manifest is not None:
        _write_pairs(manifest, second / PAIRS)
    loads = [first, second]
    if films:
        loads.append(_write_films(dest))
    for load in loads:
        if (size := sum(file.stat().st_size for file in load.iterdir())) > MOST:
            raise SystemExit(
                f"{load} is {size / 2**20:.0f} MiB, at most {MOST / 2**20:.0f} are carried: leave some out"
            )


def download(packages: Sequence[str], folder: Path) -> None:
    """Wheels for the GPU machine, without what they depend on."""
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version",
         PYTHON, "--implementation", "cp", *platforms, "--dest", str(folder), *packages],
        check=True,
    )  # fmt: skip


def archive(wheels: Sequence[Path]) -> bytes:
    """The files of some wheels in one compressed archive; the same wheels give the same bytes."""
    packed = io.BytesIO()
    with lzma.open(packed, "wb", filters=FILTERS) as out, tarfile.open(fileobj=out, mode="w") as archive:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as source:
                for name in sorted(source.namelist()):
                    if not name.endswith("/"):
                        entry = tarfile.TarInfo(name)
                        entry.size, entry.mode = len(content := source.read(name)), 0o755
                        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def halved(content: bytes) -> tuple[bytes, bytes]:
    middle = (len(content) + 1) // 2
    return content[:middle], content[middle:]


def unpack(loads: Path, site: Path) -> None:
    """Join the halves, install them and every wheel. SystemExit names what is missing."""
    halves = [loads / load / name for load, name in zip(LOADS, HALVES, strict=True)]
    if missing := [str(half) for half in halves if not half.is_file()]:
        raise SystemExit(f"{' and '.join(missing)} missing: copy both loads into {loads} first")
    site.mkdir(parents=True, exist_ok=True)
    joined = io.BytesIO(b"".join(half.read_bytes() for half in halves))
    with lzma.open(joined) as content, tarfile.open(fileobj=content, mode="r|") as archive:
        archive.extractall(site, **SAFELY)  # noqa: S202 - our own archive, and filtered where Python can
    for load in (*LOADS, THIRD):
        for wheel in sorted((loads / load).glob("*.whl")):
            with zipfile.ZipFile(wheel) as source:
                source.extractall(site)  # noqa: S202 - zipfile leaves out what would lead out of the folder
    print(f"installed into {site}: {', '.join(sorted(path.name for path in site.iterdir()))}")


def _refuse_unfit(wheel: Path) -> None:
    if not wheel.is_file() or "cp312" not in wheel.name or "x86_64" not in wheel.name:
        raise SystemExit(
            f"{wheel} is no wheel for Python {PYTHON} on Linux x86-64: build one as benchmarks/README.md says"
        )


def _write_films(dest: Path) -> Path:
    """The third load, and what of it goes into the first."""
    from benchmarks.archive import real_plates, write_plates

    (dest / THIRD).mkdir(exist_ok=True)
    for load, packages in READING.items():
        download(packages, dest / load)
    write_plates(dest / THIRD / FILMS, real_plates()[:WOMAN])
    return dest / THIRD


def _write_pairs(manifest: Path, path: Path) -> None:
    """As float16: a view's grey values are in [0, 1], and every engine is given the same ones."""
    from disasym.infer.stages import load_views

    np.savez_compressed(path, views=load_views(manifest, HEIGHT, WIDTH, COUNT).astype(np.float16))


if __name__ == "__main__":
    main()
