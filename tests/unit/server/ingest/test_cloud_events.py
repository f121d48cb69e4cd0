"""Records of a topic of call audio, read."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest

from server.ingest.cloud_events import Chunk, Ended, Event, Pressed, Started, read
from streaming.call import AudioFormat, Encoding
from streaming.errors import BadMessage
from streaming.records import ALL_CHANNELS
from tests.support.dice import dice

PCMU = "audio/PCMU;rate=8000"


def binary(kind: str, value: bytes | None = b"\xff" * 80, content_type: str = PCMU, **attributes: str) -> Event:
    named = {"specversion": "1.0", "id": "1", "source": "/pbx", "type": kind, **attributes}
    headers = [(f"ce_{name}", held.encode()) for name, held in named.items()]
    return read(b"call-1", value, (*headers, ("content-type", content_type.encode())), None)


def structured(**attributes: object) -> Event:
    headers = (("content-type", b"application/cloudevents+json"),)
    return read(b"call-1", json.dumps({"specversion": "1.0", **attributes}).encode(), headers, None)


MULAW = AudioFormat(Encoding.MULAW, 8000)


def test_a_chunk_says_where_it_belongs_and_what_it_is() -> None:
    """Every record carries its codec, so that a reader can join in the middle of a call."""
    chunk = binary("call.audio.chunk.v1", sequence="0000000042", offsetms="840")
    assert chunk == Chunk("call-1", 42, 0, 840, MULAW, b"\xff" * 80)


def test_sides_come_one_by_one_or_interleaved() -> None:
    """Both are common."""
    alone = binary("call.audio.chunk.v1", channel="1", channels="2")
    assert isinstance(alone, Chunk)
    assert (alone.channel, alone.audio.channels) == (1, 2)
    woven = binary("call.audio.chunk.v1", content_type="audio/PCMU;rate=8000;channels=2")
    assert isinstance(woven, Chunk)
    assert (woven.channel, woven.audio.channels) == (ALL_CHANNELS, 2)


@pytest.mark.parametrize(
    ("content_type", "encoding", "rate"),
    [
        ("audio/PCMU", Encoding.MULAW, 8000),
        ("audio/pcma;rate=8000", Encoding.ALAW, 8000),
        ("audio/L16;rate=16000", Encoding.L16BE, 16000),
        ("audio/pcm; rate=16000; encoding=s16le", Encoding.L16, 16000),
        ('audio/pcm;rate="24000";encoding=s16be', Encoding.L16BE, 24000),
    ],
)
def test_mime_types_of_telephony_are_understood(content_type: str, encoding: Encoding, rate: int) -> None:
    """MIME's audio/L16 is big-endian, whatever people think."""
    chunk = binary("call.audio.chunk.v1", content_type=content_type)
    assert isinstance(chunk, Chunk)
    assert (chunk.audio.encoding, chunk.audio.rate) == (encoding, rate)


def test_a_call_begins_with_what_is_known_of_it() -> None:
    """Labels in the order of the channels; the numbers of the parties are kept as metadata."""
    data = {
        "from": "+4930123",
        "direction": "inbound",
        "channels": [{"index": 1, "role": "agent"}, {"index": 0, "label": "customer"}],
        "language": "de",
    }
    start = binary("call.started.v1", json.dumps(data).encode(), "application/json")
    assert isinstance(start, Started)
    assert (start.labels, start.language) == (("customer", "agent"), "de")
    assert start.metadata == {"from": "+4930123", "direction": "inbound"}


def test_a_call_ends_by_its_event_or_by_a_tombstone() -> None:
    """A record without a value is Kafka's own way to say that a key is over."""
    assert binary("call.ended.v1", b'{"reason": "hangup"}', "application/json") == Ended("call-1", "hangup")
    assert binary("call.ended.v1", b"", "application/json") == Ended("call-1", "ended")
    assert read(b"call-1", None, (), None) == Ended("call-1", "ended")


def test_keys_are_read() -> None:
    """As they were pressed, on which side."""
    pressed = binary("call.dtmf.v1", b'{"digit": "#"}', "application/json", channel="1", sequence="7")
    assert pressed == Pressed("call-1", 7, 1, "#")


def test_json_with_base64_says_the_same() -> None:
    """For producers that cannot write headers."""
    audio = base64.b64encode(b"\xff" * 80).decode()
    told = {"type": "call.audio.chunk.v1", "datacontenttype": PCMU, "sequence": 42, "offsetms": 840}
    chunk = Chunk("call-1", 42, 0, 840, MULAW, b"\xff" * 80)
    assert structured(**told, data_base64=audio) == chunk
    assert read(None, json.dumps({**told, "data_base64": audio, "subject": "call-1"}).encode(), (), None) == chunk
    assert structured(type="call.ended.v1", data={"reason": "hangup"}) == Ended("call-1", "hangup")


def test_bare_audio_is_what_the_settings_say() -> None:
    """Nothing but samples and a key."""
    assert read(b"call-1", b"{\xff", (), MULAW) == Chunk("call-1", None, 0, None, MULAW, b"{\xff")


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("unknown_type", lambda: binary("call.paused.v1")),
        ("unknown_encoding", lambda: binary("call.audio.chunk.v1", content_type="audio/opus")),
        ("unknown_encoding", lambda: binary("call.audio.chunk.v1", content_type="text/plain")),
        ("bad_format", lambda: binary("call.audio.chunk.v1", content_type="audio/L16;rate=12345")),
        ("bad_audio", lambda: binary("call.audio.chunk.v1", b"\0" * 3, "audio/L16;rate=8000")),
        ("bad_audio", lambda: binary("call.audio.chunk.v1", channel="2", channels="2")),
        ("bad_attribute", lambda: binary("call.audio.chunk.v1", sequence="-1")),
        ("bad_attribute", lambda: binary("call.audio.chunk.v1", offsetms="soon")),
        ("bad_digit", lambda: binary("call.dtmf.v1", b'{"digit": "12"}')),
        ("bad_json", lambda: binary("call.started.v1", b"[")),
        ("bad_audio", lambda: structured(type="call.audio.chunk.v1", datacontenttype=PCMU, data_base64="*")),
        ("no_event", lambda: read(b"call-1", b"\xff\xff", (), None)),
        ("no_call", lambda: read(None, b"\xff", (), MULAW)),
        ("bad_text", lambda: read(b"\xff", b"\xff", (), MULAW)),
    ],
)
def test_what_is_no_event_is_refused_by_a_code_and_not_quoted(code: str, bad: object) -> None:
    """A poison record costs itself and nothing else; what is in it may be what somebody said."""
    assert callable(bad)
    with pytest.raises(BadMessage) as refused:
        bad()
    assert refused.value.code == code


def test_ten_thousand_broken_records_are_read_or_refused() -> None:
    """Whoever may write the topic must not be able to stop its readers."""
    chance = dice()
    audio = base64.b64encode(b"\xff" * 8).decode()
    body = {"type": "call.audio.chunk.v1", "datacontenttype": PCMU, "sequence": 4, "data_base64": audio}
    good = json.dumps(body).encode()
    for _ in range(10_000):
        value = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            value[chance.randrange(len(value))] = chance.randrange(256)
        header = ("content-type", bytes(chance.choice((b"application/json", b"audio/PCMU", b"\xff", b""))))
        with contextlib.suppress(BadMessage):
            read(chance.choice((b"a", None)), bytes(value), (header,), chance.choice((MULAW, None)))
