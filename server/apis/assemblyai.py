"""AssemblyAI's Universal-Streaming, version 3, ``/v3/ws``: one turn is one message that grows until its last form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final as Constant

from server.auth import Keyring
from server.bridge import BridgeDialect, audio_format
from server.dialect import Action, Event, Finalize, Open, Opened, Send, Upgrade
from server.errors import Refusal
from server.json_frames import Fields, integer, string
from server.render import confidence_of, text_of
from server.routes import Route
from streaming.call import CallSpec, Encoding
from streaming.decoding import Word
from streaming.errors import BadMessage
from streaming.messages import MAX_HOTWORDS, MAX_NAME, language_of
from streaming.records import CallClosed, EndReason, Final, Partial, SpeechStarted

ENCODINGS: Constant = {"pcm_s16le": Encoding.L16, "pcm_mulaw": Encoding.MULAW}
"""Encodings that may be declared; compressed ones are not served."""

SESSION_S: Constant = 10_800
"""How long a session is said to last, in seconds; nothing ends it here."""

UNSUPPORTED: Constant = 3000
"""Code of the warning that a message had no effect."""

_MOST_MS: Constant = 60_000


def route(keyring: Keyring, idle_s: float, models: Sequence[str] = ()) -> Route:
    """Serve the protocol to callers with a key.

    Args:
        keyring: Knows the keys.
        idle_s: Seconds without a message after which a connection is closed.
        models: Names of the models served, the default one first.
    """
    return Route("/v3/ws", keyring.identify, lambda upgrade: _build(upgrade, models), idle_s, refusal=_refusal)


def _build(upgrade: Upgrade, models: Sequence[str]) -> AssemblyDialect:
    try:
        return AssemblyDialect(upgrade, models)
    except BadMessage as problem:
        raise Refusal(400, problem.code, str(problem)) from problem


def _refusal(refusal: Refusal, _request_id: str) -> dict[str, object]:
    return {"error": refusal.message, "error_code": refusal.status}


class AssemblyDialect(BridgeDialect):
    """A session on one connection.

    Args:
        upgrade: The request behind the connection.
        models: Names of the models served; any other name means the default one.

    Raises:
        BadMessage: If the query asks for something that we do not have.
    """

    name = "assemblyai"
    hangs_up_by_closing = True

    def __init__(self, upgrade: Upgrade, models: Sequence[str] = ()) -> None:
        super().__init__(upgrade)
        asked = dict(upgrade.query)
        self._formatted = asked.get("format_turns", "").lower() == "true"
        self._wanted = _spec_of(upgrade, asked, models)
        self._turn = 0
        self._words: list[Word] = []  # of the open turn, final
        self._finalizes = 0

    def begin(self, now: float) -> list[Action]:
        """Open the call at once: everything is known, and clients wait one second for the answer."""
        del now
        self.spec = self._wanted
        return [Open(self._wanted)]

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        done = super().deliver(event, now)
        if isinstance(event, Opened):
            expires = round(event.spec.opened_at) + SESSION_S
            done.append(_send(type="Begin", id=self.upgrade.request_id, expires_at=expires))
        return done

    def act(self, fields: Fields) -> list[Action]:
        """Act on a control message."""
        match string(fields, "type"):
            case "Terminate":
                return self.finish()
            case "ForceEndpoint" if self.spec is not None:
                self._finalizes += 1
                return [Finalize(None, str(self._finalizes))]
            case "KeepAlive":
                return []
            case "UpdateConfiguration":
                text = "options cannot change during a session; set them in the query"
                return [_send(type="Warning", warning_code=UNSUPPORTED, warning=text)]
            case _:
                raise BadMessage("bad_message", "send audio, ForceEndpoint, KeepAlive or Terminate")

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples."""
        return self.interleaved(payload)

    def told(self, event: Event) -> list[Action]:
        """Say what the call says."""
        match event:
            case SpeechStarted():
                return [_send(type="SpeechStarted", timestamp=_ms(event.at))]
            case Partial():
                return [self._partial(event)] if event.words else []
            case Final():
                return [self._final(event)]
            case CallClosed():
                return [
                    _send(
                        type="Termination",
                        audio_duration_seconds=round(event.audio_s),
                        session_duration_seconds=round(event.audio_s),
                    )
                ]
            case _:
                return []

    def complaint(self, code: str, message: str) -> list[Action]:
        """Say what is wrong before the close."""
        return [_send(type="Error", error=f"{code}: {message}")]

    def _partial(self, partial: Partial) -> Send:
        sure = (*self._words, *partial.words[: partial.stable])
        told = self._told((*self._words, *partial.words), len(sure), text_of(sure), done=False)
        return Send(told.payload, "partial")

    def _final(self, final: Final) -> Send:
        self._words += final.words
        words = tuple(self._words)
        done = final.reason is not EndReason.CUT
        told = self._told(words, len(words), text_of(words), done=done)
        if done:
            self._turn += 1
            self._words = []
        return told

    def _told(self, words: Sequence[Word], sure: int, text: str, *, done: bool) -> Send:
        return _send(
            type="Turn",
            turn_order=self._turn,
            turn_is_formatted=done and self._formatted,
            end_of_turn=done,
            transcript=text,
            end_of_turn_confidence=round(confidence_of(tuple(words)), 4) if done else 0.0,
            words=[_word(word, final=number < sure) for number, word in enumerate(words)],
        )


def _spec_of(upgrade: Upgrade, asked: dict[str, str], models: Sequence[str]) -> CallSpec:
    model = asked.get("speech_model")
    language = asked.get("language_code") or ("en" if model == "universal-streaming-english" else None)
    silence = asked.get("min_turn_silence") or asked.get("min_end_of_turn_silence_when_confident")
    endpoint_ms = integer(silence) if silence else None
    if silence and (endpoint_ms is None or not 0 <= endpoint_ms <= _MOST_MS):
        raise BadMessage("bad_option", f"the silence that ends a turn must be 0 to {_MOST_MS} ms")
    return CallSpec(
        call=upgrade.request_id,
        tenant=upgrade.tenant,
        audio=audio_format(ENCODINGS, asked.get("encoding", "pcm_s16le"), asked.get("sample_rate", "16000")),
        labels=("speaker",),
        language=language_of(language) if language else None,
        hotwords=_terms(asked.get("keyterms_prompt", "")),
        model=model if model in models else None,
        endpoint_ms=endpoint_ms,
    )


def _terms(text: str) -> tuple[str, ...]:
    try:
        listed: object = json.loads(text) if text else []
    except (ValueError, RecursionError) as problem:
        raise BadMessage("bad_option", "'keyterms_prompt' must be a JSON list of words") from problem
    if not isinstance(listed, list):
        raise BadMessage("bad_option", "'keyterms_prompt' must be a JSON list of words")
    terms = [term.encode(errors="replace").decode()[:MAX_NAME] for term in listed if isinstance(term, str) and term]  # pyright: ignore[reportUnknownVariableType] - JSON
    return tuple(terms[:MAX_HOTWORDS])


def _word(word: Word, *, final: bool) -> dict[str, object]:
    return {
        "start": _ms(word.start),
        "end": _ms(word.end),
        "confidence": round(word.confidence, 4),
        "text": word.text,
        "word_is_final": final,
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _send(**fields: object) -> Send:
    return Send(json.dumps(fields, separators=(",", ":")))
