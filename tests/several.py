"""Started twice or more at once, as torchrun does: trains together, and keeps what came of it.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=… python several.py manifest.csv bank.npz OUT
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from disasym.comparisons import METHODS, build, configured
from disasym.data.manifest import read_manifest
from disasym.losses import LossWeights
from disasym.model import PRESETS
from disasym.train import TrainOptions
from disasym.train.dataset import Batch
from disasym.train.processes import Processes, joined
from disasym.train.run import fit
from disasym.train.step import Step
from networks import TINY

LABELS = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]])
SYMMETRIC, STEPS = 2, 4
# Both objectives and all five losses; HAM's ordering; the other head; the loss on what was pasted into one side
COMPARED = ("disasymnet", "ham", "contrast", "sides")


def steps(method: str, processes: Processes) -> dict[str, Tensor]:
    """Some steps on one batch in float64: losses [STEPS, 6], and the weights that come of them.

    In float32 the rounding of sums in another order flips a ReLU now and then, and a gradient jumps by a percent.
    The batch has five pairs, which do not divide into two, and all its symmetric ones are in the first part.
    """
    torch.manual_seed(0)
    name = method if method in METHODS else "disasymnet"
    model = build(configured(name, "tiny", head="contrast" if method == "contrast" else "mean")).double()
    paste = "sides" if method == "sides" else "symmetric"
    step = Step(model, METHODS[name].losses(LossWeights(ordering=1.0)), "fp32", processes, paste=paste)
    step.set_learning_rate(1e-3, 1e-3)
    views = torch.rand(len(LABELS), 2, TINY.height, TINY.width, dtype=torch.float64)
    mine = list(processes.part(range(len(LABELS))))
    symmetric = [index for index in mine if index < SYMMETRIC]
    fake = views[symmetric].clone()
    fake[:, 0, : TINY.height // 2] = (fake[:, 0, : TINY.height // 2] + 0.2).clamp(max=1)  # in a part of one side
    batch = Batch(views[mine], LABELS[mine].double(), views[symmetric], fake)
    losses = [processes.sum(step(batch)) / processes.count for _ in range(STEPS)]
    return {"losses": torch.stack(losses), **model.state_dict()}


def run(manifest: Path, bank: Path, out: Path, processes: Processes) -> None:
    """The steps of all of them, and one epoch of one step of the whole loop."""
    for method in COMPARED:
        found = steps(method, processes)
        if processes.first:
            save_file({name: value.contiguous() for name, value in found.items()}, out / f"{method}.safetensors")
    pairs = read_manifest(manifest).pairs
    options = TrainOptions((manifest,), out / "run", tumours=(bank,), preset="tiny", epochs=1, batch=9)
    fit(options, pairs[:10], pairs[10:], processes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    PRESETS["tiny"] = TINY
    given = [Path(argument) for argument in sys.argv[1:]]
    with joined("cpu") as ours:
        run(given[0], given[1], given[2], ours)
