"""jambonz' recognizer interface as a translator."""

from __future__ import annotations

import json

import pytest

from server.bridges.jambonz import JambonzDialect
from server.dialect import Close, Ill, Send, Trouble
from streaming.call import AudioFormat, Encoding
from streaming.records import Partial, SpeechStarted
from tests.support.bridge_sessions import JAMBONZ, JAMBONZ_START
from tests.support.bridges import Line, fuzz, upgrade
from tests.support.dialects import final, partial


def line() -> Line:
    return Line(JambonzDialect(upgrade()))


def with_options(**options: object) -> str:
    return json.dumps(json.loads(JAMBONZ_START) | {"options": options})


def test_a_recognition_from_start_to_the_close_after_the_last_final() -> None:
    """jambonz sends stop and waits: the text comes first, then our close."""
    call = line().say(*JAMBONZ)
    assert call.spec is not None
    assert call.spec.audio == AudioFormat(Encoding.L16, 8000, 1)
    assert (call.spec.call, call.spec.language, call.spec.interim) == ("sid-1-request-", "en", True)
    assert (call.spec.hotwords, call.spec.labels) == (("jambonz", "Trunkline"), ("customer",))
    assert call.spec.metadata == {"jambonz.call_sid": "sid-1"}
    assert call.samples() == b"\x01\x00" * 4000
    assert (call.ended, call.close) == ("hangup", None)
    call.tell(partial("hello", 0.0, 0.5), final("hello world", 0.0, 1.0)).finish()
    assert call.messages == [
        {
            "type": "transcription",
            "is_final": False,
            "alternatives": [{"transcript": "hello", "confidence": 0.9}],
            "language": "en-US",
            "channel": 1,
            "start": 0.0,
            "end": 0.5,
        },
        {
            "type": "transcription",
            "is_final": True,
            "alternatives": [{"transcript": "hello world", "confidence": 0.9}],
            "language": "en-US",
            "channel": 1,
            "start": 0.0,
            "end": 1.0,
        },
    ]
    assert call.close == Close(1000)


def test_nothing_but_transcriptions_and_errors_is_sent() -> None:
    """jambonz logs anything else as an error."""
    empty = Partial(0, "x", 0, 0, 0, (), 0, 0.0, 0.1, "en", "m")
    assert line().say(*JAMBONZ[:3]).tell(SpeechStarted(0, "x", 0, 0.1), empty).sent == []


def test_a_newer_partial_replaces_an_unsent_one_and_a_final_never_is() -> None:
    """A slow reader needs the newest guess only."""
    dialect = JambonzDialect(upgrade())
    Line(dialect).say(*JAMBONZ[:2])
    for event, name in ((partial("hello", 0, 1), "partial"), (final("hello", 0, 1), None)):
        (send,) = dialect.deliver(event, 0.0)
        assert isinstance(send, Send)
        assert send.replaces == name


@pytest.mark.parametrize(
    "hints",
    ['["jambonz", "Trunkline"]', '[{"phrase": "jambonz", "boost": 5}, {"phrase": "Trunkline"}, {}]'],
)
def test_hints_may_travel_as_json_in_a_string(hints: str) -> None:
    """Hints with boosts do."""
    spec = line().say(with_options(hints=hints)).spec
    assert spec is not None
    assert (spec.hotwords, spec.call) == (("jambonz", "Trunkline"), "request-1")


def test_hints_may_be_left_out_or_be_nonsense() -> None:
    """They are hints."""
    for options in ({}, {"hints": "not json"}, {"hints": 5}):
        spec = line().say(with_options(**options)).spec
        assert spec is not None
        assert spec.hotwords == ()


def test_a_language_nobody_named_is_told_as_it_was_found() -> None:
    """jambonz passes it on."""
    start = {name: value for name, value in json.loads(JAMBONZ_START).items() if name != "language"}
    call = line().say(json.dumps(start)).tell(final("hallo", 0, 1))
    assert call.messages[0]["language"] == "en"


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (JAMBONZ_START.replace("LINEAR16", "OPUS"), "unknown_encoding"),
        (JAMBONZ_START.replace("8000", "11025"), "unknown_sample_rate"),
        (JAMBONZ_START.replace("en-US", "?"), "bad_option"),
        (with_options(hints=["x"] * 201), "bad_option"),
        (b"\x00\x00", "audio_before_start"),
        ("nonsense", "bad_json"),
    ],
)
def test_errors_are_said_in_jambonz_words(frame: str | bytes, error: str) -> None:
    """Its users see them in their portal."""
    call = line().say(frame)
    assert call.messages[0]["type"] == "error"
    assert str(call.messages[0]["error"]).startswith(error)
    assert call.close is not None
    assert call.close.code == 1008


def test_a_full_server_says_so_and_a_call_that_dies_is_finished_all_the_same() -> None:
    """A close without stop means that the call is gone."""
    full = Line(JambonzDialect(upgrade()), Trouble(Ill.OVERLOADED, "the server is full", 5.0)).say(*JAMBONZ)
    assert full.messages == [{"type": "error", "error": "overloaded: the server is full"}]
    assert full.close == Close(1013, "overloaded")
    assert line().say(*JAMBONZ[:4]).hang_up().ended == "disconnected"


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    fuzz(lambda: JambonzDialect(upgrade()), [JAMBONZ])
