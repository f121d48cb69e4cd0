"""How the native protocol's messages are written as text frames, and read from them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Final as Constant
from typing import TypeVar

from streaming.call import SUPPORTED_RATES, AudioFormat, Encoding
from streaming.decoding import Word
from streaming.errors import BadMessage
from streaming.messages import (
    MAX_HOTWORDS,
    MAX_NAME,
    Ack,
    CallOpened,
    Calls,
    ClientMessage,
    Close,
    Closed,
    Dtmf,
    Error,
    FeedMessage,
    Final,
    Finalize,
    Finalized,
    GoAway,
    KeepAlive,
    Partial,
    Pause,
    Paused,
    Quality,
    Ready,
    Resume,
    Resumed,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Start,
    Unpause,
    Unpaused,
    UtteranceEnd,
    Watching,
    check_call_id,
    language_of,
)

T = TypeVar("T")

_CLIENT_TYPES: Constant = "start, resume, finalize, pause, unpause, keepalive, close"
_TYPES: Constant[dict[type[object], str]] = {
    Ready: "ready",
    Resumed: "resumed",
    GoAway: "goaway",
    Paused: "paused",
    Unpaused: "unpaused",
    Watching: "watching",
    Calls: "calls",
    CallOpened: "opened",
    Ack: "ack",
    SpeechStarted: "speech_started",
    SpeechEnded: "speech_ended",
    Partial: "partial",
    Final: "final",
    UtteranceEnd: "utterance_end",
    Finalized: "finalized",
    Dtmf: "dtmf",
    Quality: "quality",
    Error: "error",
    Closed: "closed",
}
_LEFT_OUT: Constant = frozenset({"retry_after_s", "resume_token", "resume_s"})
"""Fields that are absent rather than null."""
_DIGITS: Constant = {"confidence": 4}
_DEFAULT_DIGITS: Constant = 3


def dump(message: FeedMessage) -> str:
    """Write a message as the text of one frame; times are rounded to milliseconds."""
    return _frame(_fields(message))


def dump_of(call: str, message: ServerMessage) -> str:
    """Write a message for who follows several calls: with the call's id, without single words and counts."""
    fields = _fields(message)
    for name in ("words", "finals"):
        fields.pop(name, None)
    return _frame({"type": fields.pop("type"), "call": call, **fields})


def _frame(fields: dict[str, object]) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def _fields(message: FeedMessage) -> dict[str, object]:
    fields: dict[str, object] = {"type": _TYPES[type(message)]}
    for item in dataclasses.fields(message):
        value = getattr(message, item.name)
        if item.name == "words":
            fields["words"] = [_word(word) for word in value]
        elif item.name == "calls":
            fields["calls"] = [dataclasses.asdict(call) for call in value]
        elif value is not None or item.name not in _LEFT_OUT:
            fields[item.name] = _rounded(item.name, value)
    return fields


def _word(word: Word) -> dict[str, object]:
    return {
        "text": word.text,
        "start": _rounded("start", word.start),
        "end": _rounded("end", word.end),
        "confidence": _rounded("confidence", word.confidence),
    }


def _rounded(name: str, value: object) -> object:
    return round(value, _DIGITS.get(name, _DEFAULT_DIGITS)) if isinstance(value, float) else value


