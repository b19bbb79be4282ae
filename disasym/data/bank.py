"""A bank of tumours: small patches around lesions, to be pasted into symmetric pairs by `synthesis`.

Every patch is cut by `tumours.build_bank` from a mammogram preprocessed to REFERENCE_HEIGHT × REFERENCE_WIDTH (the
`paper` preset) and is scaled by H / REFERENCE_HEIGHT for a network of H rows. Grey levels are those of preprocessing:
fractions of the breast's own window.

A bank file is a .npz without pickle: `pixels` float16, all patches one after another; `shapes` int32 [n, 2];
`sigmas` float32 [n, 2]; `metadata`, JSON as bytes: format, reference height, tumours for each data set, the SHA-256
of the three arrays. The same tumours give the same bytes.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from disasym.errors import InputError
from disasym.files import write_whole
from disasym.resample import resample_columns, resample_rows
from disasym.spec import Array

REFERENCE_HEIGHT, REFERENCE_WIDTH = 1024, 512
FORMAT = "disasym-tumours-1"
BORDER = float(np.sqrt(2 * np.log(2)))  # Mahalanobis distance of a lesion's border: there a Gaussian has half its peak
MARGIN = 3.0  # of the patch's border: there a Gaussian has 1 % of its peak
RING = (1.5, 2.5)  # of the surroundings whose grey level a tumour is compared with
FAINTEST = 0.05  # of the grey window: the least contrast of a tumour in a bank
LARGEST_FILE = 2**31  # bytes after decompression; a bank of thousands of tumours is far smaller
ARRAYS = ("pixels", "shapes", "sigmas")


@dataclass(frozen=True, eq=False)
class Tumour:
    """One patch with the lesion's centre in its middle, reaching MARGIN·σ from it."""

    pixels: Array  # float32 [h, w] in [0, 1]; what was not breast is at the ring's level
    sigma: tuple[float, float]  # of its Gaussian along y and x, in the patch's pixels: half axis / BORDER

    @cached_property
    def level(self) -> float:
        """Mean grey level of the tissue around the lesion (the RING)."""
        distance = self.distance
        ring = (distance >= RING[0]) & (distance <= RING[1])
        return float(self.pixels[ring].mean()) if ring.any() else float(self.pixels.mean())

    @cached_property
    def contrast(self) -> float:
        """Mean grey level inside the lesion's border, less `level`."""
        inside = self.distance <= max(BORDER, float(self.distance.min()))
        return float(self.pixels[inside].mean()) - self.level

    @property
    def distance(self) -> Array:
        """Mahalanobis distance of each pixel from the centre, float32 [h, w]."""
        return mahalanobis(self.pixels.shape, self.sigma)


@dataclass(frozen=True, eq=False)
class TumourBank:
    """Tumours at the reference scale, and how many came from each data set."""

    tumours: tuple[Tumour, ...]
    datasets: Mapping[str, int]
    _scaled: dict[int, tuple[Tumour, ...]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.tumours)

    def sample(self, rng: np.random.Generator, height: int = REFERENCE_HEIGHT) -> Tumour:
        """One tumour, each equally likely, at the scale of views with `height` rows."""
        return self.at(height)[rng.integers(len(self.tumours))]

    def at(self, height: int) -> tuple[Tumour, ...]:
        """All tumours at the scale of views with `height` rows (area average); made once for each height."""
        if height not in self._scaled:
            self._scaled[height] = tuple(_scale(t, height / REFERENCE_HEIGHT) for t in self.tumours)
        return self._scaled[height]

    @property
    def sha256(self) -> str:
        """Fingerprint of the content, whatever file it is in."""
        return _sha256(self._arrays())

    def save(self, path: Path) -> None:
        """Write the bank; the file appears whole or not at all."""
        arrays = self._arrays()
        metadata = {
            "format": FORMAT,
            "reference_height": REFERENCE_HEIGHT,
            "count": len(self),
            "datasets": dict(sorted(self.datasets.items())),
            "sha256": _sha256(arrays),
        }
        content = io.BytesIO()
        text = np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), np.uint8)
        np.savez_compressed(content, allow_pickle=False, metadata=text, **arrays)
        write_whole(path, content.getvalue())

    @staticmethod
    def load(path: Path) -> "TumourBank":
        """Read a bank.

        Raises:
            InputError: no such file, not a bank, damaged, or of another version.
        """
        arrays, metadata = _read(path)
        if metadata.get("format") != FORMAT or metadata.get("reference_height") != REFERENCE_HEIGHT:
            found = (metadata.get("format"), metadata.get("reference_height"))
            raise InputError(
                f"tumour bank {path} has format {found}, this version reads {(FORMAT, REFERENCE_HEIGHT)}:"
                " make it again with disasym tumours"
            )
        if metadata.get("sha256") != _sha256(arrays):
            raise InputError(
                f"tumour bank {path} is damaged: its content has SHA-256 {_sha256(arrays)}, its metadata says"
                f" {metadata.get('sha256')}; make it again with disasym tumours"
            )
        try:
            return TumourBank(_unpack(arrays), {str(k): int(v) for k, v in metadata["datasets"].items()})
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"tumour bank {path} contradicts itself ({error}): make it again") from error

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        pixels = [t.pixels.astype(np.float16).ravel() for t in self.tumours]
        return {
            "pixels": np.concatenate(pixels) if pixels else np.zeros(0, np.float16),
            "shapes": np.array([t.pixels.shape for t in self.tumours], np.int32).reshape(-1, 2),
            "sigmas": np.array([t.sigma for t in self.tumours], np.float32).reshape(-1, 2),
        }


