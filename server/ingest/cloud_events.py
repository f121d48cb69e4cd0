"""Records of a topic of call audio, read as events of calls: CloudEvents 1.0, in binary and in structured mode. Pure.

In binary mode the value is the audio and the headers begin with ``ce_``; in structured mode the value is one JSON
object with the audio in ``data_base64``. The key is the call's id. ``docs/ingest.md`` has the contract.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Final

from server.json_frames import Fields, integer, json_object, objects, section, string, texts
from streaming.call import AudioFormat, Encoding
from streaming.errors import BadMessage
from streaming.records import ALL_CHANNELS

_ENCODINGS: Final = {"pcmu": Encoding.MULAW, "pcma": Encoding.ALAW, "l16": Encoding.L16BE}
_PCM: Final = {"s16le": Encoding.L16, "s16be": Encoding.L16BE}
_KEYS: Final = frozenset("0123456789*#ABCD")
_LATEST: Final = 1 << 50
"""No sequence and no time says more: positions must stay within 64 bits."""


@dataclass(frozen=True, slots=True)
class Started:
    """A call begins; all of it is optional."""

    call: str
    labels: tuple[str, ...] = ()
    language: str | None = None
    hotwords: tuple[str, ...] = ()
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Chunk:
    """Audio of a call."""

    call: str
    sequence: int | None
    """0 and up over all records of the call; None where its producer does not count."""
    channel: int
    """0 and up, or ``ALL_CHANNELS``."""
    offset_ms: int | None
    """Media time of the first sample, from the call's start; None where its producer does not say."""
    audio: AudioFormat
    payload: bytes


