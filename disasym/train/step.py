"""One training step: objective 1 on the whole network, then objective 2 on AsyC alone (paper section 2.2)."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from disasym import losses
from disasym.losses import LossWeights
from disasym.model import AsyC, Classified, DisAsymNet
from disasym.train.batchnorm import share_batchnorm
from disasym.train.dataset import Batch
from disasym.train.frozen import by_rate, frozen
from disasym.train.processes import Processes

LOSSES = ("diagnosis", "reconstruction", "discrimination", "synthesis", "refinement", "ordering")


class Step:
    """Holds what a step changes: the network, the frozen copy of AsyC and both optimisers.

    With several processes each takes its part of a batch, and all make the step of one process that had all of it
    (docs/adr/0020). `processes` says who we are; its device is where the model already is.
    What `freeze` names keeps its weights, and the encoder or AsyC around it its BatchNorm statistics. `paste`, of
    PASTES, says what the synthetic pairs of a batch are.
    """

    def __init__(
        self,
        model: DisAsymNet,
        weights: LossWeights,
        precision: str,
        processes: Processes | None = None,
        freeze: str = "none",
        paste: str = "symmetric",
    ) -> None:
        self.model, self.weights, self.processes = model, weights, processes or Processes()
        self.paste = paste
        self.still = frozen(model.asyc, freeze)
        if self.processes.count > 1:
            share_batchnorm(model, self.processes.device)
        self.frozen = FrozenCopy(model.asyc)
        halves = (model.asyc, model.asyd) if model.config.decoder else (model.asyc,)
        # Two wrappers, since objective 2 runs AsyC alone: each hears of all its gradients in every pass.
        self.asyc, *decoder = (self._averaging(half) for half in halves)
        self.asyd: Any = decoder[0] if decoder else None
        self.asyc_rates = by_rate(model.asyc)
        asyd = [list(half.parameters()) for half in halves[1:]]
        self.optimizer = torch.optim.Adam([{"params": group} for group in [*self.asyc_rates, *asyd]])
        self.refiner = torch.optim.Adam([{"params": group} for group in self.asyc_rates])
        self.kind = torch.device(self.processes.device).type
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.scalers = [torch.amp.GradScaler(self.kind, enabled=precision == "fp16") for _ in range(2)]

    def _averaging(self, half: nn.Module) -> Any:
        """`half`, with its gradients averaged over processes where it has any."""
        learns = any(parameter.requires_grad for parameter in half.parameters())
        return DistributedDataParallel(half) if self.processes.count > 1 and learns else half

    def set_learning_rate(self, asyc: float, asyd: float, head: float | None = None) -> None:
        """For the steps to come: for AsyC in both objectives, for AsyD, and for the head "contrast" (None: AsyC's)."""
        rates = [asyc, asyc if head is None else head][: len(self.asyc_rates)]
        for group, lr in zip(self.optimizer.param_groups, (*rates, asyd), strict=False):  # without AsyD one less
            group["lr"] = lr
        for group, lr in zip(self.refiner.param_groups, rates, strict=True):
            group["lr"] = lr

    def __call__(self, batch: Batch) -> Tensor:
        """Update the weights once. Returns the unweighted losses in the order of LOSSES, [6], on the device.

        With several processes a loss is this one's share: the mean over processes is that over all pairs.
        """
        self.model.train()
        if self.still is not None:
            self.still.eval()
        self.frozen.refresh(self.model.asyc)
        shares = Shares.of(batch, self.processes)
        with self._autocast():
            parts, normal = self._objective_1(batch, shares) if self.asyd else (self._diagnosis(batch, shares), None)
        total = sum(weight * parts[name] for name, weight in vars(self.weights).items() if name in parts)
        self._update(self.optimizer, self.scalers[0], torch.as_tensor(total))

        if normal is not None and self.weights.refinement > 0:
            with self._autocast():
                found = self.asyc(normal.detach())
                parts["refinement"] = shares.pairs * _classification(found, batch.labels)
            self._update(self.refiner, self.scalers[1], self.weights.refinement * parts["refinement"])
        zero = torch.zeros((), device=batch.views.device)
        return torch.stack([parts.get(name, zero).detach().float() for name in LOSSES])

    def _diagnosis(self, batch: Batch, shares: "Shares") -> dict[str, Tensor]:
        """All there is to learn without AsyD: L_diag, and for HAM the order of its attention maps."""
        found = self.asyc(batch.views)
        parts = {"diagnosis": shares.pairs * _classification(found, batch.labels)}
        if found.disorder is not None:
            parts["ordering"] = shares.abnormal * losses.ordering(_full(found.disorder), batch.labels)
        return parts

    def _objective_1(self, batch: Batch, shares: "Shares") -> tuple[dict[str, Tensor], Tensor]:
        pairs = len(batch.views)
        synthetic = self.weights.synthesis > 0 and len(batch.fake) > 0
        # One pass for real and synthetic pairs: BatchNorm over one or two synthetic pairs alone would be noise.
        views = torch.cat([batch.views, batch.fake]) if synthetic else batch.views
        found = self.asyc(views)
        normal, abnormality = self.asyd(views, found)
        x, x_n, x_ab, labels = batch.views, normal[:pairs], abnormality[:pairs], batch.labels

        activation = losses.gate(found.cam[:pairs], labels, (x.shape[-2], x.shape[-1]))
        parts = {
            "diagnosis": shares.pairs * _classification(found, labels),
            "reconstruction": shares.pairs * losses.reconstruction(x, x_n, x_ab, activation),
        }
        if self.weights.discrimination > 0:
            judged = _classification(self.frozen.asyc(x_n), losses.no_abnormality(labels))
            parts["discrimination"] = shares.pairs * judged
        if synthetic:
            parts["synthesis"] = shares.fakes * self._synthesis(batch, normal[pairs:])
        return parts, x_n

    def _synthesis(self, batch: Batch, normal_of_fake: Tensor) -> Tensor:
        """The paper's L_syn of symmetric pairs; of any others the one that asks nothing of an abnormal side."""
        if self.paste == "symmetric":
            return losses.synthesis(batch.real, normal_of_fake)
        return losses.removal(batch.real, batch.fake, normal_of_fake)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.kind, dtype=self.dtype, enabled=self.dtype is not None)

    def _update(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loss: Tensor) -> None:
        self.model.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()


