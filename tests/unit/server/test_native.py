"""The native protocol as a translator."""

from __future__ import annotations

import json

import pytest

from server.dialect import (
    Acked,
    Action,
    Audio,
    Close,
    End,
    Finalize,
    GoAway,
    Ill,
    Open,
    Pause,
    Rejoined,
    Resume,
    Send,
    Trouble,
)
from server.native import NativeDialect
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    CallClosed,
    EndReason,
    Finalized,
    Progress,
    QualityChanged,
    Resumed,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)
from tests.support.dialects import UPGRADE, admit, close_of, final, partial, sent, spec_of

START = json.dumps({"type": "start", "audio": {"encoding": "linear16", "sample_rate": 16000, "channels": 2}})
CLOSED = CallClosed(0, "call-1", "hangup", 2.0, 0.0)


def live(start: str = START) -> NativeDialect:
    dialect = NativeDialect(UPGRADE, ["tiny.en", "base"])
    admit(dialect, dialect.receive(start, 0.0))
    return dialect


def test_a_whole_session_byte_by_byte() -> None:
    """The contract with every SDK."""
    dialect = NativeDialect(UPGRADE, ["tiny.en"])
    opened = dialect.receive(START, 0.0)
    assert admit(dialect, opened) == [
        Send('{"type":"ready","call":"request-1","labels":["channel 0","channel 1"],"model":"tiny.en","version":1}')
    ]
    assert dialect.receive(b"\0" * 8, 0.0) == [Audio(ALL_CHANNELS, UNTIMED, b"\0" * 8)]
    assert dialect.deliver(Acked(0.5), 0.0) == [Send('{"type":"ack","audio_s":0.5}')]
    assert dialect.receive('{"type":"keepalive"}', 0.0) == []
    assert dialect.receive('{"type":"finalize","id":"f","channel":1}', 0.0) == [Finalize(1, "f")]
    assert dialect.deliver(SpeechStarted(0, "c", 1, 0.25), 0.0) == [
        Send('{"type":"speech_started","channel":1,"label":"channel 1","at":0.25}')
    ]
    assert dialect.deliver(partial("hel", 0.0, 0.5), 0.0) == [
        Send(
            '{"type":"partial","channel":0,"label":"channel 0","number":0,"revision":0,"start":0.0,"end":0.5,'
            '"text":"hel","stable":0,"words":[{"text":"hel","start":0.0,"end":0.5,"confidence":0.9}],'
            '"language":"en","model":"tiny.en"}',
            "partial 0",
        )
    ]
    assert dialect.deliver(final("hello", 0.0, 1.0, reason=EndReason.FINALIZE), 0.0) == [
        Send(
            '{"type":"final","channel":0,"label":"channel 0","number":0,"start":0.0,"end":0.5,"text":"hello",'
            '"words":[{"text":"hello","start":0.0,"end":0.5,"confidence":0.9}],"confidence":0.9,"language":"en",'
            '"model":"tiny.en","reason":"finalize","speech_end":1.0,"latency_s":0.2}'
        )
    ]
    assert dialect.deliver(Finalized(0, "c", 1, "f"), 0.0) == [Send('{"type":"finalized","id":"f","channel":1}')]
    assert dialect.deliver(SpeechEnded(0, "c", 1, 0.75), 0.0) == [
        Send('{"type":"speech_ended","channel":1,"label":"channel 1","at":0.75}')
    ]
    assert dialect.deliver(UtteranceEnded(0, "c", 0, 1.0), 0.0) == [
        Send('{"type":"utterance_end","channel":0,"label":"channel 0","last_word_end":1.0}')
    ]
    assert dialect.deliver(QualityChanged(0, "c", "base", "load"), 0.0) == [
        Send('{"type":"quality","model":"base","reason":"load"}')
    ]
    assert dialect.deliver(Progress(0, "c", 0, 0, 16000), 0.0) == []
    assert dialect.receive('{"type":"close"}', 0.0) == [End("hangup")]
    assert dialect.receive('{"type":"close"}', 0.0) == []
    assert dialect.receive(b"\0" * 4, 0.0) == []
    assert dialect.deliver(CLOSED, 0.0) == [
        Send('{"type":"closed","call":"call-1","reason":"hangup","audio_s":2.0,"padded_s":0.0,"finals":1}'),
        Close(1000, ""),
    ]
    assert dialect.receive(b"\0" * 4, 0.0) == []
    assert dialect.deliver(Acked(1.0), 0.0) == []


def test_partials_nobody_wants_are_not_sent() -> None:
    dialect = live(START[:-1] + ', "interim": false}')
    assert dialect.deliver(partial("hel", 0.0, 0.5), 0.0) == []


def test_a_model_that_is_asked_for_is_named_in_the_answer_and_an_unknown_one_refused() -> None:
    dialect = NativeDialect(UPGRADE, ["tiny.en", "base"])
    opened = dialect.receive(START[:-1] + ', "model": "base"}', 0.0)
    assert sent(admit(dialect, opened))[0]["model"] == "base"

    refused = NativeDialect(UPGRADE, ["tiny.en"]).receive(START[:-1] + ', "model": "base"}', 0.0)
    assert (sent(refused)[0]["code"], close_of(refused)) == ("unknown_model", Close(1008, "unknown_model"))
    assert spec_of(NativeDialect(UPGRADE).receive(START[:-1] + ', "model": "any"}', 0.0)).model == "any"


