"""The five losses of DisAsymNet (paper sections 2.2–2.4) and the one of a comparison, as functions of tensors.

objective 1   L = 1·L_diag + 0.1·L_rec + 1·L_disc + 0.5·L_syn      updates AsyC and AsyD
objective 2   L_refine                                            updates AsyC alone, on detached x_n
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

REMOVED = 4.0  # times as much as all of the breast around it counts what was pasted in
PASTED = 0.01  # of the grey window: what a tumour's fading edge changes by less is not pasted


@dataclass(frozen=True)
class LossWeights:
    """The factors of both objectives, as in the paper. A factor of 0 leaves that part of the step out."""

    diagnosis: float = 1.0
    reconstruction: float = 0.1
    discrimination: float = 1.0
    synthesis: float = 0.5
    refinement: float = 1.0  # objective 2
    ordering: float = 0.001  # of HAM alone, as in its authors' code


def classification(asymmetry: Tensor, abnormal: Tensor, labels: Tensor) -> Tensor:
    """L_cls(y^asy, y^r, y^l) = BCE(asymmetry) + BCE(abnormal), the latter averaged over both sides.

    Args:
        asymmetry: logits [B].
        abnormal: logits [B, 2].
        labels: [B, 3] of 0 or 1: asymmetry, right, left.

    L_diag is this on x with the labels; L_disc on x_n through the frozen AsyC with labels 0; L_refine on the
    detached x_n with the labels.
    """
    asymmetric = F.binary_cross_entropy_with_logits(asymmetry, labels[:, 0])
    sides = F.binary_cross_entropy_with_logits(abnormal, labels[:, 1:])
    return asymmetric + sides


def reconstruction(x: Tensor, normal: Tensor, abnormality: Tensor, activation: Tensor) -> Tensor:
    """L_rec = mean|(1 − M)·x − (1 − M)·x_n| + mean|M·x − x_ab|.

    Args:
        x, normal, abnormality: [B, 2, H, W] in [0, 1].
        activation: M at pixel resolution, [B, 2, H, W] in [0, 1], 0 on normal sides, without gradient
            (with one, M = 0 would be the cheapest answer: docs/adr/0003).
    """
    kept = ((1 - activation) * (x - normal)).abs().mean()
    removed = (activation * x - abnormality).abs().mean()
    return kept + removed


def synthesis(real: Tensor, normal_of_fake: Tensor) -> Tensor:
    """L_syn = mean|x_real − x_n(x_fake)|: what was pasted in must be removed. Both [B, 2, H, W]."""
    return (real - normal_of_fake).abs().mean()


def removal(real: Tensor, fake: Tensor, normal_of_fake: Tensor) -> Tensor:
    """L_syn where pairs with abnormal sides take part, and where leaving everything as it is must not be a way out.

    The mean over pairs of REMOVED times mean|x_real − x_n| over pasted pixels, plus the same mean, once, over the rest
    of the breasts that were pasted into. A breast without a paste is left out, since what is to be removed from it is
    not known (docs/adr/0029). All [F, 2, H, W], with background 0; a pair has at least one pasted pixel.
    """
    pasted = (fake - real).abs() > PASTED
    rest = pasted.flatten(2).any(2)[..., None, None] & ~pasted & (real > 0)
    distance = (real - normal_of_fake).abs()
    means = [(distance * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp_min(1) for where in (pasted, rest)]
    return (REMOVED * means[0] + means[1]).mean()


def ordering(disorder: Tensor, labels: Tensor) -> Tensor:
    """HAM's bounding loss: the mean disorder of its attention maps over abnormal sides, 0 without any.

    disorder [B, 2] in [0, 1], labels [B, 3] (asymmetry, right, left).
    """
    abnormal = labels[:, 1:]
    return (disorder * abnormal).sum() / abnormal.sum().clamp_min(1)


def gate(cam: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
    """M for L_rec: the CAM, detached, 0 on sides labelled normal, bilinear to pixel resolution.

    cam [B, 2, h, w], labels [B, 3] (asymmetry, right, left) → [B, 2, H, W] for size = (H, W).
    """
    gated = cam.detach() * labels[:, 1:, None, None]
    return F.interpolate(gated, size=size, mode="bilinear", align_corners=False)


def no_abnormality(labels: Tensor) -> Tensor:
    """The labels (0, 0, 0) of L_disc, shaped like `labels`."""
    return torch.zeros_like(labels)