@dataclass(frozen=True)
class Shares:
    """Each loss is a mean; a process's factor for its own is own count · processes / count of all.

    The mean over processes, which the averaged gradients are of, is then the mean over all that they have together,
    however many symmetric pairs or abnormal sides each of them got. One process has all: 1.
    """

    pairs: float = 1.0
    fakes: float = 1.0
    abnormal: float = 1.0  # sides

    @classmethod
    def of(cls, batch: Batch, processes: Processes) -> "Shares":
        """The factors of this process."""
        if processes.count == 1:
            return cls()
        abnormal = batch.labels[:, 1:].sum()
        own = torch.stack([torch.full_like(abnormal, len(part)) for part in (batch.views, batch.fake)] + [abnormal])
        every = processes.sum(own).clamp_min(1)
        return cls(*(own * processes.count / every).tolist())


def _classification(found: Classified, labels: Tensor) -> Tensor:
    """L_cls on the first len(labels) pairs, which are the real ones, in float32 where autocast gave less."""
    pairs = len(labels)
    return losses.classification(_full(found.asymmetry[:pairs]), _full(found.abnormal[:pairs]), labels)


def _full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


class FrozenCopy:
    """AsyC as it was at the start of the step: judges x_n, takes no gradient and gathers no BatchNorm statistics."""

    def __init__(self, asyc: AsyC) -> None:
        self.asyc = copy.deepcopy(asyc).requires_grad_(False).eval()

    @torch.no_grad()
    def refresh(self, asyc: AsyC) -> None:
        for own, other in zip(_tensors(self.asyc), _tensors(asyc), strict=True):
            own.copy_(other)


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
