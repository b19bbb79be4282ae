"""Training: `train(TrainOptions(...))` is the whole of `disasym train`."""

from disasym.train.options import TrainOptions
from disasym.train.run import TrainResult, train

__all__ = ["TrainOptions", "TrainResult", "train"]
