"""A two-sided call in each wire format, and its text read back."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from trunkline import messages
from trunkline.framing import FRAMINGS, DeepgramFraming, NativeFraming, TwilioFraming
from trunkline.messages import Audio, Closed, Error, Final, Partial, SpeechStarted, UtteranceEnd, Word

AUDIO = Audio("mulaw", 8000, 2)
LABELS = ("customer", "agent")
CHUNK = bytes(range(256)) + bytes(64)


def result(*, channel: int = 1, text: str = "Good morning.", **flags: object) -> str:
    """A result as Deepgram's API has it."""
    words = [
        {
            "word": word.lower().strip("."),
            "start": 1.0 + place,
            "end": 1.5 + place,
            "confidence": 0.9,
            "punctuated_word": word,
        }
        for place, word in enumerate(text.split())
    ]
    alternative = {"transcript": text, "confidence": 0.9, "words": words, "languages": ["en"]}
    metadata = {"request_id": "r", "model_info": {"name": "base", "version": "1", "arch": "whisper"}, "model_uuid": "u"}
    body = {
        "type": "Results",
        "channel_index": [channel, 2],
        "start": 0.5,
        "duration": 2.0,
        "channel": {"alternatives": [alternative]},
        "metadata": metadata,
    }
    return json.dumps(body | flags)


def test_every_framing_can_be_named() -> None:
    """The command line offers these."""
    assert {name: type(make(AUDIO, LABELS, None)) for name, make in FRAMINGS.items()} == {
        "native": NativeFraming,
        "deepgram": DeepgramFraming,
        "twilio": TwilioFraming,
    }


def test_native_audio_goes_as_it_is() -> None:
    """The native protocol takes interleaved samples."""
    framing = NativeFraming(AUDIO, LABELS, "k")

    assert framing.url("http://host:1/prefix/") == "ws://host:1/prefix/v1/stream"
    assert framing.headers() == {"Authorization": "Bearer k"}
    assert [messages.parse_client(text) for text in framing.opening()] == [messages.Start(AUDIO, labels=LABELS)]
    assert framing.wrap(CHUNK) == [CHUNK]
    assert [messages.parse_client(text) for text in framing.closing()] == [messages.Close()]
    assert framing.read(b'{"type": "ack", "audio_s": 1}') == [messages.Ack(1.0)]
    assert framing.read('{"type": "weather"}') == []


def test_deepgram_says_in_the_address_what_comes() -> None:
    """That protocol has no start message."""
    framing = DeepgramFraming(AUDIO, LABELS, "k")
    address = urlsplit(framing.url("ws://host:1"))

    assert address.path == "/v1/listen"
    assert parse_qs(address.query) == {
        "encoding": ["mulaw"],
        "sample_rate": ["8000"],
        "channels": ["2"],
        "multichannel": ["true"],
        "interim_results": ["true"],
        "vad_events": ["true"],
    }
    assert framing.headers() == {"Authorization": "Token k"}
    assert framing.opening() == []
    assert framing.wrap(CHUNK) == [CHUNK]
    assert framing.closing() == ['{"type":"CloseStream"}']


def test_deepgram_results_become_partials_and_finals() -> None:
    """Latency is counted on one kind of event, whatever the wire format."""
    framing = DeepgramFraming(AUDIO, LABELS)
    first, second, third, fourth = (
        event
        for frame in (
            result(text="Good"),
            result(),
            result(is_final=True, speech_final=True),
            result(is_final=True, speech_final=False),
        )
        for event in framing.read(frame)
    )

    assert isinstance(first, Partial)
    assert (first.channel, first.label, first.number, first.revision, first.text) == (1, "agent", 0, 0, "Good")
    assert (first.start, first.end) == (0.5, 2.5)
    assert isinstance(second, Partial)
    assert second.revision == 1
    assert isinstance(third, Final)
    assert third.words == (Word("Good", 1.0, 1.5, 0.9), Word("morning.", 2.0, 2.5, 0.9))
    assert (third.number, third.start, third.end, third.speech_end) == (0, 1.0, 2.5, 2.5)
    assert (third.language, third.model, third.reason, third.confidence) == ("en", "base", "endpoint", 0.9)
    assert isinstance(fourth, Final)
    assert (fourth.number, fourth.reason) == (1, "cut")


