"""The query of Deepgram's live endpoint, read as wishes of a call; what cannot be fulfilled is refused with 400."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from server.dialect import Upgrade
from server.errors import Refusal
from server.native import default_labels
from streaming.call import SUPPORTED_RATES, AudioFormat, CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.messages import MAX_HOTWORDS, MAX_NAME, language_of

ENCODINGS: Final = {"linear16": Encoding.L16, "mulaw": Encoding.MULAW, "alaw": Encoding.ALAW}
"""Encodings that may be declared."""

UNFULFILLED: Final = ("callback", "redact")
"""Wishes that must not be ignored silently: text would go elsewhere, or would show what was to be hidden."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller asked for."""

    audio: AudioFormat | None
    """None where the audio brings its own head."""
    multichannel: bool
    """Whether channels are transcribed one by one, or mixed down."""
    interim: bool
    endpointing: bool
    """Whether pauses end utterances, for the caller."""
    endpoint_ms: int | None
    utterance_end_ms: int | None
    vad_events: bool
    hotwords: tuple[str, ...]
    language: str | None
    model: str | None
    metadata: dict[str, str]
    utterances: bool = False
    """Whether a recording's utterances are listed one by one, too."""

    def spec(self, upgrade: Upgrade, audio: AudioFormat) -> CallSpec:
        """Return the call these wishes make."""
        mixed = audio.channels > 1 and not self.multichannel
        return CallSpec(
            call=upgrade.request_id,
            tenant=upgrade.tenant,
            audio=audio,
            labels=default_labels(1 if mixed else audio.channels),
            language=self.language,
            hotwords=self.hotwords,
            model=self.model,
            interim=self.interim,
            endpoint_ms=self.endpoint_ms,
            utterance_end_ms=self.utterance_end_ms,
            metadata=self.metadata,
            mixed=mixed,
        )


def read_options(query: Sequence[tuple[str, str]], models: Sequence[str]) -> Options:
    """Read the query; unknown names are ignored, as the protocol demands.

    Args:
        query: Decoded names and values, in order.
        models: Names of the models served; any other name, such as ``nova-3``, means the default one.

    Raises:
        Refusal: 400 if a wish is impossible.
    """
    asked = _Query(query)
    for name in UNFULFILLED:
        if asked.last(name) is not None:
            raise _bad(f"{name} is not served here; leave it out")
    interim = asked.flag("interim_results")
    endpointing = asked.last("endpointing")
    utterance_end_ms = asked.number("utterance_end_ms")
    model = asked.last("model")
    hotwords = (*asked.every("keyterm"), *(word.partition(":")[0] for word in asked.every("keywords")))
    return Options(
        audio=_audio(asked),
        multichannel=asked.flag("multichannel"),
        interim=interim,
        endpointing=endpointing != "false",
        endpoint_ms=None if endpointing in ("true", "false") else asked.number("endpointing"),
        utterance_end_ms=utterance_end_ms,
        vad_events=asked.flag("vad_events"),
        utterances=asked.flag("utterances"),
        hotwords=tuple(word[:MAX_NAME] for word in hotwords if word)[:MAX_HOTWORDS],
        language=_language(asked.last("language")),
        model=model if model in models else None,
        metadata=_metadata(asked),
    )


def _audio(asked: _Query) -> AudioFormat | None:
    name = asked.last("encoding")
    channels = asked.number("channels")
    if name is None:
        return None
    encoding = ENCODINGS.get(name)
    if encoding is None:
        raise _bad(f"encoding must be one of {', '.join(ENCODINGS)}, or absent for WAV")
    rate = asked.number("sample_rate")
    if rate not in SUPPORTED_RATES:
        rates = ", ".join(map(str, SUPPORTED_RATES))
        raise _bad(f"sample_rate goes with encoding and must be one of {rates}")
    try:
        return AudioFormat(encoding, rate, 1 if channels is None else channels)
    except ValueError as problem:
        raise _bad(str(problem)) from problem


def _language(tag: str | None) -> str | None:
    if tag in (None, "multi"):
        return None if tag else "en"  # the protocol's default is English, not detection
    try:
        return language_of(tag or "")
    except BadMessage as problem:
        raise _bad(str(problem)) from problem


def _metadata(asked: _Query) -> dict[str, str]:
    given = {f"tag.{number}": tag[:MAX_NAME] for number, tag in enumerate(asked.every("tag"))}
    for extra in asked.every("extra"):
        name, _, value = extra.partition(":")
        given[name[:MAX_NAME]] = value[:MAX_NAME]
    return given


class _Query:
    """Names that may repeat."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    def every(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def last(self, name: str) -> str | None:
        found = self.every(name)
        return found[-1] if found else None

    def flag(self, name: str) -> bool:
        value = self.last(name)
        if value not in (None, "true", "false"):
            raise _bad(f"{name} must be true or false")
        return value == "true"

    def number(self, name: str) -> int | None:
        value = self.last(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit()):
            raise _bad(f"{name} must be a whole number")
        return int(value)


def _bad(message: str) -> Refusal:
    return Refusal(400, "INVALID_QUERY_PARAMETER", message)
