"""Twilio's media streams as a translator."""

from __future__ import annotations

import base64
import json

import pytest
from pydantic import SecretStr

from server.auth import Keyring
from server.bridges.twilio import TwilioDialect, routes, signature
from server.dialect import Acked, Action, Audio, Close, Dtmf, End, Ill, Trouble
from server.errors import BadSetting
from server.settings import Twilio
from streaming.call import AudioFormat, Encoding
from streaming.records import CallClosed
from tests.support.dialects import UPGRADE, admit, close_of, spec_of
from tests.support.twilio_signature import signed

TOKEN = "12345678901234567890123456789012"  # noqa: S105 - the reference's test vector
URL = "wss://stt.example.com/v1/bridges/twilio"
START: dict[str, object] = {
    "event": "start",
    "sequenceNumber": "1",
    "streamSid": "MZ1",
    "start": {
        "accountSid": "AC1",
        "callSid": "CA1",
        "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"tenant": "acme"},
    },
}
CLOSED = CallClosed(0, "MZ1", "hangup", 1.0, 0.0)


def live(message: dict[str, object] = START) -> TwilioDialect:
    dialect = TwilioDialect(UPGRADE)
    assert dialect.receive('{"event":"connected","protocol":"Call","version":"1.0.0"}', 0.0) == []
    assert admit(dialect, dialect.receive(json.dumps(message), 0.0)) == []
    return dialect


def media(samples: bytes, timestamp: object = None, track: str | None = "inbound") -> str:
    body: dict[str, object] = {"payload": base64.b64encode(samples).decode()}
    if track is not None:
        body["track"] = track
    if timestamp is not None:
        body["timestamp"] = timestamp
    return json.dumps({"event": "media", "streamSid": "MZ1", "media": body})


def positions(actions: list[Action]) -> list[tuple[int, int]]:
    return [(action.channel, action.position) for action in actions if isinstance(action, Audio)]


def test_a_start_becomes_a_call_named_after_its_stream() -> None:
    spec = spec_of(TwilioDialect(UPGRADE).receive(json.dumps(START), 0.0))
    assert (spec.call, spec.labels) == ("MZ1", ("inbound", "outbound"))
    assert spec.audio == AudioFormat(Encoding.MULAW, 8000, 2)
    assert spec.metadata == {
        "tenant": "acme",
        "twilio.stream_sid": "MZ1",
        "twilio.call_sid": "CA1",
        "twilio.account_sid": "AC1",
    }


def test_well_named_parameters_are_wishes_of_the_call() -> None:
    wishes = {
        "call": "call-7",
        "labels": "customer,agent",
        "language": "de-DE",
        "hotwords": "Trunkline, SLA",
        "model": "base",
        "endpoint_ms": "250",
        "utterance_end_ms": "soon",
    }
    spec = spec_of(TwilioDialect(UPGRADE).receive(json.dumps({**START, "start": {"customParameters": wishes}}), 0.0))
    assert (spec.call, spec.labels, spec.language) == ("call-7", ("customer", "agent"), "de")
    assert (spec.hotwords, spec.model) == (("Trunkline", "SLA"), "base")
    assert (spec.endpoint_ms, spec.utterance_end_ms) == (250, None)


def test_an_imitation_that_leaves_everything_out_is_served() -> None:
    """Emitters that only look like Twilio omit what they do not have."""
    dialect = live({"event": "start"})
    actions = [
        *dialect.receive(media(b"\xff" * 160, track=None), 0.0),
        *dialect.receive(media(b"\xff" * 160, track=None), 0.0),
        *dialect.receive(media(b"\xff" * 80, track="outbound"), 0.0),
        *dialect.receive(media(b"", track="outbound"), 0.0),
        *dialect.receive(media(b"\xff", track="conference"), 0.0),
    ]
    assert positions(actions) == [(0, 0), (0, 160), (1, 0)]
    assert spec_of(TwilioDialect(UPGRADE).receive('{"event":"start"}', 0.0)).call == "request-1"


def test_timestamps_are_the_clock_but_their_rounding_makes_no_gap() -> None:
    """A timestamp is a whole millisecond; only what is off by more than a message is lost audio."""
    dialect = live()
    actions = [
        *dialect.receive(media(b"\xff" * 160, "5"), 0.0),
        *dialect.receive(media(b"\xff" * 160, 26), 0.0),
        *dialect.receive(media(b"\xff" * 160, "40"), 0.0),
        *dialect.receive(media(b"\xff" * 160, "500"), 0.0),
        *dialect.receive(media(b"\xff" * 160, "0"), 0.0),
    ]
    assert positions(actions) == [(0, 40), (0, 200), (0, 360), (0, 4000), (0, 0)]


