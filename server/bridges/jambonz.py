"""jambonz' custom speech vendor, ``/bridges/jambonz``: its recognizer interface over WebSocket.

jambonz reads two kinds of message, transcriptions and errors, and waits for us to close after the last final.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from server.bridge import BridgeDialect, Stage, audio_format, call_spec, id_of, scalars
from server.dialect import Action, Event, Send
from server.json_frames import Fields, json_object, objects, section, string, texts
from server.render import confidence_of, text_of
from streaming.call import CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.messages import MAX_HOTWORDS, MAX_NAME
from streaming.records import Final as FinalText
from streaming.records import Partial

ENCODINGS: Final = {"linear16": Encoding.L16}

_OWN: Final = frozenset({"hints", "hintsBoost", "callSid"})


class JambonzDialect(BridgeDialect):
    """One recognition on one connection; every prompt that gathers speech opens a new one."""

    name = "jambonz"
    _language: str | None = None

    def act(self, fields: Fields) -> list[Action]:
        """Act on a JSON text frame."""
        match fields.get("type"):
            case "start" if self.stage is Stage.NEW and self.spec is None:
                return self.open(self._spec_of(fields))
            case "stop":
                return self.finish()
            case _:
                return []

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples."""
        return self.interleaved(payload)

    def told(self, event: Event) -> list[Action]:
        """Pass text on."""
        match event:
            case Partial():
                return [self._transcription(event, is_final=False)] if event.words else []
            case FinalText():
                return [self._transcription(event, is_final=True)]
            case _:
                return []

    def complaint(self, code: str, message: str) -> list[Action]:
        """Say what is wrong; jambonz shows it to its user."""
        return [Send(json.dumps({"type": "error", "error": f"{code}: {message}"}))]

    def _spec_of(self, start: Fields) -> CallSpec:
        options = section(start, "options")
        given = {name: value for name, value in scalars(options).items() if name not in _OWN}
        self._language = string(start, "language")
        if self._language is not None:
            given["language"] = self._language
        encoding = string(start, "encoding") or "LINEAR16"
        spec = call_spec(
            self.upgrade,
            audio_format(ENCODINGS, encoding, start.get("sampleRateHz", 8000)),
            ("caller",),
            call=of_this_connection(string(options, "callSid"), self.upgrade.request_id),
            given=given,
            ids={"jambonz.call_sid": string(options, "callSid")},
        )
        hints = _hints(options)
        return dataclasses.replace(spec, interim=start.get("interimResults") is True, hotwords=hints or spec.hotwords)

    def _transcription(self, text: Partial | FinalText, *, is_final: bool) -> Send:
        message = {
            "type": "transcription",
            "is_final": is_final,
            "alternatives": [
                {"transcript": text_of(text.words), "confidence": round(confidence_of(text.words), 4)},
            ],
            "language": self._language or text.language,
            "channel": 1,
            "start": round(text.words[0].start, 3),
            "end": round(text.words[-1].end, 3),
        }
        return Send(json.dumps(message), None if is_final else "partial")


def of_this_connection(call: str | None, request_id: str) -> str | None:
    """Make an id for one of several connections that one call may have, one after the other or at once."""
    own = id_of(call)
    return f"{own[: MAX_NAME - 9]}-{request_id[:8]}" if own else None


def _hints(options: Fields) -> tuple[str, ...]:
    """Read the hints: a list of phrases, or, where they have boosts, JSON of a list of objects.

    Raises:
        BadMessage: If there are too many.
    """
    wrapped = json_object(f'{{"hints":{string(options, "hints") or "[]"}}}') or {}
    found = texts(options, "hints") + texts(wrapped, "hints")
    found += [phrase for hint in objects(wrapped, "hints") if (phrase := string(hint, "phrase")) is not None]
    if len(found) > MAX_HOTWORDS:
        raise BadMessage("bad_option", f"'hints' may hold {MAX_HOTWORDS}, {len(found)} came")
    return tuple(hint.encode(errors="replace").decode()[:MAX_NAME] for hint in found)
