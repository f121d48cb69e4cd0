"""JSON objects as frames carry them, each field read as what it must be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

_T = TypeVar("_T")


class Fields:
    """The fields of one JSON object.

    Args:
        values: The object; null counts as absent.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Return a string.

        Raises:
            ValueError: If there is none of this name.
        """
        return self._required(name, self.maybe_text(name))

    def integer(self, name: str) -> int:
        """Return a whole number.

        Raises:
            ValueError: If there is none of this name.
        """
        return self._required(name, self.maybe_integer(name))

    def number(self, name: str) -> float:
        """Return a number.

        Raises:
            ValueError: If there is none of this name.
        """
        return self._required(name, self.maybe_number(name))

    def maybe_text(self, name: str) -> str | None:
        """Return a string, or None if there is none of this name."""
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def maybe_integer(self, name: str) -> int | None:
        """Return a whole number, or None if there is none of this name."""
        value = self._values.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def maybe_number(self, name: str) -> float | None:
        """Return a number, or None if there is none of this name."""
        value = self._values.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._values.get(name)
        return value if isinstance(value, bool) else default

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the strings of a list."""
        return tuple(item for item in self._list(name) if isinstance(item, str))

    def integers(self, name: str) -> tuple[int, ...]:
        """Return the whole numbers of a list."""
        return tuple(item for item in self._list(name) if isinstance(item, int))

    def table(self, name: str) -> dict[str, str]:
        """Return the strings of an object."""
        return {key: value for key, value in _object(self._values.get(name)).items() if isinstance(value, str)}

    def section(self, name: str) -> Fields:
        """Return an object; an empty one if there is none of this name."""
        return Fields(_object(self._values.get(name)))

    def sections(self, name: str) -> tuple[Fields, ...]:
        """Return the objects of a list."""
        return tuple(Fields(_object(item)) for item in self._list(name))

    def _list(self, name: str) -> Sequence[object]:
        value = self._values.get(name)
        return cast("Sequence[object]", value) if isinstance(value, list) else ()

    def _required(self, name: str, value: _T | None) -> _T:
        if value is None:
            raise ValueError(f"the message lacks {name!r}, or it is of the wrong kind")
        return value


def read_object(text: str | bytes) -> Fields:
    """Read a frame that must hold one JSON object.

    Raises:
        ValueError: If it does not.
    """
    if isinstance(text, bytes):
        raise ValueError("a binary frame came where a text frame was expected")  # noqa: TRY004 - the peer's fault
    value: object = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("the frame is not a JSON object")  # noqa: TRY004 - the peer's fault
    return Fields(_object(cast("object", value)))


def _object(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
