"""The addresses of other systems' APIs."""

from __future__ import annotations

from collections.abc import Sequence

from server.apis import assemblyai, deepgram, deepgram_files, openai_files, openai_realtime, speechmatics, whisper_live
from server.auth import Keyring
from server.routes import Post, Resource, Route
from server.settings import Settings
from server.transcriber import Transcriber


def routes(keyring: Keyring, settings: Settings, models: Sequence[str]) -> list[Route]:
    """Serve the APIs that stream.

    Args:
        keyring: Knows the keys.
        settings: All of them.
        models: Names of the models served, the default one first.
    """
    idle_s = settings.limits.idle_s
    return [
        deepgram.route(keyring, settings.deepgram.idle_s, models),
        openai_realtime.route(keyring, idle_s, models),
        assemblyai.route(keyring, idle_s, models),
        *speechmatics.routes(keyring, idle_s, models),
        whisper_live.route(keyring, settings.whisper_live, idle_s, models),
    ]


def posts(keyring: Keyring, settings: Settings, transcriber: Transcriber, models: Sequence[str]) -> list[Post]:
    """Serve the APIs that take recordings.

    Args:
        keyring: Knows the keys.
        settings: All of them.
        transcriber: Turns recordings into words.
        models: Names of the models served, the default one first.
    """
    return [
        openai_files.route(keyring, transcriber, settings.files, models),
        deepgram_files.route(keyring, transcriber, settings.files, models),
    ]


def resources(keyring: Keyring, models: Sequence[str]) -> dict[str, Resource]:
    """Serve what clients of these APIs look up."""
    return {
        "/v1/models": Resource(
            keyring.identify, lambda _tenant: openai_files.models_page(models or ("default",)), openai_realtime.refusal
        )
    }
