"""Fits the temperatures of a model on labelled pairs that it was not trained on.

With y the label and z the logit of an entry, T minimises the mean log loss of σ(z / T), which is convex in 1/T: T is
where mean z·(σ(z / T) − y) = 0. One number a head and no bias: see docs/adr/0022.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.metrics import log_loss

from disasym import __version__
from disasym.checkpoint import with_temperatures
from disasym.engines import load
from disasym.errors import InputError
from disasym.evaluate.calibration import expected_calibration_error, reliability
from disasym.evaluate.discrimination import FEWEST, Draws, undefined
from disasym.evaluate.evidence import knowledge
from disasym.evaluate.levels import Sample, samples
from disasym.evaluate.part import Part, read_part
from disasym.evaluate.predictions import Predictions, predict
from disasym.evaluate.run import Say
from disasym.metrics import LIMITS, Floats, bootstrap
from disasym.temperature import HIGHEST, LOWEST, Head, Temperatures

SPLIT = "validation"
NEAREST = 2.0**-24  # how near to 0 and 1 a float32 probability is taken to be: σ(z) rounds to 1 from there on
HEADS = {"asymmetry": "pair", "abnormal": "side"}  # head → the level of its entries


@dataclass(frozen=True)
class CalibrateOptions:
    """What a calibration is told."""

    weights: Path  # .safetensors, without temperatures
    manifest: Path
    out: Path  # the same weights with temperatures
    split: str = SPLIT
    splits: Path | None = None  # a table of splits in place of the manifest's column
    anyway: bool = False  # even if the model may know the women
    batch: int = 4
    workers: int | None = None
    threads: int | None = None
    bootstraps: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """What was found, and how large the calibration error was before and after on the very same pairs."""

    temperatures: Temperatures
    ece: dict[str, tuple[float, float]]  # head → before, after
    doubts: tuple[str, ...]  # why the temperatures may not hold, where they were fitted anyway
    failed: tuple[tuple[str, str], ...]  # file, reason


def calibrate(options: CalibrateOptions, say: Say = lambda _, __: lambda ___: None) -> Fitted:
    """Fit both heads and write `options.out`, the weights with their temperatures.

    Raises:
        InputError: the model may know the women, the weights carry temperatures already, or the pairs allow no fit.
        ManifestError, EngineError, MissingExtraError, CheckpointError: see `read_manifest` and `engines.load`.
    """
    if options.out.suffix != ".safetensors" or options.out.resolve() == options.weights.resolve():
        raise InputError(f"{options.out}: name another file for the calibrated weights, ending in .safetensors")
    part = read_part(options.manifest, options.split, options.splits)
    with load(options.weights, "eager", threads=options.threads) as engine:
        if engine.info.calibrated:
            raise InputError(f"{options.weights} carries temperatures already: give the weights that it was made from")
        doubts = knowledge(part, options.weights, engine.info.model_sha256)
        if doubts and not options.anyway:
            raise InputError(
                f"temperatures are fitted on women whom the model does not know, but {'; '.join(doubts)}."
                " Name another --split, or say --anyway"
            )
        done = say(f"scoring with {options.weights.name}", len(part.pairs))
        found = predict(str(options.weights), engine, part.pairs, options.batch, options.workers, done)
    fitted = _fitted(found, part, options)
    with_temperatures(options.weights, options.out, fitted.temperatures)
    return dataclasses.replace(fitted, doubts=doubts)


def _fitted(found: Predictions, part: Part, options: CalibrateOptions) -> Fitted:
    levels, draws = samples(found), Draws(options.bootstraps, options.seed)
    heads, ece = {}, {}
    for name, level in HEADS.items():
        sample = levels[level]
        try:
            heads[name] = fit(sample, draws)
        except InputError as error:
            raise InputError(f"{options.manifest}, split {part.name}: no temperature for {name}: {error}") from None
        after = expit(logits(sample.scores) / heads[name].temperature)
        ece[name] = (_ece(sample, sample.scores), _ece(sample, after))
    names = ", ".join(sorted({pair.rows.dataset for pair in found.scored}))
    temperatures = Temperatures(
        asymmetry=heads["asymmetry"],
        abnormal=heads["abnormal"],
        data=f"{names}, split {part.name}",
        weights_sha256=found.model.sha256,
        disasym=__version__,
    )
    return Fitted(temperatures, ece, (), found.failed)


def fit(sample: Sample, draws: Draws) -> Head:
    """The temperature of labelled scores, with its interval over women.

    Raises:
        InputError: too few of a class, the classes are parted completely, or the scores do not tell them apart.
    """
    if problem := undefined(sample.labels, FEWEST):
        raise InputError(problem)
    labels, z = sample.labels, logits(sample.scores)
    found = temperature(labels, z, np.ones(len(z)))
    if isinstance(found, str):
        raise InputError(found)

    def drawn(weights: Floats) -> Floats:
        each = [temperature(labels, z, row) for row in weights]
        return np.array([math.nan if isinstance(value, str) else value for value in each])

    low, high = np.nanpercentile(bootstrap(sample.women, drawn, draws.bootstraps, draws.seed), LIMITS)
    return Head(
        temperature=found,
        low=float(low),
        high=float(high),
        entries=len(labels),
        positives=int(labels.sum()),
        women=len(set(sample.women)),
        loss_before=float(log_loss(labels, expit(z))),
        loss_after=float(log_loss(labels, expit(z / found))),
    )


def temperature(labels: Floats, z: Floats, weights: Floats) -> float | str:
    """T of weighted entries, float64 [n] each; or in words why there is none between LOWEST and HIGHEST."""

    def slope(sharpness: float) -> float:  # of the log loss; sharpness is 1/T
        return float(weights @ (z * (expit(sharpness * z) - labels)))

    if slope(1 / HIGHEST) >= 0:
        return f"the scores do not tell positives from negatives here (temperature above {HIGHEST:g})"
    if slope(1 / LOWEST) <= 0:
        return f"the scores part positives and negatives completely (temperature below {LOWEST:g}): give more pairs"
    return 1 / float(brentq(slope, 1 / HIGHEST, 1 / LOWEST, xtol=1e-9))


def logits(scores: Floats) -> Floats:
    """ln(p / (1 − p)), float64; probabilities of exactly 0 and 1 are taken NEAREST to them."""
    p = np.clip(scores.astype(np.float64), NEAREST, 1 - NEAREST)
    found: Floats = np.log(p) - np.log1p(-p)
    return found


def _ece(sample: Sample, scores: Floats) -> float:
    return expected_calibration_error(reliability(sample.labels, scores))