def parse(text: str) -> ClientMessage:
    """Read a client's text frame.

    Raises:
        BadMessage: If it cannot be understood; its code is one of the protocol's.
    """
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise BadMessage("bad_json", "the text frame is not JSON; send one object per frame") from problem
    if not isinstance(fields, dict):
        raise BadMessage("bad_message", "the text frame is not a JSON object; send one with a 'type'")
    given = _Fields({str(name): value for name, value in fields.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
    match given.text("type"):
        case "start":
            return _start(given)
        case "resume":
            return _resume(given)
        case "pause":
            return Pause()
        case "unpause":
            return Unpause()
        case "finalize":
            return Finalize(given.text("id") or "", given.integer("channel", low=0))
        case "keepalive":
            return KeepAlive()
        case "close":
            return Close()
        case None:
            raise BadMessage("bad_message", "the message has no 'type'")
        case _:
            raise BadMessage("unknown_type", f"'type' must be one of {_CLIENT_TYPES}")


def _resume(given: _Fields) -> Resume:
    call, token = given.text("call"), given.text("token")
    if call is None or token is None:
        raise BadMessage("bad_option", "'resume' needs 'call' and 'token'")
    return Resume(call, token, given.counts("finals"))


def _start(given: _Fields) -> Start:
    audio = _audio(given)
    labels = given.texts("labels")
    if labels and len(labels) != audio.channels:
        raise BadMessage(
            "bad_option", f"'labels' must name every channel: {audio.channels} expected, {len(labels)} came"
        )
    hotwords = given.texts("hotwords")
    if len(hotwords) > MAX_HOTWORDS:
        raise BadMessage("bad_option", f"'hotwords' may hold {MAX_HOTWORDS}, {len(hotwords)} came")
    call = given.text("call")
    language = given.text("language")
    return Start(
        audio=audio,
        call=None if call is None else check_call_id(call),
        labels=labels,
        language=None if language is None else language_of(language),
        hotwords=hotwords,
        model=given.text("model"),
        interim=given.flag("interim", default=True),
        endpoint_ms=given.integer("endpoint_ms", low=0),
        utterance_end_ms=given.integer("utterance_end_ms", low=0),
        metadata=given.table("metadata"),
        resumable=given.flag("resumable", default=False),
    )


def _audio(given: _Fields) -> AudioFormat:
    audio = given.section("audio")
    name = audio.text("encoding", "unknown_encoding")
    try:
        encoding = Encoding(name or "")
    except ValueError as problem:
        known = ", ".join(Encoding)
        raise BadMessage("unknown_encoding", f"'audio.encoding' must be one of {known}") from problem
    rate = audio.integer("sample_rate", code="unknown_sample_rate")
    if rate not in SUPPORTED_RATES:
        known = ", ".join(map(str, SUPPORTED_RATES))
        raise BadMessage("unknown_sample_rate", f"'audio.sample_rate' must be one of {known}")
    channels = audio.integer("channels", code="bad_channels")
    try:
        return AudioFormat(encoding, rate, 1 if channels is None else channels)
    except ValueError as problem:
        raise BadMessage("bad_channels", f"'audio.channels': {problem}") from problem


class _Fields:
    """The fields of one JSON object, each read as what it should be; null counts as absent."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def text(self, name: str, code: str = "bad_option") -> str | None:
        value = self._values.get(name)
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= MAX_NAME):
            raise BadMessage(code, f"'{name}' must be a string of 1 to {MAX_NAME} characters")
        return value

    def integer(self, name: str, *, low: int | None = None, code: str = "bad_option") -> int | None:
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or (low is not None and value < low):
            raise BadMessage(code, f"'{name}' must be a whole number" + ("" if low is None else f", {low} or more"))
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadMessage("bad_option", f"'{name}' must be true or false")
        return value

    def counts(self, name: str) -> tuple[int, ...]:
        return self._listed(name, "whole numbers", _count_in)

    def texts(self, name: str) -> tuple[str, ...]:
        return self._listed(name, "strings", _text_in)

    def _listed(self, name: str, what: str, read: Callable[[str, object], T]) -> tuple[T, ...]:
        value = self._values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise BadMessage("bad_option", f"'{name}' must be a list of {what}")
        return tuple(read(name, item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON

    def table(self, name: str) -> dict[str, str]:
        return {key: _text_in(name, value) for key, value in self.section(name).items()}

    def section(self, name: str) -> _Fields:
        value = self._values.get(name)
        if value is None:
            return _Fields({})
        if not isinstance(value, dict):
            raise BadMessage("bad_option", f"'{name}' must be an object")
        return _Fields({str(key): item for key, item in value.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON

    def items(self) -> list[tuple[str, object]]:
        return list(self._values.items())


def _count_in(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadMessage("bad_option", f"'{name}' may hold whole numbers from 0 only")
    return value


def _text_in(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise BadMessage("bad_option", f"'{name}' may hold strings of up to {MAX_NAME} characters only")
    return value
