"""Scores of a network on pairs, without augmentation, and their AUCs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from disasym.data.manifest import PairRow
from disasym.metrics import auc
from disasym.model import DisAsymNet
from disasym.spec import Array
from disasym.train.dataset import PairStore
from disasym.train.processes import Processes


@dataclass(frozen=True)
class Scores:
    """Predictions beside the truth: P pairs in the order given."""

    asymmetry: Array  # [P]
    abnormal: Array  # [P, 2] right, left
    labels: Array  # [P, 3] asymmetry, right, left

    def auc_abnormal(self) -> float:
        """AUC of side abnormality, both sides pooled: the figure that picks the best epoch."""
        return auc(self.labels[:, 1:].ravel(), self.abnormal.ravel())

    def auc_asymmetry(self) -> float:
        return auc(self.labels[:, 0], self.asymmetry)


@torch.inference_mode()
def score(
    model: DisAsymNet, pairs: Sequence[PairRow], store: PairStore, batch: int, processes: Processes | None = None
) -> Scores:
    """Run the scores' half of the network (AsyC) over `pairs`; leaves the model in evaluation mode.

    Processes share the batches and all get all scores, which are those of one process.
    """
    processes = processes or Processes()
    model.eval()
    found = []
    for start in processes.part(range(0, len(pairs), batch)):
        views = np.stack([store.views(pair) for pair in pairs[start : start + batch]])
        scored = model.classify(torch.from_numpy(views).to(processes.device))
        found.append((scored.asymmetry.sigmoid().cpu().numpy(), scored.abnormal.sigmoid().cpu().numpy()))
    every = [scores for part in processes.gather(found) for scores in part]
    labels = np.array([pair.labels for pair in pairs], dtype=np.float32).reshape(-1, 3)
    return Scores(np.concatenate([a for a, _ in every]), np.concatenate([b for _, b in every]), labels)
