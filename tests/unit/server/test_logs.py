"""Logs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from server import logs


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_line_is_one_json_object_without_what_callers_said() -> None:
    """Words people said are customer data."""
    out = io.StringIO()
    logs.configure("info", "auto", out)
    log = structlog.get_logger()

    log.debug("too.fine")
    log.info("call.closed", call="c-1", **{"pii.text": "my card is"})

    line = json.loads(out.getvalue())
    assert (line["event"], line["call"], line["level"]) == ("call.closed", "c-1", "info")
    assert "card" not in out.getvalue()


def test_a_terminal_gets_text() -> None:
    out = io.StringIO()
    logs.configure("warning", "text", out)
    structlog.get_logger().warning("gateway.drain_cut_short", connections=2)
    assert "gateway.drain_cut_short" in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_shows_no_local_variables(style: str) -> None:
    """They hold what people said."""
    out = io.StringIO()
    logs.configure("info", style, out)
    text = "my card is"
    try:
        text.index("cash")
    except ValueError:
        structlog.get_logger().exception("connection.failed")
    assert "ValueError: substring not found" in out.getvalue()
    assert out.getvalue().count("my card is") == 0
