"""The DICOM objects of a scored pair: what the network said of it, handed to `disasym.dicom.out`."""

from collections.abc import Sequence

from disasym import __version__
from disasym.dicom import Header
from disasym.dicom.out import Algorithm, Breast, Film, Lesion, PairFindings, read_film
from disasym.dicom.out.findings import SIDE_NAMES
from disasym.dicom.out.report import make_reports
from disasym.engines import Engine
from disasym.infer.boxes import HOT, Region
from disasym.infer.jobs import Source
from disasym.infer.stages import Scored
from disasym.preprocess import Mammogram

FOLDER = "dicom"


def objects_of(
    pair: Scored, regions: Sequence[Region] | None, engine: Engine, kinds: Sequence[str]
) -> list[tuple[str, bytes]]:
    """The objects of `kinds` ("sr") for one pair of DICOM films, each as (name relative to the results, file).

    Where the films lie in two studies, each study gets its own.

    Raises:
        ImageError: a film cannot be read again, or holds what cannot be copied.
    """
    found = findings_of(pair, regions, engine)
    made: list[tuple[str, bytes]] = []
    if "sr" in kinds:
        made += _named("sr", make_reports(found))
    return [(f"{FOLDER}/{pair.job.pair_id}-{name}.dcm", content) for name, content in made]


def findings_of(pair: Scored, regions: Sequence[Region] | None, engine: Engine) -> PairFindings:
    """What is said of the pair, as plain values. ImageError as `objects_of`."""
    info = engine.info
    return PairFindings(
        right=_breast(pair.job.right, pair.right, pair.abnormal[0], regions),
        left=_breast(pair.job.left, pair.left, pair.abnormal[1], regions),
        view=pair.job.view,
        asymmetry=pair.asymmetry,
        algorithm=Algorithm(__version__, info.preset, info.model_sha256, engine.name, info.precision, HOT),
    )


def _breast(source: Source, view: Mammogram, abnormal: float, regions: Sequence[Region] | None) -> Breast:
    if not isinstance(source, Header):
        raise TypeError(f"a {type(source).__name__} is no DICOM film")  # `check_source` refused it before
    own = [region for region in regions or () if region.laterality == view.laterality]
    lesions = None if regions is None else tuple(Lesion(region.box, region.score) for region in own)
    return Breast(read_film(source), abnormal, lesions)


def _named(kind: str, made: Sequence[tuple[Film, bytes]]) -> list[tuple[str, bytes]]:
    """`kind`, with the side where there is one for each of two studies."""
    if len(made) == 1:
        return [(kind, made[0][1])]
    return [(f"{kind}-{SIDE_NAMES[film.laterality]}", content) for film, content in made]
