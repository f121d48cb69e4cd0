"""WhisperLive's client, a WebSocket at the root path: floats in, and the last segments out again and again."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Final as Constant

from server.apis.pcm import FloatSamples
from server.auth import Keyring
from server.bridge import BridgeDialect, Stage
from server.dialect import Action, Audio, Event, Ill, Opened, Send, Upgrade
from server.errors import Refusal
from server.json_frames import Fields, integer, string
from server.render import text_of
from server.routes import Caller, Route
from server.settings import WhisperLive
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.messages import MAX_HOTWORDS, MAX_NAME, language_of
from streaming.records import ALL_CHANNELS, UNTIMED, CallClosed, Final, Partial

END: Constant = b"END_OF_AUDIO"
RATE: Constant = 16_000
"""Hz of all its audio."""
SEGMENTS: Constant = 10
"""Segments repeated in each message where the client names no number."""
MOST_SEGMENTS: Constant = 100
BACKEND: Constant = "faster_whisper"
"""The client keeps completed segments from this one only."""


def route(keyring: Keyring, chosen: WhisperLive, idle_s: float, models: Sequence[str] = ()) -> Route:
    """Serve the protocol to callers with a key, and, where that is set, to those who have none.

    Args:
        keyring: Knows the keys.
        chosen: The settings.
        idle_s: Seconds without a message after which a connection is closed.
        models: Names of the models served, the default one first.
    """

    def identify(caller: Caller) -> str:
        try:
            return keyring.identify(caller)
        except Refusal:
            if chosen.tenant is None:
                raise
            return chosen.tenant

    return Route("/", identify, lambda upgrade: WhisperLiveDialect(upgrade, models), idle_s)


class WhisperLiveDialect(BridgeDialect):
    """A client on one connection.

    Args:
        upgrade: The request behind the connection.
        models: Names of the models served; any other name means the default one.
    """

    name = "whisper-live"
    hangs_up_by_closing = True

    def __init__(self, upgrade: Upgrade, models: Sequence[str] = ()) -> None:
        super().__init__(upgrade)
        self._models = models
        self._uid = ""
        self._floats: FloatSamples | None = FloatSamples()
        self._segments: deque[dict[str, object]] = deque(maxlen=SEGMENTS)
        self._language_told = False

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        done = super().deliver(event, now)
        if isinstance(event, Opened):
            done.append(self._send(message="SERVER_READY", backend=BACKEND))
        return done

    def act(self, fields: Fields) -> list[Action]:
        """Act on the first message; no other one comes."""
        if self.stage is not Stage.NEW:
            return []
        self._uid = _clean(string(fields, "uid") or "")[:MAX_NAME]
        if string(fields, "task") == "translate":
            raise BadMessage("bad_option", "translation is not served; ask for task transcribe")
        shape = string(fields, "audio_format") or "float32"
        if shape not in ("float32", "int16"):
            raise BadMessage("bad_option", "audio_format must be float32 or int16")
        self._floats = FloatSamples() if shape == "float32" else None
        count = integer(fields.get("send_last_n_segments")) or SEGMENTS
        self._segments = deque(maxlen=min(max(1, count), MOST_SEGMENTS))
        language = string(fields, "language")
        self._language_told = language is not None
        model = string(fields, "model")
        hints = [string(fields, "hotwords") or "", string(fields, "initial_prompt") or ""]
        spec = CallSpec(
            call=self.upgrade.request_id,
            tenant=self.upgrade.tenant,
            audio=AudioFormat(Encoding.L16, RATE),
            labels=("speaker",),
            language=language_of(language) if language else None,
            hotwords=tuple(_clean(hint)[:MAX_NAME] for hint in hints if hint)[:MAX_HOTWORDS],
            model=model if model in self._models else None,
        )
        return self.open(spec)

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples, or on the end."""
        if payload == END:
            return self.finish()
        if self._floats is None or self.spec is None:
            return self.interleaved(payload)
        samples = self._floats.push(payload)
        return [Audio(ALL_CHANNELS, UNTIMED, samples)] if samples else []

    def told(self, event: Event) -> list[Action]:
        """Say what the call says."""
        match event:
            case Partial() if event.words:
                shown = [*self._segments, _segment(event, completed=False)][-(self._segments.maxlen or 1) :]
                return [Send(self._send(segments=shown).payload, "segments")]
            case Final():
                self._segments.append(_segment(event, completed=True))
                return [*self._language(event), self._send(segments=list(self._segments))]
            case CallClosed():
                return [self._send(message="DISCONNECT")]
            case _:
                return []

    def complaint(self, code: str, message: str) -> list[Action]:
        """Say what is wrong before the close; a client that has to wait is told so."""
        if code == Ill.OVERLOADED:
            return [self._send(status="WAIT", message=1)]
        return [self._send(status="ERROR", message=message)]

    def _language(self, final: Final) -> list[Action]:
        if self._language_told:
            return []
        self._language_told = True
        return [self._send(language=final.language, language_prob=round(final.language_confidence, 4))]

    def _send(self, **fields: object) -> Send:
        return Send(json.dumps({"uid": self._uid, **fields}, separators=(",", ":")))


def _segment(event: Final | Partial, *, completed: bool) -> dict[str, object]:
    words = event.words
    return {
        "start": f"{words[0].start:.3f}",
        "end": f"{words[-1].end:.3f}",
        "text": f" {text_of(words)}",
        "completed": completed,
    }


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()
