"""One breast, a film or a row of a manifest → what the network sees, or why not."""

from collections.abc import Callable, Sequence
from functools import singledispatch

from disasym.data.images import load_mammogram
from disasym.data.rows import ImageRow
from disasym.dicom import Header, open_film
from disasym.errors import ImageError
from disasym.preprocess import Mammogram, preprocess

Source = Header | ImageRow  # one breast: a DICOM file that was found, or a row of a manifest
Attempts = Callable[[Sequence[Source], int, int], list[Mammogram | str]]


def attempts(sources: Sequence[Source], height: int, width: int) -> list[Mammogram | str]:
    """`attempt` of each: all are tried, so that every damaged file is found in one run."""
    return [attempt(source, height, width) for source in sources]


def attempt(source: Source, height: int, width: int) -> Mammogram | str:
    """`load`, or why it cannot be done: a clause without the path. Raises nothing."""
    try:
        return load(source, height, width)
    except ImageError as error:
        return str(error).removeprefix(f"{source.path}: ")
    except Exception as error:  # a bug costs the pair it meets, not the archive; its text may quote the file
        return f"unexpected {type(error).__name__} while reading it: please report this"


@singledispatch
def load(source: Source, height: int, width: int) -> Mammogram:
    """Decode one breast and bring it into the network's frame. ImageError when that cannot be done."""
    raise TypeError(f"no way to load a {type(source).__name__}")


@load.register
def _(source: Header, height: int, width: int) -> Mammogram:
    return preprocess(
        open_film(source.path),
        source.laterality,
        source.view,
        height,
        width,
        pixel_aspect=source.pixel_aspect,
        chest_wall=source.chest_wall,
    )


@load.register
def _(source: ImageRow, height: int, width: int) -> Mammogram:
    return load_mammogram(source, height, width)
