"""The data sets that `disasym prepare` reads: where they come from, and how the paper splits them."""

from collections.abc import Mapping
from dataclasses import dataclass

Ratios = tuple[int, int, int]  # train, validation, test


@dataclass(frozen=True)
class Source:
    """One data set. `module` in this package reads it."""

    module: str
    url: str
    licence: str
    ratios: Ratios = (8, 1, 1)


DATASETS: Mapping[str, Source] = {
    "inbreast": Source("inbreast", "doi.org/10.1016/j.acra.2011.09.014", "research, on request", (6, 2, 2)),
    "mini-mias": Source("mias", "peipa.essex.ac.uk/info/mias.html", "research only"),
    "cdd-cesm": Source("cesm", "doi.org/10.7937/29kw-ae92", "CC BY 4.0"),
    "cbis-ddsm": Source("cbis", "doi.org/10.7937/K9/TCIA.2016.7O02S9CY", "CC BY 3.0"),
    "ddsm": Source("ddsm", "eng.usf.edu/cvprg/mammography/database.html", "free, cite"),
    "cmmd": Source("cmmd", "doi.org/10.7937/tcia.eqde-4b16", "CC BY 4.0"),
    "vindr-mammo": Source("vindr", "doi.org/10.13026/br2v-7517", "restricted (PhysioNet)"),
    "csv": Source("archive", "a table images.csv", "your own"),
}
