"""Deepgram's ``POST /v1/listen``: a recording as the body, its words for each channel."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final as Constant

import numpy as np
import soundfile

from server.apis.deepgram import refusal_body, request_header, told_model, told_word
from server.apis.deepgram_options import Options, read_options
from server.auth import Keyring
from server.dialect import Upgrade
from server.errors import Refusal
from server.http_exchange import HttpExchange
from server.recordings import Recording
from server.render import confidence_of, text_of
from server.routes import Post
from server.settings import Files
from server.transcriber import Transcriber, Wishes
from streaming.audio import decode
from streaming.call import AudioFormat
from streaming.errors import BadAudio
from streaming.records import Final

JSON: Constant = "application/json"


def route(keyring: Keyring, transcriber: Transcriber, files: Files, models: Sequence[str] = ()) -> Post:
    """Serve the endpoint to callers with a key.

    Args:
        keyring: Knows the keys.
        transcriber: Turns recordings into words.
        files: How large they may be.
        models: Names of the models served, the default one first.
    """

    async def serve(exchange: HttpExchange, upgrade: Upgrade) -> None:
        options = read_options(upgrade.query, models)
        body = await exchange.read_body(files.max_bytes)
        if exchange.headers.get("Content-Type", "").partition(";")[0].strip().lower() == JSON:
            raise Refusal(400, "UNSUPPORTED", "send the recording itself; addresses are not fetched")
        sound = body if options.audio is None else _wrapped(body, options.audio)
        recording = Recording(sound, apart=options.multichannel, max_s=files.max_s)
        wishes = Wishes(options.language, options.hotwords, options.model, options.metadata)
        async with transcriber.transcribe(recording, upgrade, wishes, exchange.gone) as words:
            finals = [final async for final in words.finals()]
        answer = told(finals, options, recording, hashlib.sha256(body).hexdigest(), upgrade.request_id)
        headers = {"Content-Type": JSON, **request_header(upgrade.request_id)}
        await exchange.answer(200, headers, json.dumps(answer, ensure_ascii=False).encode())

    return Post("/v1/listen", keyring.identify, serve, headers=request_header, refusal=refusal_body)


def told(
    finals: Sequence[Final], options: Options, recording: Recording, digest: str, request_id: str
) -> dict[str, object]:
    """Return the whole answer.

    Args:
        finals: All that was said.
        options: What the query asked for.
        recording: Read to its end.
        digest: SHA-256 of the body, in hex.
        request_id: Of the request.
    """
    sides = [[final for final in finals if final.channel == number] for number in range(recording.channels)]
    model = told_model(finals[0].model if finals else "")
    utterances = [
        {
            "start": round(final.words[0].start, 3),
            "end": round(final.words[-1].end, 3),
            "confidence": round(confidence_of(final.words), 4),
            "channel": final.channel,
            "transcript": text_of(final.words),
            "words": [told_word(word) for word in final.words],
            "id": f"{request_id}-{final.channel}-{final.number}",
        }
        for final in sorted(finals, key=lambda final: final.words[0].start)
    ]
    return {
        "metadata": {
            "transaction_key": "deprecated",
            "request_id": request_id,
            "sha256": digest,
            "created": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "duration": round(recording.seconds, 3),
            "channels": recording.channels,
            "models": [model["model_uuid"]],
            "model_info": {str(model["model_uuid"]): model["model_info"]},
        },
        "results": {
            "channels": [{"alternatives": [_alternative(side)]} for side in sides],
            **({"utterances": utterances} if options.utterances else {}),
        },
    }


def _alternative(finals: Sequence[Final]) -> dict[str, object]:
    words = tuple(word for final in finals for word in final.words)
    return {
        "transcript": text_of(words),
        "confidence": round(confidence_of(words), 4),
        "words": [told_word(word) for word in words],
    }


def _wrapped(samples: bytes, audio: AudioFormat) -> bytes:
    """Put samples whose format the query says into a file that says it itself."""
    frame = audio.encoding.sample_bytes * audio.channels
    try:
        heard = decode(samples[: len(samples) - len(samples) % frame], audio.encoding).reshape(-1, audio.channels)
    except BadAudio as problem:
        raise Refusal(400, "INVALID_AUDIO", str(problem)) from problem
    file = io.BytesIO()
    soundfile.write(file, np.asarray(heard), audio.rate, subtype="PCM_16", format="WAV")
    return file.getvalue()
