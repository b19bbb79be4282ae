"""Whether figures on these pairs are evidence of how good a model is on other women. Where not, in words why."""

from pathlib import Path

from disasym.evaluate.part import UNKNOWN, Part, read_splits
from disasym.export.manifest import read_manifest

TRAINING = ("train", "training")
CHOSEN = ("validation", "valid", "val", "dev")
BUNDLED = Path(__file__).parent.parent / "demonstration"
BUNDLED_ON = ("mias", "cesm")  # a part of the names of the data sets that the bundled weights were trained on
BUNDLED_DOUBT = (
    "the bundled demonstration weights were trained on CDD-CESM and mini-MIAS as they are shared, all women, whatever"
    " this manifest's split says"
)
SPLITS = "split.csv"  # as `disasym train` writes it beside its weights


def doubts(part: Part, model: Path, model_sha256: str) -> tuple[str, ...]:
    """Why figures of this model on this part prove little; empty: nothing that is written down speaks against them.

    The split is what the manifest says. Where a training run's split.csv lies beside the weights, it is asked too.
    """
    return (*_chosen(part), *knowledge(part, model, model_sha256))


def knowledge(part: Part, model: Path, model_sha256: str) -> tuple[str, ...]:
    """Why the model may know some of these women from its training; empty: nothing written down says so."""
    return (*_by_split(part, model), *_by_women(part), *_by_run(part, model), *_bundled(part, model_sha256))


def _chosen(part: Part) -> list[str]:
    if count := sum(pair.split.lower() in CHOSEN for pair in part.pairs):
        return [f"{count} of {len(part.pairs)} pairs are for validation: a model chosen by them looks better on them"]
    return []


def _by_split(part: Part, model: Path) -> list[str]:
    splits = [pair.split.lower() for pair in part.pairs]
    found = []
    if count := sum(split in TRAINING for split in splits):
        found.append(f"{count} of {len(splits)} pairs are training pairs: a model knows what it was trained on")
    if count := splits.count(UNKNOWN):
        beside = run_splits(model)
        hint = f"; --splits {beside} says which" if beside else ""
        found.append(f"the split of {count} of {len(splits)} pairs is unknown: the model may know them{hint}")
    return found


def _by_women(part: Part) -> list[str]:
    elsewhere = {pair.woman for pair in part.others if pair.split.lower() in TRAINING}
    shared = {pair.woman for pair in part.pairs} & elsewhere
    return [f"{len(shared)} of the women have training pairs too: split by woman, not by pair"] if shared else []


def _by_run(part: Part, model: Path) -> list[str]:
    path = run_splits(model)
    if path is None:
        return []
    splits = read_splits(path)
    count = sum(splits.get(pair.key, "").lower() in TRAINING for pair in part.pairs)
    return [f"the model was trained on {count} of these pairs: {path} says so"] if count else []


def _bundled(part: Part, model_sha256: str) -> list[str]:
    if model_sha256 != read_manifest(BUNDLED).model_sha256:
        return []
    names = {pair.rows.dataset for pair in part.pairs}
    if all(name and not any(known in name.lower() for known in BUNDLED_ON) for name in names):
        return []
    return [BUNDLED_DOUBT]


def run_splits(model: Path) -> Path | None:
    """The split.csv of the training run that a weights file lies in; None where there is none."""
    beside = model.with_name(SPLITS)
    return beside if model.is_file() and beside.is_file() else None
