"""Plain values out of pydicom's raw elements: no conversion, so no warning that quotes a value."""

import math
import struct
from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from disasym.errors import ImageError


@dataclass(frozen=True)
class Words:
    """A binary element as it lies in the file."""

    data: bytes
    vr: str | None  # None: implicit VR, so the file does not say
    little_endian: bool

    def unsigned(self) -> tuple[int, ...]:
        """The 16-bit words, unsigned."""
        count = len(self.data) // 2
        return struct.unpack(f"{'<' if self.little_endian else '>'}{count}H", self.data[: 2 * count])


class Tags:
    """The elements of one data set or sequence item, by keyword. Absent and empty are the same."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        # Taken raw, now: pydicom converts an element in place when it is iterated over, or when another one needs it
        keys = list(dataset.keys())
        self._elements = dict(zip(keys, map(dataset.get_item, keys), strict=True))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Values of a text element, without padding; () if absent or empty.

        Latin-1 keeps every byte apart, whatever SpecificCharacterSet says: what is read here is codes, or compared.
        """
        data = self.raw(keyword)
        if not data.strip(b" \0"):
            return ()
        return tuple(value.strip(" \0\t\r\n") for value in data.decode("latin-1").split("\\"))

    def first(self, keyword: str) -> str:
        """The first value of a text element, "" if absent."""
        values = self.texts(keyword)
        return values[0] if values else ""

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Values of a DS or IS element.

        Raises:
            ImageError: a value is not a finite number.
        """
        try:
            values = tuple(float(text) for text in self.texts(keyword))
        except ValueError:
            values = (math.nan,)
        if not all(math.isfinite(value) for value in values):
            raise ImageError(f"damaged: {keyword} is not a number")
        return values

    def number(self, keyword: str, default: float) -> float:
        """The first value of a DS or IS element, `default` if absent."""
        values = self.numbers(keyword)
        return values[0] if values else default

    def integer(self, keyword: str) -> int | None:
        """A US value; None if absent.

        Raises:
            ImageError: not one 16-bit word.
        """
        words = self.words(keyword)
        if words is None:
            return None
        if len(words.data) != 2:
            raise ImageError(f"damaged: {keyword} has {len(words.data)} bytes instead of 2")
        return words.unsigned()[0]

    def words(self, keyword: str) -> Words | None:
        """A binary element (US, SS, OW …) as it lies in the file; None if absent or empty."""
        element = self._raw(keyword)
        if element is None or not element.value:
            return None
        return Words(self.raw(keyword), element.VR, element.is_little_endian)

    def items(self, keyword: str) -> tuple["Tags", ...]:
        """The items of a sequence; () if absent or empty.

        Raises:
            ImageError: the element is no sequence.
        """
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._dataset:
            return ()
        element = self._dataset[tag]
        if element.VR != "SQ":
            raise ImageError(f"damaged: {keyword} is not a sequence")
        return tuple(Tags(item) for item in element.value or ())

    def _raw(self, keyword: str) -> RawDataElement | None:
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        element = self._elements.get(BaseTag(tag))
        if element is None or isinstance(element, RawDataElement):
            return element
        raise ImageError(f"damaged: {keyword} is a sequence")

    def raw(self, keyword: str) -> bytes:
        """The value as it lies in the file, padding included; empty if absent.

        Raises:
            ImageError: truncated, or a sequence.
        """
        element = self._raw(keyword)
        if element is None or not element.value:
            return b""
        if len(element.value) != element.length:
            raise ImageError(f"truncated: the file ends inside {keyword}")
        return element.value
