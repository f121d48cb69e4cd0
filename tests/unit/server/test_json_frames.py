"""JSON frames of other protocols."""

from __future__ import annotations

import pytest

from server.json_frames import json_object


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"event": "media", "media": {"payload": "/38="}}', {"event": "media", "media": {"payload": "/38="}}),
        (' {"a": 1, "a": 2.5} ', {"a": 2.5}),
        ('{"name": "\\ud83d"}', {"name": "\ud83d"}),
        ('{"name": "\ud83d"}', {"name": "\ud83d"}),
    ],
)
def test_an_object_is_read_even_where_it_holds_half_a_character(text: str, read: dict[str, object]) -> None:
    """A name cut in the middle of an emoji must not end a call; the quick reader refuses it."""
    assert json_object(text) == read


@pytest.mark.parametrize("text", ["", "[1]", "1", '{"a": 1', '{"a": 1} x', "[" * 100_000])
def test_what_is_no_object_is_none(text: str) -> None:
    """Anything may come; nothing of it may raise."""
    assert json_object(text) is None