def test_keys_that_are_pressed_are_passed_on() -> None:
    dialect = live()
    assert dialect.receive('{"event":"dtmf","dtmf":{"track":"inbound_track","digit":"#"}}', 0.0) == [Dtmf(0, "#")]
    assert dialect.receive('{"event":"dtmf","dtmf":{"digit":"##"}}', 0.0) == []
    assert TwilioDialect(UPGRADE).receive('{"event":"dtmf","dtmf":{"digit":"1"}}', 0.0) == []


def test_stop_ends_the_call_and_nothing_is_ever_sent() -> None:
    dialect = live()
    assert dialect.deliver(Acked(1.0), 0.0) == []
    assert dialect.receive('{"event":"mark","mark":{"name":"utt-1"}}', 0.0) == []
    assert dialect.receive('{"event":"stop"}', 0.0) == [End("hangup")]
    assert dialect.receive(media(b"\xff"), 0.0) == []
    assert dialect.deliver(CLOSED, 0.0) == [Close(1000)]
    assert TwilioDialect(UPGRADE).receive('{"event":"stop"}', 0.0) == [Close(1000)]
    assert live().hung_up() == [End("disconnected")]


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b"\0"], "bad_message"),
        (["{"], "bad_json"),
        (["[]"], "bad_json"),
        ([media(b"\xff")], "audio_before_start"),
        ([json.dumps({"event": "start", "start": {"mediaFormat": {"encoding": "opus"}}})], "unknown_encoding"),
        ([json.dumps({"event": "start", "start": {"mediaFormat": {"sampleRate": "8001"}}})], "unknown_sample_rate"),
        ([json.dumps({"event": "start", "start": {"mediaFormat": {"sampleRate": "x"}}})], "unknown_sample_rate"),
        ([json.dumps({"event": "start", "start": {"customParameters": {"call": "a b"}}})], "bad_option"),
    ],
)
def test_a_stream_that_cannot_be_understood_is_closed_with_the_reason(frames: list[str | bytes], reason: str) -> None:
    """The protocol has no error message: the close is the only place to say it."""
    dialect = TwilioDialect(UPGRADE)
    actions = [action for frame in frames for action in dialect.receive(frame, 0.0)]
    close = close_of(actions)
    assert close is not None
    assert (close.code, close.reason.partition(":")[0]) == (1008, reason)
    assert dialect.receive(json.dumps(START), 0.0) == []


@pytest.mark.parametrize("payload", ["no base64!", 7, "AAA="])
def test_bad_payloads_are_refused(payload: object) -> None:
    dialect = live({"event": "start", "start": {"mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 8000}}})
    odd = payload if payload != "AAA=" else base64.b64encode(b"abc").decode()
    close = close_of(dialect.receive(json.dumps({"event": "media", "media": {"payload": odd}}), 0.0))
    assert close is not None
    assert close.reason.startswith("bad_audio")


def test_a_stop_of_the_server_ends_the_call_first_and_then_the_connection() -> None:
    dialect = live()
    assert dialect.deliver(Trouble(Ill.DRAINING, "why"), 0.0) == [End("draining")]
    assert dialect.deliver(CLOSED, 0.0) == [Close(1012, "draining")]
    assert TwilioDialect(UPGRADE).deliver(Trouble(Ill.DRAINING, "why"), 0.0) == [Close(1012, "draining")]
    assert live().deliver(Trouble(Ill.OVERLOADED, "why"), 0.0) == [Close(1013, "overloaded")]


def test_signatures_are_those_of_twilios_own_package() -> None:
    assert signature(TOKEN, URL) == "RME30u+MMr96Jx2z02E/241okKQ="
    assert signature(TOKEN, URL.replace("wss:", "https:")) != "RME30u+MMr96Jx2z02E/241okKQ="
    for algorithm in ("HMAC_SHA1", "HMAC_SHA256"):
        assert signature(TOKEN, URL, algorithm) == signed(TOKEN, URL, algorithm)


def test_an_auth_token_without_the_public_address_is_refused_at_start() -> None:
    """What Twilio signs cannot be guessed behind a proxy."""
    with pytest.raises(BadSetting, match=r"twilio\.public_url"):
        routes(Keyring({}), Twilio(auth_token=SecretStr(TOKEN)), 300.0)