@dataclass(frozen=True, slots=True)
class Pressed:
    """A key was pressed."""

    call: str
    sequence: int | None
    channel: int
    digit: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes of a call."""

    call: str
    reason: str


Event = Started | Chunk | Pressed | Ended


def read(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...], bare: AudioFormat | None
) -> Event:
    """Read a record.

    Args:
        key: The call's id.
        value: Of the record; None ends the call.
        headers: Of the record.
        bare: What the audio of records without any header is; None if there are no such producers.

    Raises:
        BadMessage: If it is no event of a call; the message never holds what was in it.
    """
    call = _text(key or b"")
    fields = {name.lower(): _text(held) for name, held in headers}
    attributes: Fields = {name.removeprefix("ce_"): held for name, held in fields.items() if name.startswith("ce_")}
    content_type = fields.get("content-type", "")
    if value is None:
        return Ended(_call_of(call, attributes), "ended")
    if attributes:
        return _event(_call_of(call, attributes), attributes, content_type, value)
    if "json" in content_type or (bare is None and value[:1] == b"{"):
        return _structured(call, value)
    if bare is None:
        raise BadMessage("no_event", "a record without CloudEvents headers, not JSON, and ingest.encoding is not set")
    return Chunk(_call_of(call, {}), None, _whole(bare), None, bare, value)


def _structured(call: str, value: bytes) -> Event:
    attributes = _json(value)
    held = attributes.get("data_base64")
    try:
        payload = binascii.a2b_base64(held, strict_mode=True) if isinstance(held, str) else b""
    except (binascii.Error, ValueError) as problem:
        raise BadMessage("bad_audio", "data_base64 is not base64") from problem
    data = attributes.get("data")
    if not isinstance(held, str) and data is not None:
        payload = json.dumps(data).encode()
    return _event(_call_of(call, attributes), attributes, string(attributes, "datacontenttype") or "", payload)


def _event(call: str, attributes: Fields, content_type: str, value: bytes) -> Event:
    kind = (string(attributes, "type") or "").removesuffix(".v1")
    match kind:
        case "call.started":
            return _started(call, _json(value))
        case "call.audio.chunk":
            return _chunk(call, attributes, content_type, value)
        case "call.dtmf":
            data = _json(value)
            digit = string(data, "digit") or ""
            if digit not in _KEYS or len(digit) != 1:
                raise BadMessage("bad_digit", "a dtmf event's data has a digit: one of 0-9, *, #, A-D")
            return Pressed(call, _number(attributes, "sequence"), _number(attributes, "channel") or 0, digit)
        case "call.ended":
            return Ended(call, string(_json(value), "reason") or "ended")
        case _:
            raise BadMessage(
                "unknown_type", "ce_type is none of call.started.v1, call.audio.chunk.v1, call.dtmf.v1, call.ended.v1"
            )


def _started(call: str, data: Fields) -> Started:
    channels = sorted(objects(data, "channels"), key=lambda each: integer(each.get("index")) or 0)
    labels = tuple(
        string(each, "label") or string(each, "role") or f"channel {number}" for number, each in enumerate(channels)
    )
    known = ("from", "to", "direction", "start_time")
    metadata = {name: str(data[name]) for name in known if isinstance(data.get(name), str | int | float)}
    metadata |= {str(name): str(held) for name, held in section(data, "metadata").items()}
    return Started(
        call, labels, string(data, "language"), tuple(texts(data, "hotwords")), string(data, "model"), metadata
    )


def _chunk(call: str, attributes: Fields, content_type: str, value: bytes) -> Chunk:
    channel = _number(attributes, "channel")
    audio = format_of(content_type, _number(attributes, "channels") if channel is not None else None)
    wide = audio.channels if channel is None else 1
    if len(value) % (audio.encoding.sample_bytes * wide):
        raise BadMessage("bad_audio", "a chunk does not hold whole samples of all its channels")
    if channel is not None and channel >= audio.channels:
        raise BadMessage("bad_audio", "ce_channel is not below ce_channels, which says how many sides the call has")
    which = _whole(audio) if channel is None else channel
    return Chunk(call, _number(attributes, "sequence"), which, _number(attributes, "offsetms"), audio, value)


def format_of(content_type: str, tracks: int | None) -> AudioFormat:
    """Read a MIME type such as ``audio/PCMU;rate=8000;channels=2``.

    Args:
        content_type: As the record has it.
        tracks: How many channels the call has, where each comes by itself.

    Raises:
        BadMessage: If the format is not known, or not one that can be served.
    """
    mime = Message()
    mime["content-type"] = content_type
    main, _, kind = mime.get_content_type().partition("/")
    parameters = {name.lower(): held for name, held in mime.get_params(failobj=[])[1:]}
    encoding = _PCM.get(parameters.get("encoding", "")) if kind == "pcm" else _ENCODINGS.get(kind)
    if main != "audio" or encoding is None:
        raise BadMessage(
            "unknown_encoding", "content-type is none of audio/PCMU, audio/PCMA, audio/L16, audio/pcm;encoding=s16le"
        )
    rate = integer(parameters.get("rate")) or (8000 if kind in ("pcmu", "pcma") else 0)
    channels = tracks or integer(parameters.get("channels")) or 1
    try:
        return AudioFormat(encoding, rate, channels)
    except ValueError as problem:
        raise BadMessage("bad_format", str(problem)) from problem


def _whole(audio: AudioFormat) -> int:
    return ALL_CHANNELS if audio.channels > 1 else 0


def _call_of(key: str, attributes: Fields) -> str:
    call = key or string(attributes, "partitionkey") or string(attributes, "subject")
    if not call:
        raise BadMessage("no_call", "the record has no key; the key is the call's id")
    return call


def _number(attributes: Fields, name: str) -> int | None:
    held = attributes.get(name)
    number = integer(held)
    if held is not None and (number is None or not 0 <= number <= _LATEST):
        raise BadMessage("bad_attribute", f"{name} is not a number from 0 up")
    return number


def _json(value: bytes) -> Fields:
    body = json_object(_text(value or b"{}"))
    if body is None:
        raise BadMessage("bad_json", "the event's data is not a JSON object")
    return body


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as problem:
        raise BadMessage("bad_text", "keys, headers and JSON are UTF-8") from problem
