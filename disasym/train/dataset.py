"""Training pairs: preprocessed once, kept on disk, augmented and synthesised anew in every epoch."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from disasym.data.augment import augment
from disasym.data.manifest import PairRow, load_pair
from disasym.data.synthesis import synthesise
from disasym.data.tumours import TumourBank
from disasym.errors import InputError
from disasym.preprocess import PREPROCESSING
from disasym.spec import Array
from disasym.train.processes import Processes


class PairStore:
    """`load_pair`, remembered as 16-bit .npy files named after what went in.

    A file's name is the hash of the preprocessing's number, both paths, sizes and modification times, the pixel
    aspects and the shape, so a changed image or another preprocessing is computed anew. 16 bits keep values to 8e-6
    and the background at exactly 0.
    """

    def __init__(self, folder: Path, height: int, width: int) -> None:
        self.folder, self.height, self.width = folder, height, width
        folder.mkdir(parents=True, exist_ok=True)

    def views(self, pair: PairRow) -> Array:
        """[2, H, W] float32, as `load_pair` gives it. Raises ImageError for an unreadable image."""
        path = self.folder / f"{self._key(pair)}.npy"
        if not path.is_file():
            stored = np.rint(load_pair(pair, self.height, self.width) * 65535).astype(np.uint16)
            temporary = path.with_suffix(f".{np.random.default_rng().integers(2**32):08x}.part")
            with temporary.open("wb") as file:
                np.save(file, stored)
            temporary.replace(path)
        views: Array = np.load(path).astype(np.float32) / np.float32(65535)
        return views

    def _key(self, pair: PairRow) -> str:
        parts: list[object] = [PREPROCESSING, self.height, self.width]
        for row in (pair.right, pair.left):
            stat = row.path.stat()
            parts += [row.path.resolve(), stat.st_size, stat.st_mtime_ns, row.pixel_aspect]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


PASTES: dict[str, Callable[[PairRow], bool]] = {  # the pairs that are pasted into, always on a normal side
    "symmetric": lambda pair: not any(pair.labels),  # as in the paper
    "sides": lambda pair: not all(pair.labels[1:]),
}


@dataclass(frozen=True)
class Batch:
    """What one training step sees. F = pairs of the batch that were pasted into: see PASTES."""

    views: Tensor  # [B, 2, H, W]
    labels: Tensor  # [B, 3] asymmetry, right, left
    real: Tensor  # [F, 2, H, W] the pairs that are pasted into, again
    fake: Tensor  # [F, 2, H, W] the same with tumours pasted in

    def to(self, device: str) -> "Batch":
        return Batch(*(t.to(device, non_blocking=True) for t in (self.views, self.labels, self.real, self.fake)))

    def pin_memory(self) -> "Batch":
        return Batch(*(t.pin_memory() for t in (self.views, self.labels, self.real, self.fake)))


class TrainingPairs(Dataset[tuple[Array, Array, Array | None]]):
    """Item (epoch, index) → views, labels, fake. All randomness follows from (seed, epoch, index)."""

    def __init__(
        self,
        pairs: Sequence[PairRow],
        store: PairStore,
        banks: Sequence[TumourBank],
        seed: int,
        paste: str = "symmetric",
    ) -> None:
        self.pairs, self.store, self.seed = pairs, store, seed
        self.pasted_into = PASTES[paste]
        self.bank = {name: foreign_bank(name, banks) for name in {p.dataset for p in pairs}} if banks else {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Array, Array, Array | None]:
        epoch, index = item
        pair = self.pairs[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        views = augment(self.store.views(pair), rng)
        fake = None
        if self.bank and self.pasted_into(pair):
            fake = synthesise(views, self.bank[pair.dataset], rng, pair.labels[1:]).fake
        return views, np.asarray(pair.labels, np.float32), fake


def foreign_bank(dataset: str, banks: Sequence[TumourBank]) -> TumourBank:
    """The first bank without a tumour of `dataset`: supervision stays weak (DESIGN §1, Synthesis).

    Raises:
        InputError: every bank holds tumours of that dataset.
    """
    for bank in banks:
        if dataset not in bank.datasets:
            return bank
    raise InputError(
        f"every tumour bank was made from {dataset!r}, which is trained on:"
        " give --tumours a bank of another dataset, or --no-synthesis"
    )


def collate(items: list[tuple[Array, Array, Array | None]]) -> Batch:
    views = torch.from_numpy(np.stack([views for views, _, _ in items]))
    labels = torch.from_numpy(np.stack([labels for _, labels, _ in items]))
    fakes = [torch.from_numpy(fake) for _, _, fake in items if fake is not None]
    real = views[[fake is not None for _, _, fake in items]]
    return Batch(views, labels, real, torch.stack(fakes) if fakes else real)


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Shuffled batches of (epoch, index), of each the part of this process; the order follows from (seed, epoch).

    A short last batch is dropped unless it is the only one: BatchNorm statistics of one or two pairs harm more
    than the pairs help, and the next epoch shuffles anew.

    Raises:
        InputError: fewer pairs in a batch than processes.
    """

    def __init__(self, size: int, batch: int, seed: int, processes: Processes | None = None) -> None:
        self.size, self.batch, self.seed, self.epoch = size, min(batch, size), seed, 0
        self.processes = processes or Processes()
        if self.batch < self.processes.count:
            raise InputError(
                f"a batch of {self.batch} pairs leaves some of {self.processes.count} processes without any:"
                " start fewer processes, or give a larger --batch"
            )

    def __len__(self) -> int:
        return self.size // self.batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        for start in range(0, len(self) * self.batch, self.batch):
            indices = order[start : start + self.batch].tolist()
            yield [(self.epoch, index) for index in self.processes.part(indices)]


def loader(pairs: TrainingPairs, batches: EpochBatches, workers: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        pairs,  # type: ignore[arg-type]  # indexed by (epoch, index), as the sampler yields them
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=False,  # each epoch's sampler is read anew
    )
