"""The trivial model that must be beaten: frozen features of a network that has never seen a breast, and a line.

EfficientNet-Lite0 with its ImageNet weights pools each view to 1280 numbers. Two logistic regressions (scikit-learn)
are fitted on the training women: a side's abnormality from its own features and their difference from the other
side's, a pair's asymmetry from the size of that difference. No epochs, no augmentation, no map.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from disasym.data.manifest import PairRow
from disasym.efficientnet import EfficientNetLite0Head
from disasym.errors import InputError
from disasym.metrics import Floats
from disasym.reproduce.options import ReproduceOptions
from disasym.train.dataset import PairStore
from disasym.train.imagenet import load_imagenet
from disasym.train.processes import Processes
from disasym.train.validation import Scores

PENALTY = 0.01  # C of both: 1280 features and some hundred women want a strong one


def score_frozen(
    training: Sequence[PairRow], test: Sequence[PairRow], options: ReproduceOptions, processes: Processes
) -> Scores:
    """Fit both lines on the features of `training`, score `test`.

    Raises:
        InputError: no file of weights was named, or the training pairs lack a class.
        CheckpointError: the file is none of EfficientNet-Lite0.
    """
    network = network_of(options, processes.device)
    labels = np.array([pair.labels for pair in training])
    known, asked = (features(network, pairs, options, processes) for pairs in (training, test))
    sides = fitted(side_features(known), labels[:, 1:].ravel()).predict_proba(side_features(asked))[:, 1]
    pairs = fitted(pair_features(known), labels[:, 0]).predict_proba(pair_features(asked))[:, 1]
    truth = np.array([pair.labels for pair in test], dtype=np.float32)
    return Scores(pairs.astype(np.float32), sides.reshape(-1, 2).astype(np.float32), truth)


def network_of(options: ReproduceOptions, device: str) -> EfficientNetLite0Head:
    """EfficientNet-Lite0 with the weights that the options name, in evaluation mode."""
    if options.frozen is None:
        raise InputError("frozen features need weights: give --frozen FILE")
    network = EfficientNetLite0Head()
    load_imagenet(network, options.frozen)
    return network.to(device).eval()


@torch.inference_mode()
def features(
    network: EfficientNetLite0Head, pairs: Sequence[PairRow], options: ReproduceOptions, processes: Processes
) -> Floats:
    """Pooled features of both sides, float64 [P, 2, 1280]; processes share the pairs and all get all."""
    told, found = options.training, []
    store = PairStore(options.cache_folder, told.config.height, told.config.width)
    for start in processes.part(range(0, len(pairs), told.batch)):
        views = np.concatenate([store.views(pair) for pair in pairs[start : start + told.batch]])  # [2·batch, H, W]
        found.append(network.pooled(torch.from_numpy(views)[:, None].to(processes.device)).cpu().numpy())
    every = np.concatenate([part for parts in processes.gather(found) for part in parts])
    return every.reshape(len(pairs), 2, -1).astype(np.float64)


def side_features(pooled: Floats) -> Floats:
    """[P, 2, D] → [2P, 2D]: a side's own features, and own less the other's."""
    joined: Floats = np.concatenate([pooled, pooled - pooled[:, ::-1]], axis=2).reshape(2 * len(pooled), -1)
    return joined


def pair_features(pooled: Floats) -> Floats:
    """[P, 2, D] → [P, D]: |right − left|, which is the same with the sides swapped."""
    return np.abs(pooled[:, 0] - pooled[:, 1])


def fitted(values: Floats, labels: Floats) -> Pipeline:
    """A logistic regression on standardised features."""
    if len(set(labels.tolist())) < 2:
        raise InputError(f"{len(labels)} training examples are all of one class: no line can be fitted")
    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000)).fit(values, labels)