def test_deepgram_finals_on_request_say_so() -> None:
    """They are left out of end-of-speech latency."""
    [event] = DeepgramFraming(AUDIO, ()).read(result(is_final=True, speech_final=True, from_finalize=True))

    assert isinstance(event, Final)
    assert (event.reason, event.label) == ("finalize", "channel 1")


def test_deepgram_results_without_words_say_nothing() -> None:
    """Silence is confirmed with empty results; nobody waits for those."""
    assert DeepgramFraming(AUDIO, LABELS).read(result(text="", is_final=True)) == []


def test_deepgram_events_have_native_names() -> None:
    """The screen and the timing know one language."""
    framing = DeepgramFraming(AUDIO, LABELS)

    assert framing.read('{"type":"SpeechStarted","channel":[0,2],"timestamp":1.5}') == [
        SpeechStarted(0, "customer", 1.5)
    ]
    assert framing.read('{"type":"UtteranceEnd","channel":[1,2],"last_word_end":2}') == [UtteranceEnd(1, "agent", 2.0)]
    assert framing.read('{"type":"Metadata","request_id":"r","duration":9}') == [Closed("r", "hangup", 9.0, 0.0, 0)]
    assert framing.read('{"type":"Error","variant":"SchemaError","description":"d"}') == [
        Error("SchemaError", "d", fatal=False)
    ]
    assert framing.read('{"type":"Weather"}') == []


def test_deepgram_results_for_no_channel_are_refused() -> None:
    """Words on the wrong side of a call are worse than none."""
    with pytest.raises(ValueError, match="channel_index"):
        DeepgramFraming(AUDIO, LABELS).read(result(channel_index=[]))


def test_deepgram_takes_no_big_endian_samples() -> None:
    """That API has no name for them; sending them anyway would be noise."""
    with pytest.raises(ValueError, match="big-endian"):
        DeepgramFraming(Audio("linear16be", 8000), ())


def test_twilio_sends_each_side_as_a_track() -> None:
    """Byte for byte what Twilio's own streams look like, numbers as strings and all."""
    framing = TwilioFraming(AUDIO, LABELS)
    connected, start = map(json.loads, framing.opening())
    framing.wrap(CHUNK)
    inbound, outbound = (json.loads(frame) for frame in framing.wrap(CHUNK))
    [stop] = map(json.loads, framing.closing())

    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start["start"]["tracks"] == ["inbound", "outbound"]
    assert start["start"]["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    assert start["start"]["customParameters"] == {"call": framing.watched, "labels": "customer,agent"}
    assert start["start"]["callSid"] == framing.watched
    assert (start["sequenceNumber"], stop["sequenceNumber"]) == ("1", "6")
    assert (inbound["media"]["track"], outbound["media"]["track"]) == ("inbound", "outbound")
    assert inbound["media"]["timestamp"] == outbound["media"]["timestamp"] == "20"
    assert inbound["media"]["chunk"] == "2"
    assert base64.b64decode(inbound["media"]["payload"]) == CHUNK[0::2]
    assert base64.b64decode(outbound["media"]["payload"]) == CHUNK[1::2]
    assert stop["event"] == "stop"
    assert {message["streamSid"] for message in (start, inbound, outbound, stop)} == {start["start"]["streamSid"]}


def test_twilio_shows_its_key_in_the_path() -> None:
    """Twilio drops queries and sends no headers of ours."""
    framing = TwilioFraming(AUDIO, LABELS, "k/y")

    assert framing.url("ws://host:1") == "ws://host:1/bridges/twilio/k%2Fy"
    assert framing.headers() == {}
    assert framing.read("{}") == []


def test_twilio_takes_only_what_twilio_sends() -> None:
    """The user is told how to convert the recording."""
    with pytest.raises(ValueError, match="sox"):
        TwilioFraming(Audio("linear16", 8000, 2), LABELS)


def test_two_twilio_calls_are_two_calls() -> None:
    """A load test of one call id would be refused as a duplicate."""
    assert TwilioFraming(AUDIO, LABELS).watched != TwilioFraming(AUDIO, LABELS).watched
