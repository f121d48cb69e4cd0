"""JSON frames of protocols that are not ours: read field by field, because anything may be missing."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic_core import from_json

Fields = Mapping[str, object]


def json_object(text: str) -> Fields | None:
    """Return the object in a text frame, or None if there is none."""
    try:
        # Five times as fast as the standard library's, for each 20 ms of audio; of its strings only names come again.
        return _object(from_json(text, cache_strings="keys"))
    except (ValueError, TypeError):
        return _leniently(text)


def section(fields: Fields, name: str) -> Fields:
    """Return an object inside an object; an empty one if it is missing."""
    return _object(fields.get(name)) or {}


def string(fields: Fields, name: str) -> str | None:
    """Return a string, or None if it is missing or empty."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def strings(fields: Fields, longest: int) -> dict[str, str]:
    """Return all that are strings, cut to a length."""
    return {name: value[:longest] for name, value in fields.items() if isinstance(value, str)}


def texts(fields: Fields, name: str) -> list[str]:
    """Return the strings of a list; none if it is missing."""
    value = fields.get(name)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType] - JSON


def objects(fields: Fields, name: str) -> list[Fields]:
    """Return the objects of a list; none if it is missing."""
    value = fields.get(name)
    listed = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType] - JSON
    return [found for found in map(_object, listed) if found is not None]  # pyright: ignore[reportUnknownArgumentType] - JSON


def integer(value: object) -> int | None:
    """Read a whole number that may travel as a string; None if it is none."""
    try:
        return int(value) if isinstance(value, (str, int)) else None  # a union would be made anew each time
    except ValueError:
        return None


def _leniently(text: str) -> Fields | None:
    """Read what the strict reader did not take, such as half a surrogate pair, if it is JSON all the same."""
    try:
        return _object(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _object(value: object) -> Fields | None:
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] - JSON
