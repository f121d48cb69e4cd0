"""A two-sided call in the wire formats that servers take: how it is sent, and how its text is read back.

Whatever the format, what comes back is told in the messages of the native protocol.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final as Constant
from typing import Protocol
from urllib.parse import quote, urlencode

from trunkline import messages
from trunkline.link import address, authorization
from trunkline.messages import (
    Audio,
    Closed,
    Error,
    Final,
    Partial,
    ServerMessage,
    SpeechStarted,
    Start,
    UtteranceEnd,
    Word,
)
from trunkline.wire import Fields, read_object

TRACKS: Constant = ("inbound", "outbound")
"""Twilio's names for the sides of a call: the customer, the agent."""


class Framing(Protocol):
    """One call in one wire format."""

    @property
    def watched(self) -> str | None:
        """Id of the call to watch for its text, or None where the text comes back on the same connection."""
        ...

    @property
    def greets(self) -> bool:
        """Whether the server says ``ready`` before audio may come."""
        ...

    def url(self, server: str) -> str:
        """Return where to connect to."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Return what to show there."""
        ...

    def opening(self) -> Sequence[str]:
        """Return what is sent before audio."""
        ...

    def wrap(self, chunk: bytes) -> Sequence[str | bytes]:
        """Return a chunk of audio, channels interleaved, as frames to be sent."""
        ...

    def closing(self) -> Sequence[str]:
        """Return what is sent after audio."""
        ...

    def read(self, frame: str | bytes) -> Sequence[ServerMessage]:
        """Return what a frame of the server says.

        Raises:
            ValueError: If it cannot be understood.
        """
        ...


class NativeFraming:
    """The native protocol.

    Args:
        audio: What is sent.
        labels: Names of the sides.
        key: API key.
    """

    watched: str | None = None
    greets: bool = True

    def __init__(self, audio: Audio, labels: Sequence[str], key: str | None = None) -> None:
        self._start = Start(audio, labels=tuple(labels))
        self._key = key

    def url(self, server: str) -> str:
        """Return where to connect to."""
        return address(server, "/v1/stream")

    def headers(self) -> Mapping[str, str]:
        """Return what to show there."""
        return authorization(self._key)

    def opening(self) -> Sequence[str]:
        """Return ``start``."""
        return [messages.dump(self._start)]

    def wrap(self, chunk: bytes) -> Sequence[str | bytes]:
        """Return the chunk as it is."""
        return [chunk]

    def closing(self) -> Sequence[str]:
        """Return ``close``."""
        return [messages.dump(messages.Close())]

    def read(self, frame: str | bytes) -> Sequence[ServerMessage]:
        """Return what a frame of the server says."""
        event = messages.parse(frame if isinstance(frame, str) else frame.decode("utf-8", "replace"))
        return [] if event is None else [event]


class DeepgramFraming:
    """Deepgram's live API, one result stream per channel.

    Args:
        audio: What is sent.
        labels: Names of the sides, for what is read back.
        key: API key.
    """

    watched: str | None = None
    greets: bool = False

    def __init__(self, audio: Audio, labels: Sequence[str], key: str | None = None) -> None:
        if audio.encoding == "linear16be":
            raise ValueError("Deepgram's API takes no big-endian samples; use linear16, mulaw or alaw")
        self._audio = audio
        self._labels = tuple(labels)
        self._key = key
        self._finals: defaultdict[int, int] = defaultdict(int)
        self._revisions: defaultdict[int, int] = defaultdict(int)

    def url(self, server: str) -> str:
        """Return where to connect to; the query says what is sent and what is wanted."""
        query = {
            "encoding": self._audio.encoding,
            "sample_rate": self._audio.sample_rate,
            "channels": self._audio.channels,
            "multichannel": "true",
            "interim_results": "true",
            "vad_events": "true",
        }
        return f"{address(server, '/v1/listen').partition('?')[0]}?{urlencode(query)}"

    def headers(self) -> Mapping[str, str]:
        """Return what to show there."""
        return authorization(self._key, "Token")

    def opening(self) -> Sequence[str]:
        """Return nothing: the query has said it all."""
        return []

    def wrap(self, chunk: bytes) -> Sequence[str | bytes]:
        """Return the chunk as it is."""
        return [chunk]

    def closing(self) -> Sequence[str]:
        """Return ``CloseStream``."""
        return ['{"type":"CloseStream"}']

    def read(self, frame: str | bytes) -> Sequence[ServerMessage]:
        """Return what a frame of the server says; results without words say nothing."""
        fields = read_object(frame)
        match fields.maybe_text("type"):
            case "Results":
                return self._results(fields)
            case "SpeechStarted":
                channel = _first(fields, "channel")
                return [SpeechStarted(channel, self._label(channel), fields.number("timestamp"))]
            case "UtteranceEnd":
                channel = _first(fields, "channel")
                return [UtteranceEnd(channel, self._label(channel), fields.number("last_word_end"))]
            case "Metadata":
                call, heard_s = fields.text("request_id"), fields.number("duration")
                return [Closed(call, "hangup", heard_s, 0.0, sum(self._finals.values()))]
            case "Error":
                return [Error(fields.maybe_text("variant") or "error", fields.text("description"), fatal=False)]
            case _:
                return []

    def _results(self, fields: Fields) -> Sequence[ServerMessage]:
        channel = _first(fields, "channel_index")
        best = fields.section("channel").sections("alternatives")[:1]
        words = tuple(_deepgram_word(word) for given in best for word in given.sections("words"))
        if not words:
            return []
        model = fields.section("metadata").section("model_info").maybe_text("name") or ""
        language = next(iter(best[0].texts("languages")), "")
        text, number = best[0].text("transcript"), self._finals[channel]
        if not fields.flag("is_final", default=False):
            self._revisions[channel] += 1
            return [
                Partial(
                    channel=channel,
                    label=self._label(channel),
                    number=number,
                    revision=self._revisions[channel] - 1,
                    start=fields.number("start"),
                    end=fields.number("start") + fields.number("duration"),
                    text=text,
                    stable=0,
                    words=words,
                    language=language,
                    model=model,
                )
            ]
        self._finals[channel] += 1
        self._revisions[channel] = 0
        return [
            Final(
                channel=channel,
                label=self._label(channel),
                number=number,
                start=words[0].start,
                end=words[-1].end,
                text=text,
                words=words,
                confidence=best[0].number("confidence"),
                language=language,
                model=model,
                reason=_reason(fields),
                speech_end=words[-1].end,  # the nearest that this protocol says
                latency_s=0.0,
            )
        ]

    def _label(self, channel: int) -> str:
        return self._labels[channel] if channel < len(self._labels) else f"channel {channel}"


