"""Weights of the `paper` preset for races in which accuracy counts: AsyC trained a little, the decoder almost at rest.

    python -m benchmarks.paper_weights --pairs DATA/cesm/manifest.csv --out runs/paper.safetensors

What int8 does to the scores depends on the weights, and those of chance say little: their features hardly differ
between two women, so that heads which tell them apart enlarge every rounding. No trained `paper` exists here, and this
is none: AsyC sees the pairs at a quarter of their height and width for a few epochs, which costs a sixteenth, and the
statistics of its BatchNorms are then taken at full size. Nothing is claimed of its accuracy; times do not depend on it.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from disasym.checkpoint import save_model
from disasym.data.manifest import PairRow, load_pair, read_manifest
from disasym.losses import classification
from disasym.model import PRESETS, DisAsymNet

SHRUNK = 4  # times in height and width
EPOCHS, BATCH, RATE = 3, 8, 1e-4
STATISTICS = 12  # pairs that BatchNorm's statistics are taken of
REST = 0.05  # standard deviation of the weights of AsyD's last convolution, which training begins with 0
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="a manifest with labels")
    parser.add_argument("--out", type=Path, required=True, help="the weights, .safetensors")
    asked = parser.parse_args()
    torch.manual_seed(SEED)
    pairs = read_manifest(asked.pairs).pairs
    network = trained(pairs)
    settle(network, pairs[:: max(1, len(pairs) // STATISTICS)][:STATISTICS])
    save_model(asked.out, network, dtype=torch.float16, preset="paper")
    print(f"{asked.out}: {asked.out.stat().st_size / 2**20:.0f} MiB")


def trained(pairs: Sequence[PairRow]) -> DisAsymNet:
    """`paper` whose AsyC was trained on all pairs with L_diag; the loss of each epoch is printed."""
    config = PRESETS["paper"]
    views = stacked(pairs, config.height // SHRUNK, config.width // SHRUNK)  # [n, 2, h, w]
    labels = torch.tensor([pair.labels for pair in pairs], dtype=torch.float32)  # [n, 3]
    network = DisAsymNet(config)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub does not know it alone
    optimizer = torch.optim.Adam(network.asyc.parameters(), lr=RATE)
    for epoch in range(EPOCHS):
        started, losses = time.perf_counter(), []
        for batch in torch.split(torch.randperm(len(pairs)), BATCH):
            found = network.asyc(views[batch])
            loss = classification(found.asymmetry, found.abnormal, labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, {time.perf_counter() - started:.0f} s", flush=True)
    return network


@torch.no_grad()
def settle(network: DisAsymNet, pairs: Sequence[PairRow]) -> None:
    """BatchNorm's statistics at full size, of one pass over a few pairs; a decoder that changes the images a little."""
    nn.init.normal_(network.asyd.head.weight, 0, REST)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # a plain mean over what is seen now
    for views in torch.split(stacked(pairs, network.config.height, network.config.width), 2):
        network.train()(views)
    network.eval()


def stacked(pairs: Sequence[PairRow], height: int, width: int) -> Tensor:
    """[n, 2, H, W]"""
    return torch.from_numpy(np.stack([load_pair(pair, height, width) for pair in pairs]))


if __name__ == "__main__":
    main()
