"""Telnyx's media streams as a translator."""

from __future__ import annotations

import base64
import json

import pytest

from server.bridges.telnyx import TelnyxDialect
from server.dialect import Close, Dtmf, Ill, Trouble
from streaming.audio import encode
from streaming.call import AudioFormat, Encoding
from tests.support.audio import sine
from tests.support.bridges import Line, fuzz, upgrade

STREAM = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
CONNECTED = '{"event":"connected","version":"1.0.0"}'
STOP = json.dumps({"event": "stop", "sequence_number": "9", "stream_id": STREAM, "stop": {"user_id": "u"}})
PIECES = [bytes([number]) * 160 for number in range(8)]


def start(**media_format: object) -> str:
    body: dict[str, object] = {
        "user_id": "u",
        "call_control_id": "v3:abc",
        "call_session_id": "s",
        "from": "+13120000001",
        "to": "+13120000002",
        "tags": [],
        "client_state": "aGk=",
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1} | media_format,
        "custom_parameters": [{"name": "language", "value": "de-DE"}, {"name": "queue", "value": "support"}, 5],
    }
    return json.dumps({"event": "start", "sequence_number": "1", "stream_id": STREAM, "start": body})


def media(samples: bytes, chunk: int, timestamp: int, track: str = "inbound") -> str:
    body = {
        "track": track,
        "chunk": str(chunk),
        "timestamp": str(timestamp),
        "payload": base64.b64encode(samples).decode(),
    }
    return json.dumps({"event": "media", "sequence_number": "4", "stream_id": STREAM, "media": body})


def stream(count: int = 6, track: str = "inbound") -> list[str]:
    return [media(PIECES[number], number + 1, 20 * number, track) for number in range(count)]


def line(byte_order: str = "auto") -> Line:
    return Line(TelnyxDialect(upgrade(), byte_order))


def test_a_start_becomes_a_call_with_what_the_bridge_knows() -> None:
    """Telnyx's own ids are how its users find the call again."""
    spec = line().say(CONNECTED, start()).spec
    assert spec is not None
    assert (spec.call, spec.tenant, spec.language, spec.labels) == (STREAM, "acme", "de", ("inbound", "outbound"))
    assert spec.audio == AudioFormat(Encoding.MULAW, 8000, 2)
    assert spec.metadata == {
        "telnyx.stream_id": STREAM,
        "telnyx.call_control_id": "v3:abc",
        "telnyx.call_session_id": "s",
        "telnyx.from": "+13120000001",
        "telnyx.to": "+13120000002",
        "telnyx.client_state": "aGk=",
        "queue": "support",
    }


def test_both_tracks_arrive_on_their_channels_and_clocks() -> None:
    """Each side of the call has messages of its own."""
    call = line().say(CONNECTED, start(), *stream(3), *stream(2, "outbound"), media(PIECES[2], 9, 500, "outbound"))
    assert [(one.channel, one.position) for one in call.audio] == [
        (0, 0),
        (0, 160),
        (0, 320),
        (1, 0),
        (1, 160),
    ]
    assert call.samples(0) == b"".join(PIECES[:3])
    call.say(STOP)
    assert (call.audio[-1].channel, call.audio[-1].position) == (1, 4000)


def test_messages_out_of_order_are_put_in_order() -> None:
    """Telnyx does not guarantee order; words in the wrong order are no words."""
    frames = stream(6)
    call = line().say(CONNECTED, start(), frames[0], frames[2], frames[1], frames[4], frames[3], frames[5], STOP)
    assert call.samples(0) == b"".join(PIECES[:6])


def test_a_stop_ends_the_call_and_the_close_follows_its_last_final() -> None:
    """Telnyx says when it is done; the socket is closed when the text is complete."""
    call = line().say(CONNECTED, start(), *stream(), STOP)
    assert (call.ended, call.close) == ("hangup", None)
    assert call.finish().close == Close(1000)


def test_without_a_stop_the_break_ends_the_call_and_nothing_held_is_lost() -> None:
    """A connection that vanishes is the usual end of a call that failed."""
    frames = stream(3)
    call = line().say(CONNECTED, start(), frames[0], frames[2]).hang_up()
    assert (call.ended, call.samples(0)) == ("disconnected", PIECES[0] + PIECES[2])


