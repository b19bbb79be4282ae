"""Strict reading of parsed JSON: each value is of the kind that is wanted, or refused with file, field and value."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

from disasym.errors import EngineError

Shape = tuple[int | str, ...]  # a string is the name of a dynamic dimension


class Strict:
    """Checks and converts values of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse(self, name: str, found: object, wanted: str, remedy: str = "export the model again") -> NoReturn:
        """Raise EngineError that names file, field, what stands there, what is wanted and the way out."""
        raise EngineError(f"{self.path}: {name} is {found!r}, wanted {wanted}: {remedy}")

    def fields(self, content: object, kind: type, name: str) -> dict[str, Any]:
        """An object with exactly the fields of a dataclass."""
        wanted = {field.name for field in dataclasses.fields(kind)}
        if not isinstance(content, dict):
            self.refuse(name, content, "an object")
        if content.keys() != wanted:
            missing, unknown = sorted(wanted - content.keys()), sorted(content.keys() - wanted)
            self.refuse(f"the fields of {name}", f"missing {missing}, unknown {unknown}", f"{sorted(wanted)}")
        return content

    def table(self, content: object, name: str, convert: Callable[[object, str], Any]) -> dict[str, Any]:
        """An object, each of its values converted."""
        if not isinstance(content, Mapping):
            self.refuse(name, content, "an object")
        return {key: convert(value, f"{name}.{key}") for key, value in content.items()}

    def several(self, content: object, name: str, convert: Callable[[object, str], Any]) -> tuple[Any, ...]:
        """A list, each of its values converted."""
        if not isinstance(content, list):
            self.refuse(name, content, "a list")
        return tuple(convert(value, name) for value in content)

    def one_of(self, value: object, name: str, choices: tuple[str, ...]) -> str:
        """One of a few texts."""
        if not isinstance(value, str) or value not in choices:
            self.refuse(name, value, f"one of {', '.join(choices)}")
        return value

    def shape(self, value: object, name: str) -> Shape:
        """A list of sizes."""
        if not isinstance(value, list) or not all(type(size) in (int, str) for size in value):
            self.refuse(name, value, "a list of sizes")
        return tuple(cast("list[int | str]", value))

    def sha256(self, value: object, name: str) -> str:
        """64 hexadecimal digits."""
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            self.refuse(name, value, "a SHA-256 of 64 hexadecimal digits")
        return value

    def text(self, value: object, name: str) -> str:
        """A text that is not empty."""
        if not isinstance(value, str) or not value:
            self.refuse(name, value, "a text")
        return value

    def whole(self, value: object, name: str) -> int:
        """An integer, no boolean."""
        if type(value) is not int:
            self.refuse(name, value, "a whole number")
        return value

    def number(self, value: object, name: str) -> float:
        """A finite number, at least 0."""
        if type(value) not in (int, float) or not 0 <= cast(float, value) < float("inf"):
            self.refuse(name, value, "a finite number, at least 0")
        return float(cast(float, value))

    def anything(self, value: object, name: str) -> object:
        """Whatever JSON holds, but NaN and infinity, which are no JSON."""
        if isinstance(value, float) and not abs(value) < float("inf"):
            self.refuse(name, value, "a finite number")
        if isinstance(value, list):
            return [self.anything(each, name) for each in value]
        return self.table(value, name, self.anything) if isinstance(value, dict) else value
