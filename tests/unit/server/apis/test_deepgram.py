"""Deepgram's live endpoint as a translator."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import uuid

import pytest

from server.apis.deepgram import DeepgramDialect, route
from server.apis.deepgram_options import read_options
from server.auth import Keyring
from server.dialect import Acked, Action, Audio, Close, End, Finalize, Ill, Open, Opened, Send, Trouble
from server.errors import Refusal
from streaming.call import AudioFormat, Encoding
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    CallClosed,
    EndReason,
    Finalized,
    Progress,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)
from tests.support.bridges import Frame, fuzz
from tests.support.dialects import UPGRADE, admit, close_of, final, partial, sent, spec_of

MULAW = (("encoding", "mulaw"), ("sample_rate", "8000"))
L16 = (("encoding", "linear16"), ("sample_rate", "16000"))
CLOSED = CallClosed(0, "call-1", "hangup", 2.5, 0.0)


def live(*query: tuple[str, str], audio: tuple[tuple[str, str], ...] = MULAW) -> DeepgramDialect:
    dialect = DeepgramDialect(UPGRADE, read_options((("model", "nova-3"), *audio, *query), ["tiny.en"]))
    spec = dataclasses.replace(spec_of(dialect.begin(0.0)), opened_at=1_767_225_600.0)
    assert dialect.deliver(Opened(spec), 0.0) == []
    return dialect


def wav(channels: int = 1, samples: bytes = b"\1\0\2\0", size: int = 0xFFFFFFFF) -> bytes:
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, 8000, 16000 * channels, 2 * channels, 16)
    return b"RIFF\xff\xff\xff\xffWAVE" + head + struct.pack("<4sI", b"data", size) + samples


def test_an_interim_and_a_final_byte_by_byte() -> None:
    """The SDKs index these fields; none may be missing."""
    dialect = live(("interim_results", "true"))
    assert dialect.deliver(partial("Hel", 0.0, 0.5), 0.0) == [
        Send(
            '{"type":"Results","channel_index":[0,1],"duration":0.5,"start":0.0,"is_final":false,'
            '"speech_final":false,"from_finalize":false,"channel":{"alternatives":[{"transcript":"Hel",'
            '"confidence":0.9,"words":[{"word":"hel","start":0.0,"end":0.5,"confidence":0.9,'
            '"punctuated_word":"Hel"}],"languages":["en"]}]},"metadata":{"request_id":"request-1",'
            '"model_info":{"name":"tiny.en","version":"1","arch":"whisper"},'
            f'"model_uuid":"{uuid.uuid5(uuid.NAMESPACE_URL, "tiny.en")}"}}}}',
            "interim 0",
        )
    ]
    message = sent(dialect.deliver(final("Hello, world.", 0.0, 1.25), 0.0))[0]
    assert {name: message[name] for name in ("start", "duration", "is_final", "speech_final", "from_finalize")} == {
        "start": 0.0,
        "duration": 1.25,
        "is_final": True,
        "speech_final": True,
        "from_finalize": False,
    }


def test_final_results_tile_the_audio_whatever_lies_between_them() -> None:
    """Clients place text by start and duration: a hole or an overlap would shift it."""
    dialect = live()
    told = [
        *sent(dialect.deliver(Progress(0, "c", 0, 0, 16_000), 0.0)),
        *sent(dialect.deliver(final("one", 1.0, 2.0), 0.0)),
        *sent(dialect.deliver(Progress(0, "c", 0, 32_000, 8 * 16_000), 0.0)),
        *sent(dialect.deliver(final("two", 8.0, 9.1234, reason=EndReason.CUT), 0.0)),
        *sent(dialect.deliver(final("three", 9.1234, 10.0, reason=EndReason.END), 0.0)),
    ]
    assert [(message["start"], message["duration"], message["speech_final"]) for message in told] == [
        (0.0, 2.0, True),
        (2.0, 6.0, False),
        (8.0, 1.123, False),
        (9.123, 0.877, True),
    ]


def test_an_interim_of_what_is_final_already_is_not_sent() -> None:
    dialect = live(("interim_results", "true"))
    dialect.deliver(final("one", 0.0, 2.0), 0.0)
    assert dialect.deliver(partial("one", 0.0, 1.9), 0.0) == []
    assert live().deliver(partial("one", 0.0, 1.9), 0.0) == []


def test_a_finalize_is_answered_once_for_each_side_even_if_nothing_was_said() -> None:
    dialect = live(("channels", "2"), ("multichannel", "true"))
    assert dialect.receive('{"type":"Finalize"}', 0.0) == [Finalize(None, "1")]
    told = [
        *sent(dialect.deliver(final("one", 0.0, 1.0, channel=1, reason=EndReason.FINALIZE), 0.0)),
        *sent(dialect.deliver(Progress(0, "c", 0, 0, 16_000), 0.0)),
        *sent(dialect.deliver(Finalized(0, "c", None, "1"), 0.0)),
    ]
    assert [(message["channel_index"], message["duration"], message["from_finalize"]) for message in told] == [
        ([1, 2], 1.0, True),
        ([0, 2], 1.0, True),
    ]
    assert dialect.receive('{"type":"Finalize","channel":1}', 0.0) == [Finalize(1, "2")]
    assert dialect.receive('{"type":"Finalize","channel":7}', 0.0) == [Finalize(None, "3")]
    again = sent(dialect.deliver(Finalized(0, "c", 1, "2"), 0.0))[0]
    assert (again["channel_index"], again["start"], again["duration"]) == ([1, 2], 1.0, 0.0)


def test_pauses_end_no_utterance_where_endpointing_is_off() -> None:
    dialect = live(("endpointing", "false"))
    assert sent(dialect.deliver(final("one", 0.0, 1.0), 0.0))[0]["speech_final"] is False
    assert sent(dialect.deliver(final("two", 1.0, 2.0, reason=EndReason.END), 0.0))[0]["speech_final"] is True


def test_voice_activity_is_told_only_to_who_asked() -> None:
    started = SpeechStarted(0, "c", 0, 0.08)
    assert live().deliver(started, 0.0) == []
    assert live(("vad_events", "true")).deliver(started, 0.0) == [
        Send('{"type":"SpeechStarted","channel":[0,1],"timestamp":0.08}')
    ]
    assert live().deliver(SpeechEnded(0, "c", 0, 1.0), 0.0) == []
    assert live().deliver(Acked(1.0), 0.0) == []
    assert live().deliver(UtteranceEnded(0, "c", 0, 2.39), 0.0) == [
        Send('{"type":"UtteranceEnd","channel":[0,1],"last_word_end":2.39}')
    ]


def test_a_closed_stream_ends_with_metadata_and_a_normal_close() -> None:
    dialect = live()
    dialect.receive(b"\xff\xff", 0.0)
    assert dialect.receive('{"type":"CloseStream"}', 0.0) == [End("hangup")]
    assert dialect.receive(b"\xff", 0.0) == []
    actions = dialect.deliver(CLOSED, 0.0)
    assert sent(actions) == [
        {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": "request-1",
            "sha256": hashlib.sha256(b"\xff\xff").hexdigest(),
            "created": "2026-01-01T00:00:00.000Z",
            "duration": 2.5,
            "channels": 1,
        }
    ]
    assert close_of(actions) == Close(1000)
    assert dialect.deliver(CLOSED, 0.0) == []
    assert live().receive(b"", 0.0) == [End("hangup")]


def test_samples_that_are_split_between_messages_are_put_together() -> None:
    """The protocol allows any size; a lost byte would turn the rest into noise."""
    dialect = live(audio=L16)
    actions = dialect.receive(b"\1", 0.0) + dialect.receive(b"\2\3", 0.0) + dialect.receive(b"\4\5\6", 0.0)
    assert actions == [Audio(ALL_CHANNELS, UNTIMED, b"\1\2"), Audio(ALL_CHANNELS, UNTIMED, b"\3\4\5\6")]


def test_control_messages_sent_as_binary_are_not_taken_for_audio() -> None:
    dialect = live()
    assert dialect.receive(b'{"type":"KeepAlive"}', 0.0) == []
    assert dialect.receive(b'{"type":"Finalize"}', 0.0) == [Finalize(None, "1")]
    assert dialect.receive('{"type":"KeepAlive"}', 0.0) == []


def test_text_that_is_no_control_message_is_answered_in_words_the_sdks_know() -> None:
    for text in ("audio?", '{"type":"Speak"}', "[]"):
        assert sent(live().receive(text, 0.0))[0]["type"] == "Error"
    configured = sent(live().receive('{"type":"Configure","keyterms":["a"]}', 0.0))
    assert (configured[0]["type"], configured[0]["request_id"]) == ("ConfigureFailure", "request-1")


def test_wav_brings_its_own_format_however_it_is_cut() -> None:
    """Scripts send files as they are, header and all."""
    for cut in (1, 12, 20, 43, 44, 46, 100):
        dialect = DeepgramDialect(UPGRADE, read_options((("multichannel", "true"),), []))
        assert dialect.begin(0.0) == []
        stream = wav(channels=2, samples=bytes(range(8)), size=6)
        actions: list[Action] = []
        for at in range(0, len(stream), cut):
            for action in dialect.receive(stream[at : at + cut], 0.0):
                actions.append(action)
                if isinstance(action, Open):
                    admit(dialect, [action])
        assert spec_of(actions).audio == AudioFormat(Encoding.L16, 8000, 2)
        audio = b"".join(action.payload for action in actions if isinstance(action, Audio))
        assert audio == bytes(range(4)), "six bytes were announced, which hold one sample of both channels"


def test_audio_of_no_known_kind_is_refused_as_undecodable() -> None:
    dialect = DeepgramDialect(UPGRADE, read_options((), []))
    close = close_of(dialect.receive(b"OggS" + bytes(100), 0.0))
    assert close is not None
    assert (close.code, close.reason[:9]) == (1008, "DATA-0000")
    assert dialect.receive(b"RIFF", 0.0) == []
    assert dialect.deliver(CLOSED, 0.0) == []


def test_a_stream_without_audio_ends_with_empty_metadata() -> None:
    dialect = DeepgramDialect(UPGRADE, read_options((), []))
    assert dialect.receive('{"type":"Finalize"}', 0.0) == []
    actions = dialect.receive('{"type":"CloseStream"}', 0.0)
    assert (sent(actions)[0]["duration"], sent(actions)[0]["channels"], close_of(actions)) == (0.0, 1, Close(1000))


@pytest.mark.parametrize(
    ("ill", "code", "word"),
    [(Ill.IDLE, 1011, "NET-0001"), (Ill.INTERNAL, 1011, "NET-0000"), (Ill.OVERLOADED, 1013, "overloaded")],
)
def test_trouble_closes_with_the_protocols_codes(ill: Ill, code: int, word: str) -> None:
    close = close_of(live().deliver(Trouble(ill, "why"), 0.0))
    assert close is not None
    assert (close.code, word in close.reason) == (code, True)


def test_a_stop_of_the_server_still_delivers_what_was_heard() -> None:
    dialect = live()
    assert dialect.deliver(Trouble(Ill.DRAINING, "why"), 0.0) == [End("draining")]
    assert len(sent(dialect.deliver(final("bye", 0.0, 1.0), 0.0))) == 1
    closing = close_of(dialect.deliver(CLOSED, 0.0))
    assert closing is not None
    assert closing.code == 1012
    ending = live()
    ending.receive('{"type":"CloseStream"}', 0.0)
    assert ending.deliver(Trouble(Ill.DRAINING, "why"), 0.0) == []


def test_refusals_and_request_ids_look_as_clients_know_them() -> None:
    served = route(Keyring({}), 10.0)
    body = served.refusal_body(Refusal(401, "unauthorized", "no key"), "r")
    assert body == b'{"err_code": "INVALID_AUTH", "err_msg": "no key", "request_id": "r"}'
    assert b"INVALID_QUERY" in served.refusal_body(Refusal(400, "INVALID_QUERY_PARAMETER", "x"), "r")
    assert served.headers("r") == {"dg-request-id": "r"}


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    ending: list[Frame] = [
        '{"type":"KeepAlive"}',
        '{"type":"Finalize","channel":0}',
        b"\xff" * 800,
        '{"type":"CloseStream"}',
    ]
    declared = read_options((*MULAW, ("interim_results", "true"), ("vad_events", "true")), [])
    fuzz(lambda: DeepgramDialect(UPGRADE, declared), [[b"\xff" * 800, *ending]])
    fuzz(lambda: DeepgramDialect(UPGRADE, read_options((), [])), [[wav(), b"\1\0" * 400, *ending]])
