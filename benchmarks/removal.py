"""What does the normal image take away? Tumours pasted into normal breasts, where the real film is known (ADR 0029).

    disasym tumours --manifest DATA/mias/manifest.csv --out WORK/tumours-mias.npz
    disasym tumours --manifest DATA/cesm/manifest.csv --enhancing --out WORK/tumours-cesm.npz
    python -m benchmarks.removal --data DATA --work WORK

Each pair with a normal side gets tumours of the other set there, once, from a fixed seed. By data set, means over
pixels of the breasts that were pasted into, in fractions of the grey window:

- `pasted`: |x − real| where α is at least half its peak; `removed`: |x_n − real| there;
- `around`: |x_n − real| where nothing was pasted at all;
- `untouched`: |x_n − x| of the same breasts without a paste.

The bundled weights know these women and these tumours, so the figures flatter: how it is with others, docs/log.md says.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from disasym.checkpoint import load_model
from disasym.data.manifest import PairRow, read_manifest
from disasym.data.synthesis import synthesise
from disasym.data.tumours import TumourBank
from disasym.model import DisAsymNet
from disasym.train.dataset import PairStore, foreign_bank

ROOT = Path(__file__).parent.parent
DATASETS = ("cesm", "mias")
SEED, BATCH = 0, 8


@torch.inference_mode()
def removal(model: DisAsymNet, pairs: Sequence[PairRow], store: PairStore, bank: TumourBank) -> dict[str, float]:
    """The figures of one data set: sums over all pixels of a kind, divided at the end."""
    sums: dict[str, list[float]] = {name: [0.0, 0.0] for name in ("pasted", "removed", "around", "untouched")}
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        views = [store.views(pair) for pair in batch]
        made = [
            synthesise(view, bank, np.random.default_rng([SEED, start + i]), (pair.labels[1], pair.labels[2]))
            for i, (pair, view) in enumerate(zip(batch, views, strict=True))
        ]
        real = torch.from_numpy(np.stack(views))
        fake = torch.from_numpy(np.stack([each.fake for each in made]))
        inside = torch.from_numpy(np.stack([each.mask for each in made]))
        breast = inside.flatten(2).any(2)[..., None, None] & (real > 0)
        normal = model(fake).normal
        for name, distance, where in (
            ("pasted", fake - real, inside),
            ("removed", normal - real, inside),
            ("around", normal - real, breast & (fake == real)),
            ("untouched", model(real).normal - real, breast),
        ):
            sums[name][0] += float(distance.abs()[where].double().sum())
            sums[name][1] += int(where.sum())
    return {"pairs": len(pairs)} | {name: round(total / count, 4) for name, (total, count) in sums.items()}


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.weights)
    store = PairStore(arguments.work / "cache", model.config.height, model.config.width)
    banks = [TumourBank.load(arguments.work / f"tumours-{dataset}.npz") for dataset in DATASETS]
    report = {}
    for dataset in DATASETS:
        pairs = read_manifest(arguments.data / dataset / "manifest.csv").pairs
        normal = [pair for pair in pairs if not all(pair.labels[1:])]
        report[dataset] = removal(model, normal, store, foreign_bank(dataset, banks))
    (ROOT / "benchmarks" / "results" / "removal.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mias/ and cesm/, each with manifest.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder with tumours-*.npz; keeps preprocessed pairs")
    parser.add_argument("--weights", type=Path, default=ROOT / "disasym" / "demonstration" / "model.safetensors")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
