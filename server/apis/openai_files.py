"""OpenAI's ``POST /v1/audio/transcriptions``: a file in a form, its words as JSON, text, subtitles or a stream."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final as Constant

from server.apis.forms import Form, read_form
from server.apis.openai_realtime import refusal
from server.apis.subtitles import plain, srt, vtt
from server.auth import Keyring
from server.dialect import Upgrade
from server.errors import Refusal
from server.http_exchange import HttpExchange
from server.recordings import Recording
from server.render import confidence_of, text_of
from server.routes import Post
from server.settings import Files
from server.transcriber import Transcriber, Transcription, Wishes
from streaming.errors import BadMessage
from streaming.messages import MAX_HOTWORDS, MAX_NAME, language_of
from streaming.records import Final

JSON: Constant = "application/json"
TEXT: Constant = "text/plain; charset=utf-8"

LANGUAGES: Constant = {
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "ja": "japanese",
    "nl": "dutch",
    "pl": "polish",
    "pt": "portuguese",
    "ru": "russian",
    "zh": "chinese",
}
"""Names that verbose_json uses; the code stands in for any other."""


class Format(StrEnum):
    """What the answer is."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    VERBOSE = "verbose_json"
    DIARIZED = "diarized_json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form asks for."""

    file: bytes
    format: Format
    stream: bool
    words: bool
    """Whether single words are wanted."""
    segments: bool
    wishes: Wishes


def route(keyring: Keyring, transcriber: Transcriber, files: Files, models: Sequence[str] = ()) -> Post:
    """Serve the endpoint to callers with a key.

    Args:
        keyring: Knows the keys.
        transcriber: Turns recordings into words.
        files: How large they may be.
        models: Names of the models served, the default one first; any other name means that one.
    """

    async def serve(exchange: HttpExchange, upgrade: Upgrade) -> None:
        form = read_form(exchange.headers.get("Content-Type", ""), await exchange.read_body(files.max_bytes))
        asked = read_asked(form, models)
        recording = Recording(asked.file, apart=asked.format is Format.DIARIZED, max_s=files.max_s)
        async with transcriber.transcribe(recording, upgrade, asked.wishes, exchange.gone) as words:
            await (_stream if asked.stream else _whole)(exchange, asked, recording, words)

    return Post("/v1/audio/transcriptions", keyring.identify, serve, refusal=refusal)


def models_page(models: Sequence[str]) -> tuple[int, str, bytes]:
    """Answer ``GET /v1/models``."""
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": "trunkline"} for name in models]
    return 200, JSON, json.dumps({"object": "list", "data": listed}).encode()


def read_asked(form: Form, models: Sequence[str]) -> Asked:
    """Read the form; fields that we have no use for are ignored.

    Raises:
        Refusal: 400 if something is missing or cannot be.
    """
    file = form.file("file")
    if file is None:
        raise Refusal(400, "missing_required_parameter", "the form needs a 'file'")
    try:
        chosen = Format(form.last("response_format") or Format.JSON)
    except ValueError as problem:
        raise Refusal(400, "invalid_value", f"response_format must be one of {', '.join(Format)}") from problem
    wanted = form.every("timestamp_granularities") or ["segment"]
    if not set(wanted) <= {"word", "segment"}:
        raise Refusal(400, "invalid_value", "timestamp_granularities may be word and segment")
    model = form.last("model")
    hints = [*form.every("keywords"), form.last("prompt") or ""]
    languages = form.every("languages")
    tag = form.last("language") or (languages[0] if len(languages) == 1 else None)
    try:
        language = language_of(tag) if tag else None
    except BadMessage as problem:
        raise Refusal(400, "invalid_language", str(problem)) from problem
    return Asked(
        file=file.value,
        format=chosen,
        stream=form.last("stream") in ("true", "True", "1"),
        words="word" in wanted,
        segments="segment" in wanted,
        wishes=Wishes(
            language=language,
            hotwords=tuple(hint.strip()[:MAX_NAME] for hint in hints if hint.strip())[:MAX_HOTWORDS],
            model=model if model in models else None,
        ),
    )


async def _whole(exchange: HttpExchange, asked: Asked, recording: Recording, words: Transcription) -> None:
    finals = [final async for final in words.finals()]
    content_type, body = render(asked, finals, recording.seconds)
    await exchange.answer(200, {"Content-Type": content_type}, body)


async def _stream(exchange: HttpExchange, asked: Asked, recording: Recording, words: Transcription) -> None:
    finals: list[Final] = []
    async for final in words.finals():
        if not finals:
            await exchange.begin(200, {"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        delta = text_of(final.words)
        await exchange.send(_event("transcript.text.delta", delta=f" {delta}" if finals else delta))
        finals.append(final)
        if asked.format is Format.DIARIZED:
            await exchange.send(_event("transcript.text.segment", **_speech(len(finals) - 1, final)))
    if not finals:
        await exchange.begin(200, {"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    usage = _usage(recording.seconds)
    await exchange.send(_event("transcript.text.done", text=plain(finals), usage=usage) + b"data: [DONE]\n\n")
    await exchange.finish()


def render(asked: Asked, finals: Sequence[Final], seconds: float) -> tuple[str, bytes]:
    """Return the answer's content type and body.

    Args:
        asked: What the form asked for.
        finals: All that was said.
        seconds: Length of the recording.
    """
    ordered = sorted(finals, key=lambda final: final.words[0].start)
    match asked.format:
        case Format.TEXT:
            return TEXT, f"{plain(ordered)}\n".encode()
        case Format.SRT:
            return TEXT, srt(ordered).encode()
        case Format.VTT:
            return TEXT, vtt(ordered).encode()
        case _:
            return JSON, json.dumps(_json(asked, ordered, seconds), ensure_ascii=False).encode()


def _json(asked: Asked, finals: Sequence[Final], seconds: float) -> dict[str, object]:
    told: dict[str, object] = {"text": plain(finals), "usage": _usage(seconds)}
    if asked.format is Format.JSON:
        return told
    told |= {"task": "transcribe", "duration": round(seconds, 3)}
    if asked.format is Format.DIARIZED:
        return told | {"segments": [_speech(number, final) for number, final in enumerate(finals)]}
    language = finals[0].language if finals else asked.wishes.language or ""
    told["language"] = LANGUAGES.get(language, language)
    if asked.segments:
        told["segments"] = [_segment(number, final) for number, final in enumerate(finals)]
    if asked.words:
        told["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for final in finals
            for word in final.words
        ]
    return told


def _segment(number: int, final: Final) -> dict[str, object]:
    return {
        "id": number,
        "seek": 0,
        "start": round(final.words[0].start, 3),
        "end": round(final.words[-1].end, 3),
        "text": f" {text_of(final.words)}",
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(confidence_of(final.words), 1e-4)), 4),
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }


def _speech(number: int, final: Final) -> dict[str, object]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{number}",
        "start": round(final.words[0].start, 3),
        "end": round(final.words[-1].end, 3),
        "text": text_of(final.words),
        "speaker": f"channel_{final.channel}",
    }


def _usage(seconds: float) -> Mapping[str, object]:
    return {"type": "duration", "seconds": math.ceil(seconds)}


def _event(kind: str, **fields: object) -> bytes:
    return f"data: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()