@pytest.mark.parametrize(
    ("message", "code", "fatal"),
    [
        (START, "bad_message", False),
        ('{"type":"what"}', "unknown_type", False),
        ('{"type":"finalize","id":"1","channel":2}', "bad_option", False),
        ("UklGRg==", "text_instead_of_audio", True),
        (b"\0" * 5, "bad_audio", True),
    ],
)
def test_what_is_wrong_in_a_call_is_said_and_ends_it_only_where_its_audio_is_lost(
    message: str | bytes, code: str, *, fatal: bool
) -> None:
    actions = live().receive(message, 0.0)

    assert (sent(actions)[0]["code"], sent(actions)[0]["fatal"]) == (code, fatal)
    assert (close_of(actions) is not None) == fatal


def test_an_empty_frame_of_audio_is_no_audio() -> None:
    assert live().receive(b"", 0.0) == []


@pytest.mark.parametrize(
    ("ill", "close"),
    [
        (Ill.OVERLOADED, 1013),
        (Ill.DUPLICATE_CALL, 4409),
        (Ill.TOO_FAST, 1008),
        (Ill.SLOW_READER, 1008),
        (Ill.START_TIMEOUT, 4408),
        (Ill.INTERNAL, 1011),
    ],
)
def test_trouble_is_named_and_closes_with_its_own_code(ill: Ill, close: int) -> None:
    dialect = NativeDialect(UPGRADE)
    assert dialect.deliver(Trouble(ill, "why", 5.0 if ill is Ill.OVERLOADED else None), 0.0)[1:] == [Close(close, ill)]
    assert dialect.receive(START, 0.0) == []


@pytest.mark.parametrize(("ill", "close"), [(Ill.DRAINING, 1012), (Ill.IDLE, 4408)])
def test_a_call_that_is_ended_from_our_side_still_gets_its_last_finals(ill: Ill, close: int) -> None:
    """The close carries the reason, but only after everything heard was said."""
    dialect = live()
    actions: list[Action] = dialect.deliver(Trouble(ill, "why"), 0.0)
    assert (sent(actions)[0]["code"], actions[1:]) == (ill, [End(ill)])
    assert len(sent(dialect.deliver(final("bye", 0.0, 1.0), 0.0))) == 1
    assert close_of(dialect.deliver(CLOSED, 0.0)) == Close(close, ill)

    ending = live()
    ending.receive('{"type":"close"}', 0.0)
    assert [type(action) for action in ending.deliver(Trouble(ill, "why"), 0.0)] == [Send]
    assert close_of(NativeDialect(UPGRADE).deliver(Trouble(ill, "why"), 0.0)) == Close(close, ill)


def test_a_peer_that_is_gone_ends_its_call() -> None:
    dialect = live()
    assert dialect.hung_up() == [End("disconnected")]
    assert dialect.begin(0.0) == []
    assert dialect.tick(0.0) == []
    assert isinstance(NativeDialect(UPGRADE).receive(START, 0.0)[0], Open)


RESUME = json.dumps({"type": "resume", "call": "call-1", "token": "t", "finals": [1]})
RESUMABLE = CallSpec(
    "call-1", "acme", AudioFormat(Encoding.MULAW, 8000, 2), ("customer", "agent"), model="base", resume_s=60.0
)


def rejoining() -> NativeDialect:
    dialect = NativeDialect(UPGRADE, ["tiny.en", "base"])
    assert dialect.receive(RESUME, 0.0) == [Resume("call-1", "t")]
    assert dialect.deliver(Rejoined(RESUMABLE), 0.0) == []
    return dialect


def test_a_resumed_call_is_told_what_was_missed_then_where_it_goes_on_and_nothing_else_between() -> None:
    """The client has the first final; interim text of before would only confuse it."""
    dialect = rejoining()
    assert dialect.resumable
    assert dialect.deliver(final("hello", 0.0, 1.0, number=0), 0.0) == []
    assert dialect.deliver(partial("wor", 1.0, 1.5), 0.0) == []
    assert [message["number"] for message in sent(dialect.deliver(final("world", 1.0, 2.0, number=1), 0.0))] == [1]
    (resumed,) = sent(dialect.deliver(Resumed(0, "call-1", "n", 1, 7, (18_003, 18_003), paused=True), 0.0))
    assert resumed == {
        "type": "resumed",
        "call": "call-1",
        "labels": ["customer", "agent"],
        "model": "base",
        "samples": 18_003,
        "audio_s": 2.25,
        "paused": True,
        "version": 1,
    }
    assert dialect.deliver(Resumed(0, "call-1", "n", 1, 7, (18_003, 18_003), paused=True), 0.0) == []
    assert dialect.receive(b"\0\0", 0.0) == [Audio(ALL_CHANNELS, UNTIMED, b"\0\0")]


def test_a_pause_is_asked_for_while_the_call_is_live_and_otherwise_means_nothing() -> None:
    """Before ``resumed`` it would be written by a connection that does not have the call."""
    dialect = live()
    assert dialect.receive('{"type":"pause"}', 0.0) == [Pause(paused=True)]
    assert dialect.receive('{"type":"unpause"}', 0.0) == [Pause(paused=False)]
    assert rejoining().receive('{"type":"pause"}', 0.0) == []


def test_a_client_is_sent_to_another_gateway() -> None:
    assert sent(live().deliver(GoAway(20.0), 0.0)) == [{"type": "goaway", "within_s": 20.0}]


def test_a_call_is_resumed_on_a_connection_of_its_own() -> None:
    (error,) = sent(live().receive(RESUME, 0.0))
    assert (error["code"], error["fatal"]) == ("bad_message", False)
