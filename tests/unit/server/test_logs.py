"""Logs."""

from __future__ import annotations

import io
import json
import logging
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
def test_a_fault_shows_its_place_and_neither_its_message_nor_local_variables(style: str) -> None:
    """Both may hold what people said, and so may those of its cause and of the exceptions in a group."""
    out = io.StringIO()
    logs.configure("info", style, out)
    text = "my card is"
    try:
        try:
            int(text)
        except ValueError as problem:
            raise ExceptionGroup(text, [KeyError(text)]) from problem
    except ExceptionGroup:
        structlog.get_logger().exception("connection.failed")
    for shown in ("int(text)", "ExceptionGroup", "KeyError", "ValueError", "test_logs.py"):
        assert shown in out.getvalue()
    assert text not in out.getvalue()


def test_what_the_client_of_kafka_logs_is_a_line_of_ours() -> None:
    """It alone says why a broker did not let it in."""
    out = io.StringIO()
    logs.configure("info", "json", out)

    logging.getLogger("aiokafka.client").error("Unable connect to %s", "kafka-0:9092")

    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["source"]) == ("kafka.client", "error", "aiokafka.client")
    assert line["said"] == "Unable connect to kafka-0:9092"
