"""Wyoming, as Home Assistant speaks it over TCP: events of one JSON line, more JSON, and samples.

The dialect takes whole events as they lie on the wire. One connection carries one transcription.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final as Constant

from server.bridge import BridgeDialect
from server.dialect import Action, Event, Send, Upgrade
from server.json_frames import Fields, integer, json_object, section, string
from server.render import text_of
from streaming.call import SUPPORTED_RATES, AudioFormat, CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.messages import language_of
from streaming.records import CallClosed, Final

MAX_EVENT: Constant = 1_048_576
"""Longest event, in bytes: half a minute of samples at 16 kHz."""

WIDTH: Constant = 2
"""Bytes of a sample."""

VERSION: Constant = "1"

LANGUAGES: Constant = ("de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh")
"""Those named to clients, which offer only what is named."""


async def read_event(reader: asyncio.StreamReader) -> bytes:
    """Read one event off the wire, whole.

    Raises:
        asyncio.IncompleteReadError: If the peer closed.
        asyncio.LimitOverrunError: If the event is too long, or this is not the protocol.
    """
    line = await reader.readuntil(b"\n")
    header = json_object(line.decode("utf-8", "replace")) or {}
    follows = sum(max(0, integer(header.get(name)) or 0) for name in ("data_length", "payload_length"))
    if follows > MAX_EVENT:
        raise asyncio.LimitOverrunError("the event is too long", follows)
    return line + await reader.readexactly(follows)


class WyomingDialect(BridgeDialect):
    """A client on one connection.

    Args:
        upgrade: Made up: the protocol has no request.
        models: Names of the models served, the default one first.
    """

    name = "wyoming"
    hangs_up_by_closing = True
    patient = True

    def __init__(self, upgrade: Upgrade, models: Sequence[str] = ()) -> None:
        super().__init__(upgrade)
        self._models = models
        self._asked: Fields = {}
        self._texts: list[str] = []
        self._language = ""

    def binary(self, payload: bytes) -> list[Action]:
        """Act on one event."""
        line, _, rest = payload.partition(b"\n")
        header = json_object(line.decode("utf-8", "replace"))
        if header is None:
            raise BadMessage("bad_json", "an event begins with a JSON object on a line of its own")
        length = max(0, integer(header.get("data_length")) or 0)
        more = json_object(rest[:length].decode("utf-8", "replace")) or {}
        data = {**section(header, "data"), **more}
        return self._event(string(header, "type"), data, rest[length:])

    def told(self, event: Event) -> list[Action]:
        """Say what the call says: pieces as they are final, and always the whole at the end."""
        match event:
            case Final():
                text = text_of(event.words)
                begin = [] if self._texts else [_send("transcript-start", language=event.language)]
                self._language = self._language or event.language
                self._texts.append(text)
                piece = text if len(self._texts) == 1 else f" {text}"
                return [*begin, _send("transcript-chunk", text=piece)]
            case CallClosed():
                whole: dict[str, object] = {"text": " ".join(self._texts)}
                if self._language:
                    whole["language"] = self._language
                return [_send("transcript", **whole), _send("transcript-stop")]
            case _:
                return []

    def complaint(self, code: str, message: str) -> list[Action]:
        """Say what is wrong before the close."""
        return [_send("error", text=message, code=code)]

    def _event(self, kind: str | None, data: Fields, payload: bytes) -> list[Action]:
        match kind:
            case "describe":
                return [_send("info", asr=[self._description()])]
            case "ping":
                return [_send("pong", text=string(data, "text") or "")]
            case "transcribe":
                self._asked = data
                return []
            case "audio-start":
                return self._start(data) if self.spec is None else []
            case "audio-chunk":
                begin = self._start(data) if self.spec is None else []
                return [*begin, *self.interleaved(payload)]
            case "audio-stop":
                return self.finish()
            case _:
                return []

    def _start(self, data: Fields) -> list[Action]:
        rate, width, channels = (integer(data.get(name)) for name in ("rate", "width", "channels"))
        if width != WIDTH or rate not in SUPPORTED_RATES:
            rates = ", ".join(map(str, SUPPORTED_RATES))
            raise BadMessage("bad_audio", f"samples must have {WIDTH} bytes, and one of {rates} Hz")
        try:
            audio = AudioFormat(Encoding.L16, rate, channels or 1)
        except ValueError as problem:
            raise BadMessage("bad_audio", str(problem)) from problem
        language = string(self._asked, "language")
        model = string(self._asked, "name")
        return self.open(
            CallSpec(
                call=self.upgrade.request_id,
                tenant=self.upgrade.tenant,
                audio=audio,
                labels=("speaker",),
                language=language_of(language) if language else None,
                model=model if model in self._models else None,
                interim=False,
                mixed=audio.channels > 1,
            )
        )

    def _description(self) -> dict[str, object]:
        about: dict[str, object] = {
            "attribution": {"name": "Trunkline", "url": ""},
            "installed": True,
            "version": VERSION,
        }
        models = [
            {
                "name": name,
                "languages": ["en"] if name.endswith(".en") else list(LANGUAGES),
                "description": name,
                **about,
            }
            for name in self._models or ("default",)
        ]
        return {
            "name": "trunkline",
            "description": "Trunkline",
            **about,
            "supports_transcript_streaming": True,
            "models": models,
        }


def _send(kind: str, **data: object) -> Send:
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    header = {"type": kind, "version": VERSION, "data_length": len(body)}
    return Send(json.dumps(header).encode() + b"\n" + body)
