"""One training step: objective 1 on the whole network, then objective 2 on AsyC alone (paper section 2.2)."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from disasym import losses
from disasym.losses import LossWeights
from disasym.model import AsyC, Classified, DisAsymNet
from disasym.train.dataset import Batch

LOSSES = ("diagnosis", "reconstruction", "discrimination", "synthesis", "refinement", "ordering")


class Step:
    """Holds what a step changes: the network, the frozen copy of AsyC and both optimisers."""

    def __init__(self, model: DisAsymNet, weights: LossWeights, precision: str, device: str) -> None:
        self.model, self.weights = model, weights
        self.frozen = FrozenCopy(model.asyc)
        halves = (model.asyc, model.asyd) if model.config.decoder else (model.asyc,)
        groups = [{"params": list(half.parameters())} for half in halves]
        self.optimizer = torch.optim.Adam(groups)
        self.refiner = torch.optim.Adam(model.asyc.parameters())
        self.kind = torch.device(device).type
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.scalers = [torch.amp.GradScaler(self.kind, enabled=precision == "fp16") for _ in range(2)]

    def set_learning_rate(self, asyc: float, asyd: float) -> None:
        """For the steps to come: one rate for AsyC in both objectives, one for AsyD."""
        for group, lr in zip(self.optimizer.param_groups, (asyc, asyd), strict=False):  # without AsyD one group
            group["lr"] = lr
        self.refiner.param_groups[0]["lr"] = asyc

    def __call__(self, batch: Batch) -> Tensor:
        """Update the weights once. Returns the unweighted losses in the order of LOSSES, [6], on the device."""
        self.model.train()
        self.frozen.refresh(self.model.asyc)
        with self._autocast():
            parts, normal = self._objective_1(batch) if self.model.config.decoder else (self._diagnosis(batch), None)
        total = sum(weight * parts[name] for name, weight in vars(self.weights).items() if name in parts)
        self._update(self.optimizer, self.scalers[0], torch.as_tensor(total))

        if normal is not None and self.weights.refinement > 0:
            with self._autocast():
                found = self.model.asyc(normal.detach())
                parts["refinement"] = _classification(found, batch.labels)
            self._update(self.refiner, self.scalers[1], self.weights.refinement * parts["refinement"])
        zero = torch.zeros((), device=batch.views.device)
        return torch.stack([parts.get(name, zero).detach().float() for name in LOSSES])

    def _diagnosis(self, batch: Batch) -> dict[str, Tensor]:
        """All there is to learn without AsyD: L_diag, and for HAM the order of its attention maps."""
        found = self.model.asyc(batch.views)
        parts = {"diagnosis": _classification(found, batch.labels)}
        if found.disorder is not None:
            parts["ordering"] = losses.ordering(found.disorder.float(), batch.labels)
        return parts

    def _objective_1(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        pairs = len(batch.views)
        synthetic = self.weights.synthesis > 0 and len(batch.fake) > 0
        # One pass for real and synthetic pairs: BatchNorm over one or two synthetic pairs alone would be noise.
        views = torch.cat([batch.views, batch.fake]) if synthetic else batch.views
        found = self.model.asyc(views)
        normal, abnormality = self.model.asyd(views, found)
        x, x_n, x_ab, labels = batch.views, normal[:pairs], abnormality[:pairs], batch.labels

        activation = losses.gate(found.cam[:pairs], labels, (x.shape[-2], x.shape[-1]))
        parts = {
            "diagnosis": _classification(found, labels),
            "reconstruction": losses.reconstruction(x, x_n, x_ab, activation),
        }
        if self.weights.discrimination > 0:
            parts["discrimination"] = _classification(self.frozen.asyc(x_n), losses.no_abnormality(labels))
        if synthetic:
            parts["synthesis"] = losses.synthesis(batch.real, normal[pairs:])
        return parts, x_n

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.kind, dtype=self.dtype, enabled=self.dtype is not None)

    def _update(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loss: Tensor) -> None:
        self.model.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()


def _classification(found: Classified, labels: Tensor) -> Tensor:
    """L_cls in float32 on the first len(labels) pairs, which are the real ones."""
    pairs = len(labels)
    return losses.classification(found.asymmetry[:pairs].float(), found.abnormal[:pairs].float(), labels)


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
