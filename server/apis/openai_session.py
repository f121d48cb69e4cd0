"""What an OpenAI Realtime transcription session is set to, in the words of today's API and of the beta before it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Final, cast

from server.dialect import Upgrade
from server.json_frames import Fields, integer, section, string, texts
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.messages import MAX_HOTWORDS, MAX_NAME, language_of

Json = dict[str, object]

FORMATS: Final = {"audio/pcm": Encoding.L16, "audio/pcmu": Encoding.MULAW, "audio/pcma": Encoding.ALAW}
"""Formats by their names."""
BETA_FORMATS: Final = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
"""What the beta called them."""
PCM_RATE: Final = 24_000
"""Hz of pcm where nothing else is said; telephone codecs have 8,000."""
TELEPHONE_RATE: Final = 8_000

VAD: Final = ("server_vad", "semantic_vad")
"""Ways to have turns found; both are our own."""

_BETA_NAMES: Final = {
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
_WHOLE: Final = frozenset({"format", "turn_detection"})
"""Objects that are replaced where their type changes, because fields of one type mean nothing in another."""


class SessionSettings:
    """The settings of one session, and the changes a client makes to them.

    Args:
        session: The session's id.
        models: Names of the models served; any other name means the default one.
    """

    def __init__(self, session: str, models: Sequence[str]) -> None:
        self._session = session
        self._models = models
        self._input: Json = {
            "format": {"type": "audio/pcm", "rate": PCM_RATE},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
            },
        }
        self._include: object = None
        self._asked_silence = False

    def copy(self) -> SessionSettings:
        """Return settings that can change without these."""
        return copy.copy(self)  # changes replace what is set, they never alter it

    @property
    def finds_turns(self) -> bool:
        """Whether pauses end turns; the client's commits do otherwise."""
        return self._input["turn_detection"] is not None

    @property
    def audio(self) -> AudioFormat:
        """The format of appended audio."""
        chosen = section(self._input, "format")
        encoding = FORMATS[str(chosen.get("type"))]
        rate = PCM_RATE if encoding is Encoding.L16 else TELEPHONE_RATE
        return AudioFormat(encoding, integer(chosen.get("rate")) or rate)

    def spec(self, upgrade: Upgrade) -> CallSpec:
        """Return the call that these settings make."""
        asked = section(self._input, "transcription")
        languages = texts(asked, "languages")
        language = string(asked, "language") or (languages[0] if len(languages) == 1 else None)
        words = [*texts(asked, "keywords"), string(asked, "prompt") or ""]
        model = string(asked, "model")
        silence = section(self._input, "turn_detection").get("silence_duration_ms") if self._asked_silence else None
        return CallSpec(
            call=upgrade.request_id,
            tenant=upgrade.tenant,
            audio=self.audio,
            labels=("speaker",),
            language=language_of(language) if language else None,
            hotwords=tuple(word.strip()[:MAX_NAME] for word in words if word.strip())[:MAX_HOTWORDS],
            model=model if model in self._models else None,
            endpoint_ms=integer(silence),
        )

    def change(self, asked: Fields) -> None:
        """Take a client's ``session``: fields that are missing stay, null clears.

        Raises:
            BadMessage: If something in it cannot be; nothing is changed then.
        """
        given = _input_of(asked)
        changed = _merged(self._input, given)
        _check(changed)
        self._asked_silence = self._asked_silence or "silence_duration_ms" in section(given, "turn_detection")
        self._input = changed
        if "include" in asked:
            self._include = asked["include"]

    def shown(self, *, beta: bool) -> Json:
        """Return the whole session, as clients are told it."""
        about: Json = {"id": self._session, "object": "realtime.transcription_session", "expires_at": 0}
        if not beta:
            return {**about, "type": "transcription", "audio": {"input": self._input}, "include": self._include}
        names = {ours: theirs for theirs, ours in BETA_FORMATS.items()}
        flat = {theirs: self._input[ours] for theirs, ours in _BETA_NAMES.items()}
        kind = str(section(self._input, "format").get("type"))
        return {**about, "input_audio_format": names[kind], **flat, "include": self._include}


def _input_of(asked: Fields) -> Json:
    """Return the changes to audio input, wherever the API's generation puts them."""
    given: Json = dict(section(section(asked, "audio"), "input"))
    given.update({ours: asked[theirs] for theirs, ours in _BETA_NAMES.items() if theirs in asked})
    beta = asked.get("input_audio_format")
    if beta is not None:
        kind = BETA_FORMATS.get(str(beta))
        if kind is None:
            raise BadMessage("session.input_audio_format", f"send one of {', '.join(BETA_FORMATS)}")
        given["format"] = {"type": kind}
    return given


def _merged(under: Fields, over: Fields) -> Json:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if not (isinstance(value, dict) and isinstance(below, dict)):
            merged[name] = value
            continue
        now, before = cast("Mapping[str, object]", value), cast("Mapping[str, object]", below)
        whole = name in _WHOLE and now.get("type", before.get("type")) != before.get("type")
        merged[name] = dict(now) if whole else _merged(before, now)
    return merged


def _check(given: Json) -> None:
    kind = section(given, "format").get("type")
    if kind not in FORMATS:
        raise BadMessage("session.audio.input.format", f"the format's type must be one of {', '.join(FORMATS)}")
    rate = section(given, "format").get("rate")
    try:
        AudioFormat(FORMATS[str(kind)], PCM_RATE if rate is None else integer(rate) or 0)
    except ValueError as problem:
        raise BadMessage("session.audio.input.format.rate", str(problem)) from problem
    turns = given.get("turn_detection")
    if turns is not None and section(given, "turn_detection").get("type") not in VAD:
        raise BadMessage("session.audio.input.turn_detection", f"must be null, or its type one of {', '.join(VAD)}")
    silence = section(given, "turn_detection").get("silence_duration_ms", 0)
    if silence is not None and (integer(silence) is None or (integer(silence) or 0) < 0):
        raise BadMessage("session.audio.input.turn_detection.silence_duration_ms", "must be a whole number from 0")
    language = string(section(given, "transcription"), "language")
    for tag in [*([language] if language else []), *texts(section(given, "transcription"), "languages")]:
        language_of(tag)