def make_bank(tumours: Iterable[tuple[str, Tumour]]) -> TumourBank:
    """A bank of (data set, tumour); grey levels are rounded to float16, as the file keeps them.

    Raises:
        InputError: no tumour at all.
    """
    listed = list(tumours)
    if not listed:
        raise InputError("a tumour bank needs at least one tumour")
    names = [name for name, _ in listed]
    rounded = tuple(Tumour(t.pixels.astype(np.float16).astype(np.float32), _rounded(t.sigma)) for _, t in listed)
    return TumourBank(rounded, {name: names.count(name) for name in sorted(set(names))})


def mahalanobis(shape: tuple[int, ...], sigma: tuple[float, float]) -> Array:
    """Distance of each pixel of a [h, w] patch from its middle, in σ; float32."""
    y = (np.arange(shape[0], dtype=np.float32) - np.float32((shape[0] - 1) / 2)) / np.float32(sigma[0])
    x = (np.arange(shape[1], dtype=np.float32) - np.float32((shape[1] - 1) / 2)) / np.float32(sigma[1])
    distance: Array = np.hypot(y[:, None], x[None, :])
    return distance


def _scale(tumour: Tumour, factor: float) -> Tumour:
    rows, columns = (max(3, round(n * factor)) for n in tumour.pixels.shape)
    sigma_y, sigma_x = tumour.sigma
    height, width = tumour.pixels.shape
    pixels = resample_columns(resample_rows(tumour.pixels, 0, height, rows), 0, width, columns)
    return Tumour(pixels, (sigma_y * rows / height, sigma_x * columns / width))


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_FILE:
            raise InputError(f"tumour bank {path} unpacks to {size} bytes, at most {LARGEST_FILE} are read")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
            metadata = json.loads(file["metadata"].tobytes())
    except FileNotFoundError as error:
        raise InputError(f"there is no tumour bank at {path}: make one with disasym tumours") from error
    except (OSError, ValueError, KeyError, EOFError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not a tumour bank ({error}): make one with disasym tumours") from error
    if not isinstance(metadata, dict):
        raise InputError(f"{path} is not a tumour bank (its metadata is no table): make one with disasym tumours")
    return arrays, metadata


def _unpack(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Tumour, ...]:
    pixels, shapes, sigmas = (arrays[name] for name in ARRAYS)
    if shapes.shape != sigmas.shape or shapes.shape[1:] != (2,) or len(shapes) == 0:
        raise ValueError(f"shapes {list(shapes.shape)}, sigmas {list(sigmas.shape)}")
    counts = shapes.astype(np.int64).prod(axis=1)
    if shapes.min() < 3 or counts.sum() != pixels.size:
        raise ValueError(f"patches of {counts.sum()} pixels in {pixels.size}")
    if not (np.isfinite(pixels).all() and np.isfinite(sigmas).all() and sigmas.min() > 0):
        raise ValueError("a value is not finite, or a sigma not positive")
    patches = np.split(pixels.astype(np.float32), np.cumsum(counts)[:-1])
    return tuple(
        Tumour(patch.reshape(tuple(shape)), (float(sigma[0]), float(sigma[1])))
        for patch, shape, sigma in zip(patches, shapes, sigmas, strict=True)
    )


def _rounded(sigma: tuple[float, float]) -> tuple[float, float]:
    return float(np.float32(sigma[0])), float(np.float32(sigma[1]))


def _sha256(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in ARRAYS:
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
