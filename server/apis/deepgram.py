"""Deepgram's live endpoint, ``/v1/listen``: its SDKs and the platforms that speak it work unchanged.

No message of our own invention is sent here: the SDKs hand unknown types to their users as nothing at all.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final as Constant

from server.apis.deepgram_options import Options, read_options
from server.apis.wav import WavHead, read_head
from server.auth import Keyring
from server.dialect import (
    Action,
    Audio,
    Close,
    Dialect,
    End,
    Event,
    Finalize,
    Ill,
    Open,
    Opened,
    Send,
    Trouble,
    Upgrade,
)
from server.errors import Refusal
from server.json_frames import integer, json_object
from server.render import confidence_of, text_of
from server.routes import Route
from streaming.call import SAMPLE_RATE, CallSpec
from streaming.decoding import Word
from streaming.errors import BadAudio
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    CallClosed,
    EndReason,
    Final,
    Finalized,
    Partial,
    Progress,
    SpeechStarted,
    UtteranceEnded,
)

SILENT_RESULT_S: Constant = 5.0
"""Seconds of silence after which an empty final tells that they are done with, as clients of this protocol expect."""

CLOSES: Constant = {
    Ill.OVERLOADED: (1013, "overloaded, try again"),
    Ill.DUPLICATE_CALL: (1008, "duplicate call"),
    Ill.TOO_FAST: (1008, "DATA-0000: audio came faster than allowed"),
    Ill.SLOW_READER: (1008, "results are read too slowly"),
    Ill.START_TIMEOUT: (1011, "NET-0001: no audio was received in time"),
    Ill.IDLE: (1011, "NET-0001: neither audio nor KeepAlive was received in time"),
    Ill.DRAINING: (1012, "the server is about to stop, connect again"),
    Ill.INTERNAL: (1011, "NET-0000: internal error"),
}
"""How each trouble closes the connection."""

_EDGES: Constant = re.compile(r"^\W+|\W+$")
_CONTROL_BYTES: Constant = 4096
_SPEECH_FINAL: Constant = (EndReason.ENDPOINT, EndReason.FINALIZE, EndReason.END)


def route(keyring: Keyring, idle_s: float, models: Sequence[str] = ()) -> Route:
    """Serve the protocol to callers with a key.

    Args:
        keyring: Knows the keys.
        idle_s: Seconds without audio or KeepAlive after which a connection is closed.
        models: Names of the models served, the default one first.
    """
    return Route(
        pattern="/v1/listen",
        identify=keyring.identify,
        build=lambda upgrade: DeepgramDialect(upgrade, read_options(upgrade.query, models)),
        idle_s=idle_s,
        subprotocols=("token", "bearer"),
        headers=request_header,
        refusal=refusal_body,
    )


def request_header(request_id: str) -> dict[str, str]:
    """Name the request in every answer."""
    return {"dg-request-id": request_id}


def refusal_body(refusal: Refusal, request_id: str) -> dict[str, object]:
    """Say what was wrong, as Deepgram does."""
    code = "INVALID_AUTH" if refusal.status in (401, 403) else refusal.code
    return {"err_code": code, "err_msg": refusal.message, "request_id": request_id}


@dataclass(slots=True)
class _Side:
    """How far one side is told, in seconds."""

    told_s: float = 0.0
    """Where the last final result ended, and the next result begins."""
    done_s: float = 0.0
    """Where the last final or silence ended."""
    finalized: bool = False
    """Whether a result said ``from_finalize`` since the last ``Finalized``."""


class DeepgramDialect(Dialect):
    """The protocol on one connection.

    Args:
        upgrade: The request behind the connection.
        options: What its query asked for.
    """

    name = "deepgram"

    def __init__(self, upgrade: Upgrade, options: Options) -> None:
        self._upgrade = upgrade
        self._options = options
        self._spec: CallSpec | None = None
        self._sides: defaultdict[int, _Side] = defaultdict(_Side)
        self._head = bytearray()
        self._left: int | None = None  # bytes of samples still to come, where the audio's head said how many
        self._odd = b""  # the beginning of a sample whose rest is in the next message
        self._frame_bytes = 1
        self._digest = hashlib.sha256()
        self._finalizes = 0
        self._ending = False
        self._closed = False
        self._close = Close(1000)

    def begin(self, now: float) -> list[Action]:
        """Open the call at once where the query says the format."""
        del now
        audio = self._options.audio
        return [] if audio is None else [Open(self._options.spec(self._upgrade, audio))]

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Act on one frame; control messages are tolerated as binary, which people do send."""
        del now
        if self._closed or self._ending:
            return []
        if isinstance(message, str):
            return self._control(message)
        if not message:
            return self._end()
        if message.startswith(b'{"type"') and len(message) < _CONTROL_BYTES:
            return self._control(message.decode("utf-8", "replace"))
        self._digest.update(message)
        try:
            return self._audio(message) if self._spec is not None else self._sniff(message)
        except BadAudio as problem:
            self._closed = True
            return [Close(1008, f"DATA-0000: {problem}"[:120])]

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        del now
        if self._closed:
            return []
        match event:
            case Opened(spec):
                self._spec = spec
                self._frame_bytes = spec.audio.encoding.sample_bytes * spec.audio.channels
                return []
            case Trouble(ill):
                return self._trouble(ill)
            case CallClosed():
                self._closed = True
                return [self._metadata(event.audio_s), self._close]
            case Partial() if self._options.interim:
                return self._interim(event)
            case Final():
                return self._final(event)
            case Progress():
                return self._progress(event)
            case Finalized(_, _, channel):
                return self._finalized(channel)
            case SpeechStarted(_, _, channel, at) if self._options.vad_events:
                return [self._send(type="SpeechStarted", channel=self._index(channel), timestamp=round(at, 3))]
            case UtteranceEnded(_, _, channel, at):
                return [self._send(type="UtteranceEnd", channel=self._index(channel), last_word_end=round(at, 3))]
            case _:
                return []

    # --- from the client ---

    def _control(self, text: str) -> list[Action]:
        fields = json_object(text) or {}
        match fields.get("type"):
            case "KeepAlive":
                return []
            case "Finalize":
                return self._finalize(integer(fields.get("channel")))
            case "CloseStream":
                return self._end()
            case "Configure":
                return [
                    self._send(
                        type="ConfigureFailure",
                        request_id=self._upgrade.request_id,
                        code="UNSUPPORTED",
                        description="options cannot change during a call; set them in the query",
                    )
                ]
            case _:
                return [
                    self._send(
                        type="Error",
                        variant="SchemaError",
                        description="the text frame is no control message; send KeepAlive, Finalize or CloseStream",
                        message="",
                    )
                ]

    def _finalize(self, channel: int | None) -> list[Action]:
        if self._spec is None:
            return []
        if channel is not None and not 0 <= channel < self._spec.sides:
            channel = None
        self._finalizes += 1
        return [Finalize(channel, str(self._finalizes))]

    def _end(self) -> list[Action]:
        if self._spec is None:  # a stream that never had audio
            self._closed = True
            return [self._metadata(0.0), self._close]
        self._ending = True
        return [End("hangup")]

    def _sniff(self, message: bytes) -> list[Action]:
        self._head += message
        head: WavHead | None = read_head(self._head)
        if head is None:
            return []
        begun = bytes(self._head[head.begins :])
        self._head.clear()
        self._left = head.length
        self._frame_bytes = head.audio.encoding.sample_bytes * head.audio.channels
        return [Open(self._options.spec(self._upgrade, head.audio)), *self._audio(begun)]

    def _audio(self, payload: bytes) -> list[Action]:
        if self._left is not None:
            payload = payload[: self._left]
            self._left -= len(payload)
        if self._odd:
            payload = self._odd + payload
        whole = len(payload) - len(payload) % self._frame_bytes
        self._odd = payload[whole:]
        return [Audio(ALL_CHANNELS, UNTIMED, payload[:whole])] if whole else []

    # --- to the client ---

    def _interim(self, partial: Partial) -> list[Action]:
        told_s = self._sides[partial.channel].told_s
        if partial.end <= told_s:
            return []
        result = self._result(partial.channel, partial.end, partial.words, partial.model, partial.language)
        return [Send(json.dumps(result, separators=(",", ":")), f"interim {partial.channel}")]

    def _final(self, final: Final) -> list[Action]:
        ends = self._options.endpointing or final.reason is not EndReason.ENDPOINT
        return [
            self._tell(
                final.channel,
                final.to_sample / SAMPLE_RATE,
                final.words,
                final.model,
                final.language,
                speech_final=ends and final.reason in _SPEECH_FINAL,
                from_finalize=final.reason is EndReason.FINALIZE,
            )
        ]

    def _progress(self, progress: Progress) -> list[Action]:
        side = self._sides[progress.channel]
        side.done_s = progress.to_sample / SAMPLE_RATE
        if side.done_s - side.told_s < SILENT_RESULT_S:
            return []
        return [self._tell(progress.channel, side.done_s, (), "", "", speech_final=False, from_finalize=False)]

    def _finalized(self, channel: int | None) -> list[Action]:
        sides = range(self._spec.sides if self._spec else 0) if channel is None else [channel]
        told = [
            self._tell(number, self._sides[number].done_s, (), "", "", speech_final=True, from_finalize=True)
            for number in sides
            if not self._sides[number].finalized
        ]
        for number in sides:
            self._sides[number].finalized = False
        return list[Action](told)

    def _tell(
        self,
        channel: int,
        to_s: float,
        words: tuple[Word, ...],
        model: str,
        language: str,
        *,
        speech_final: bool,
        from_finalize: bool,
    ) -> Send:
        """Freeze the audio up to here: the next result begins where this one ends."""
        result = self._result(channel, to_s, words, model, language)
        result |= {"is_final": True, "speech_final": speech_final, "from_finalize": from_finalize}
        side = self._sides[channel]
        side.told_s = max(side.told_s, round(to_s, 3))
        side.done_s = max(side.done_s, to_s)
        side.finalized = side.finalized or from_finalize
        return Send(json.dumps(result, separators=(",", ":")))

    def _result(
        self, channel: int, to_s: float, words: tuple[Word, ...], model: str, language: str
    ) -> dict[str, object]:
        start = self._sides[channel].told_s
        alternative: dict[str, object] = {
            "transcript": text_of(words),
            "confidence": round(confidence_of(words), 4),
            "words": [told_word(word) for word in words],
        }
        if language:
            alternative["languages"] = [language]
        return {
            "type": "Results",
            "channel_index": self._index(channel),
            "duration": round(max(0.0, to_s - start), 3),
            "start": start,
            "is_final": False,
            "speech_final": False,
            "from_finalize": False,
            "channel": {"alternatives": [alternative]},
            "metadata": {"request_id": self._upgrade.request_id, **told_model(model)},
        }

    def _metadata(self, duration_s: float) -> Send:
        opened_at = self._spec.opened_at if self._spec else 0.0
        created = datetime.fromtimestamp(opened_at, UTC).isoformat(timespec="milliseconds")
        return self._send(
            type="Metadata",
            transaction_key="deprecated",
            request_id=self._upgrade.request_id,
            sha256=self._digest.hexdigest(),
            created=created.replace("+00:00", "Z"),
            duration=round(duration_s, 3),
            channels=self._spec.sides if self._spec else 1,
        )

    def _trouble(self, ill: Ill) -> list[Action]:
        close = Close(*CLOSES.get(ill, CLOSES[Ill.INTERNAL]))
        if ill is Ill.DRAINING and self._spec is not None:
            self._close = close
            ended: list[Action] = [] if self._ending else [End(ill)]
            self._ending = True
            return ended
        self._closed = True
        return [close]

    def _index(self, channel: int) -> list[int]:
        return [channel, self._spec.sides if self._spec else 1]

    def _send(self, **fields: object) -> Send:
        return Send(json.dumps(fields, separators=(",", ":")))


def told_word(word: Word) -> dict[str, object]:
    """Return a word as results have it."""
    return {
        "word": (_EDGES.sub("", word.text) or word.text).lower(),
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": round(word.confidence, 4),
        "punctuated_word": word.text,
    }


def told_model(name: str) -> dict[str, object]:
    """Return what results say about the model that wrote them."""
    shown = name or "none"
    info = {"name": shown, "version": "1", "arch": "whisper"}
    return {"model_info": info, "model_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, shown))}