class TwilioFraming:
    """Twilio Media Streams with both tracks; the text is read by watching the call.

    Args:
        audio: What is sent: mu-law, 8 kHz, two channels, as Twilio does.
        labels: Names of the sides.
        key: API key; Twilio can show it in the address's path only.

    Raises:
        ValueError: If the audio is of another kind.
    """

    greets: bool = False

    def __init__(self, audio: Audio, labels: Sequence[str], key: str | None = None) -> None:
        if audio != Audio("mulaw", 8000, len(TRACKS)):
            raise ValueError(
                f"Twilio sends mu-law at 8000 Hz with two sides, not {audio.encoding} at {audio.sample_rate} Hz with "
                f"{audio.channels}; convert with: sox IN.wav -r 8000 -c 2 -e mu-law OUT.wav"
            )
        self.watched: str | None = f"CA{uuid.uuid4().hex}"
        self._stream = f"MZ{uuid.uuid4().hex}"
        self._labels = tuple(labels)
        self._key = key
        self._sequence = 0
        self._chunks = 0
        self._sent_bytes = 0

    def url(self, server: str) -> str:
        """Return where to connect to."""
        path = "/bridges/twilio" if self._key is None else f"/bridges/twilio/{quote(self._key, safe='')}"
        return address(server, path).partition("?")[0]

    def headers(self) -> Mapping[str, str]:
        """Return nothing: Twilio shows no key in headers."""
        return {}

    def opening(self) -> Sequence[str]:
        """Return ``connected`` and ``start``."""
        account = f"AC{'0' * 32}"
        start = {
            "streamSid": self._stream,
            "accountSid": account,
            "callSid": self.watched,
            "tracks": list(TRACKS),
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"call": self.watched, "labels": ",".join(self._labels)},
        }
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return [json.dumps(connected), self._numbered("start", start)]

    def wrap(self, chunk: bytes) -> Sequence[str | bytes]:
        """Return one media message for each track."""
        self._chunks += 1
        timestamp = str(self._sent_bytes * 1000 // (8000 * len(TRACKS)))
        self._sent_bytes += len(chunk)
        return [
            self._numbered(
                "media",
                {
                    "track": track,
                    "chunk": str(self._chunks),
                    "timestamp": timestamp,
                    "payload": base64.b64encode(chunk[side :: len(TRACKS)]).decode(),
                },
            )
            for side, track in enumerate(TRACKS)
        ]

    def closing(self) -> Sequence[str]:
        """Return ``stop``."""
        return [self._numbered("stop", {"accountSid": f"AC{'0' * 32}", "callSid": self.watched})]

    def read(self, frame: str | bytes) -> Sequence[ServerMessage]:
        """Return nothing: a server that only listens says nothing here."""
        del frame
        return []

    def _numbered(self, event: str, body: Mapping[str, object]) -> str:
        self._sequence += 1
        numbered = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self._stream, event: body}
        return json.dumps(numbered, separators=(",", ":"))


FRAMINGS: Constant[Mapping[str, Callable[[Audio, Sequence[str], str | None], Framing]]] = {
    "native": NativeFraming,
    "deepgram": DeepgramFraming,
    "twilio": TwilioFraming,
}
"""Wire formats by name."""


def _first(fields: Fields, name: str) -> int:
    numbers = fields.integers(name)
    if not numbers:
        raise ValueError(f"the result says no channel: {name!r} is missing")
    return numbers[0]


def _reason(fields: Fields) -> str:
    if fields.flag("from_finalize", default=False):
        return "finalize"
    return "endpoint" if fields.flag("speech_final", default=False) else "cut"


def _deepgram_word(fields: Fields) -> Word:
    text = fields.maybe_text("punctuated_word") or fields.text("word")
    return Word(text, fields.number("start"), fields.number("end"), fields.number("confidence"))