def test_a_stop_before_any_start_just_closes() -> None:
    """There is no call to end."""
    assert line().say(CONNECTED, STOP).close == Close(1000)


def test_keys_are_kept() -> None:
    """What callers type often decides what they say next."""
    key = json.dumps({"event": "dtmf", "stream_id": STREAM, "sequence_number": "5", "dtmf": {"digit": "1"}})
    call = line().say(CONNECTED, key, start(), key, key.replace('"1"', '"?"'))
    assert call.keys == [Dtmf(0, "1")]


@pytest.mark.parametrize(
    ("named", "encoding"),
    [("PCMU", "mulaw"), ("audio/x-mulaw", "mulaw"), ("PCMA", "alaw"), ("L16", "linear16"), ("audio/x-L16", "linear16")],
)
def test_both_spellings_of_a_codec_are_known(named: str, encoding: str) -> None:
    """Older accounts write MIME types."""
    spec = line().say(start(encoding=named, sample_rate="16000")).spec
    assert spec is not None
    assert spec.audio == AudioFormat(Encoding(encoding), 16000, 2)


@pytest.mark.parametrize("named", ["G722", "OPUS", "AMR-WB"])
def test_a_codec_we_lack_is_refused_with_the_setting_that_helps(named: str) -> None:
    """The reason is all that the user of the bridge gets to see."""
    close = line().say(start(encoding=named)).close
    assert close is not None
    assert close.code == 1008
    assert "set stream_codec to PCMU, PCMA or L16" in close.reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (start(sample_rate=11025), "unknown_sample_rate"),
        (start(channels=2), "bad_channels"),
        (media(PIECES[0], 1, 0), "audio_before_start"),
        (b"\x00", "bad_message"),
        ("hello", "bad_json"),
    ],
)
def test_what_cannot_be_served_is_refused(frame: str | bytes, reason: str) -> None:
    """Loud and at once, while somebody looks."""
    close = line().say(frame).close
    assert close is not None
    assert (close.code, close.reason.partition(":")[0]) == (1008, reason)


@pytest.mark.parametrize(("setting", "sent"), [("auto", Encoding.L16BE), ("auto", Encoding.L16), ("big", None)])
def test_the_byte_order_of_l16_is_found_out_or_set(setting: str, sent: Encoding | None) -> None:
    """RTP's order and the machine's are both seen."""
    samples = sine(300, 1600, 16000)
    frames = [
        media(encode(samples[at : at + 320], sent or Encoding.L16BE), 1 + at // 320, at // 16)
        for at in range(0, 1600, 320)
    ]
    call = line(setting).say(start(encoding="L16", sample_rate=16000), *frames, STOP)
    assert call.spec is not None
    assert call.samples(0) == encode(samples, call.spec.audio.encoding)


def test_custom_parameters_may_be_an_object() -> None:
    """The API's list becomes an object on some paths."""
    text = start().replace(
        '[{"name": "language", "value": "de-DE"}, {"name": "queue", "value": "support"}, 5]', '{"q": 7}'
    )
    spec = line().say(text).spec
    assert spec is not None
    assert spec.metadata["q"] == "7"


def test_trouble_closes_and_a_drain_lets_the_call_finish() -> None:
    """A stop of the server loses no words."""
    call = line().say(start(), *stream(1)).tell(Trouble(Ill.DRAINING, "draining"))
    assert (call.ended, call.close) == ("draining", None)
    assert call.finish().close == Close(1012, "draining")
    full = Line(TelnyxDialect(upgrade()), Trouble(Ill.OVERLOADED, "full", 5.0)).say(start(), *stream(1))
    assert full.close == Close(1013, "overloaded")


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    key = json.dumps({"event": "dtmf", "stream_id": STREAM, "dtmf": {"digit": "1"}})
    l16 = [media(PIECES[number] * 2, number + 1, 20 * number) for number in range(5)]
    fuzz(
        lambda: TelnyxDialect(upgrade()),
        [[CONNECTED, start(), *stream(), key, STOP], [start(encoding="L16"), *l16, STOP]],
    )
