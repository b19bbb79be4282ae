"""A short training with the fused attention beside one with the reference: losses alike, all finite.

Rounding makes two runs drift apart, so "alike" is measured: the same steps in float32 are the truth, and the losses
with the kernel may be FACTOR times as far from it as those with the reference in the same precision.
"""

import dataclasses

import torch
from torch import Tensor

from benchmarks.attention_check import FACTOR
from benchmarks.gpu_integration import ask
from benchmarks.gpu_part import Part, require
from disasym.export.parity import synthetic_pairs
from disasym.losses import LossWeights
from disasym.model import PRESETS, DisAsymNet, ModelConfig
from disasym.train.dataset import Batch
from disasym.train.processes import Processes
from disasym.train.step import LOSSES, Step

STEPS, PAIRS, RATE = 20, 4, 1e-4
FLOOR = 0.01  # of a loss: two runs of 16 bits may be this far apart by chance


def training(part: Part) -> None:
    """Arguments: none. bf16, 20 steps of the preset that is measured."""
    precision = "fp16" if part.dry else "bf16"  # Triton's interpreter multiplies bf16 wrongly
    name = f"{_steps(part)} steps in {precision}, kernel and reference"
    part.check(name, lambda: _training(part, precision), seconds=10)


def _steps(part: Part) -> int:
    return 3 if part.dry else STEPS


def _training(part: Part, precision: str) -> str:
    config = PRESETS["paper"]
    if part.dry:
        config = dataclasses.replace(PRESETS["small"], height=64, width=32, widths=(8, 8, 16, 32), blocks=1, heads=1)
    exact = losses(config, "reference", "fp32", part.device, _steps(part))
    plain = losses(config, "reference", precision, part.device, _steps(part))
    found = losses(config, "triton", precision, part.device, _steps(part))
    return alike(exact, plain, found)


def losses(config: ModelConfig, backend: str, precision: str, device: str, steps: int) -> Tensor:
    """The losses of `steps` steps on the same batch from the same weights, [steps, 6] in the order of LOSSES."""
    torch.manual_seed(0)
    network = DisAsymNet(config)
    ask(network, backend)
    views = torch.from_numpy(synthetic_pairs(config.height, config.width, PAIRS))
    labels = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]], dtype=torch.float32)
    real = views[labels[:, 0] == 0]
    batch = Batch(views, labels, real, (real + 0.2 * (real > 0.5)).clamp(0, 1)).to(device)
    step = Step(network.to(device), LossWeights(), precision, Processes(device=device))
    step.set_learning_rate(RATE, RATE)
    return torch.stack([step(batch) for _ in range(steps)]).float().cpu()


def alike(exact: Tensor, plain: Tensor, found: Tensor) -> str:
    """Raises AssertionError if a loss is not finite, or those found are too far from the exact ones."""
    for name, values in (("float32", exact), ("the reference", plain), ("the kernel", found)):
        bad = (~values.isfinite()).nonzero().tolist()
        require(
            not bad, "".join(f"with {name} {LOSSES[loss]} in step {step + 1} is not finite" for step, loss in bad[:1])
        )
    scale = exact.abs().mean(0).clamp_min(1e-6)
    usual = float(((plain - exact).abs().mean(0) / scale).max())
    error = float(((found - exact).abs().mean(0) / scale).max())
    text = (
        f"mean error of a loss against float32: the kernel {error:.1e}, the reference {usual:.1e}; first diagnosis"
        f" {float(exact[0, 0]):.4f}, last {float(found[-1, 0]):.4f} (reference {float(plain[-1, 0]):.4f})"
    )
    require(error <= FACTOR * usual + FLOOR, text)
    return text
