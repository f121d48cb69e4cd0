"""Forms with files: multipart/form-data taken apart, as RFC 7578 has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from typing import Final

from server.errors import Refusal

MAX_PARTS: Final = 1000
"""Fields of one form; libraries send a dozen."""

_BLANK_LINE: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    value: bytes
    filename: str | None = None
    """None where it is no file."""


class Form:
    """The fields of a form, in order; names may repeat, with or without ``[]`` behind them.

    Args:
        fields: As they came.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields

    def file(self, name: str) -> Field | None:
        """Return a file, or None."""
        return next((field for field in self._fields if field.name == name and field.filename is not None), None)

    def every(self, name: str) -> list[str]:
        """Return all values of a name."""
        names = (name, f"{name}[]")
        return [field.value.decode("utf-8", "replace") for field in self._fields if field.name in names]

    def last(self, name: str) -> str | None:
        """Return the last value of a name that is not empty, or None."""
        return next((value for value in reversed(self.every(name)) if value), None)


def read_form(content_type: str, body: bytes) -> Form:
    """Take a form apart.

    Args:
        content_type: The request's ``Content-Type``.
        body: The request's body.

    Raises:
        Refusal: 415 if this is no such form, 400 if it is damaged.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise Refusal(415, "unsupported_media_type", "send the file in a multipart/form-data form with a boundary")
    line = b"--" + boundary.encode("ascii", "replace")
    parts = (b"\r\n" + body).split(b"\r\n" + line, MAX_PARTS + 1)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):  # noqa: PLR2004 - what is before the first, and the end
        raise Refusal(400, "bad_form", f"the form is cut short, or has more than {MAX_PARTS} fields")
    return Form([_field(part) for part in parts[1:-1]])


def _field(part: bytes) -> Field:
    head, blank, value = part.partition(_BLANK_LINE)
    fields = Parser().parsestr(head.strip().decode("utf-8", "replace"), headersonly=True)
    name = fields.get_param("name", header="Content-Disposition")
    if not blank or not isinstance(name, str):
        raise Refusal(400, "bad_form", "a field of the form has no name")
    return Field(name, value, fields.get_filename())
