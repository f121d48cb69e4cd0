"""What an OpenAI session is set to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.apis.openai_session import SessionSettings
from streaming.call import AudioFormat, Encoding
from streaming.errors import BadMessage
from tests.support.dialects import UPGRADE

TURNS = "session.audio.input.turn_detection"


def fresh() -> SessionSettings:
    return SessionSettings("sess_1", ["tiny.en"])


def asked(**given: object) -> dict[str, Any]:
    return {"type": "transcription", "audio": {"input": given}}


def test_a_session_begins_with_the_documented_defaults() -> None:
    """Clients show them, and libraries index them."""
    settings = fresh()
    shown: dict[str, Any] = settings.shown(beta=False)
    assert shown["type"] == "transcription"
    assert shown["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert shown["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500
    spec = settings.spec(UPGRADE)
    assert spec.audio == AudioFormat(Encoding.L16, 24_000)
    assert (spec.endpoint_ms, spec.language, spec.hotwords, spec.model) == (None, None, (), None)
    json.dumps(shown)


def test_a_change_touches_only_what_it_names_and_null_clears() -> None:
    """Merge, not replace: the protocol's own rule."""
    settings = fresh()
    settings.change(asked(transcription={"model": "tiny.en", "language": "de-CH", "keywords": ["Rösti", " "]}))
    settings.change(asked(transcription={"prompt": "Zürich"}, turn_detection={"silence_duration_ms": 700}))
    spec = settings.spec(UPGRADE)
    assert (spec.model, spec.language, spec.hotwords, spec.endpoint_ms) == ("tiny.en", "de", ("Rösti", "Zürich"), 700)
    assert settings.finds_turns
    settings.change(asked(turn_detection=None))
    settings.change({"include": ["item.input_audio_transcription.logprobs"]})
    assert not settings.finds_turns
    assert settings.shown(beta=False)["include"] == ["item.input_audio_transcription.logprobs"]
    assert settings.spec(UPGRADE).endpoint_ms is None


def test_another_type_brings_its_own_fields_only() -> None:
    """A threshold of server_vad means nothing to semantic_vad, nor a pcm rate to g711."""
    settings = fresh()
    settings.change(asked(format={"type": "audio/pcmu"}, turn_detection={"type": "semantic_vad", "eagerness": "low"}))
    shown: dict[str, Any] = settings.shown(beta=False)
    assert shown["audio"]["input"]["turn_detection"] == {"type": "semantic_vad", "eagerness": "low"}
    assert settings.audio == AudioFormat(Encoding.MULAW, 8000)


def test_the_beta_has_flat_names_of_its_own() -> None:
    """Clients that were not moved to today's API still send them."""
    settings = fresh()
    settings.change(
        {
            "input_audio_format": "g711_alaw",
            "input_audio_transcription": {"model": "whisper-1", "language": "en"},
            "input_audio_noise_reduction": {"type": "near_field"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        }
    )
    assert settings.audio == AudioFormat(Encoding.ALAW, 8000)
    assert (settings.spec(UPGRADE).language, settings.spec(UPGRADE).endpoint_ms) == ("en", 300)
    shown = settings.shown(beta=True)
    assert shown["input_audio_format"] == "g711_alaw"
    assert shown["input_audio_noise_reduction"] == {"type": "near_field"}


@pytest.mark.parametrize("rate", [8000, 16_000, "48000"])
def test_other_rates_are_an_extension(rate: object) -> None:
    """Telephony has 8 or 16 kHz, and would have to resample otherwise."""
    settings = fresh()
    settings.change(asked(format={"type": "audio/pcm", "rate": rate}))
    assert settings.audio.rate == int(str(rate))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (asked(format={"type": "audio/opus"}), "session.audio.input.format"),
        (asked(format="pcm16"), "session.audio.input.format"),
        (asked(format={"type": "audio/pcm", "rate": 11025}), "session.audio.input.format.rate"),
        (asked(format={"type": "audio/pcm", "rate": "x"}), "session.audio.input.format.rate"),
        ({"input_audio_format": "mp3"}, "session.input_audio_format"),
        (asked(turn_detection={"type": "psychic"}), "session.audio.input.turn_detection"),
        (asked(turn_detection="server_vad"), "session.audio.input.turn_detection"),
        (asked(turn_detection={"silence_duration_ms": -1}), "session.audio.input.turn_detection.silence_duration_ms"),
        (
            asked(turn_detection={"silence_duration_ms": "soon"}),
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        (asked(transcription={"language": "?"}), "bad_option"),
        (asked(transcription={"languages": ["en", "?"]}), "bad_option"),
    ],
)
def test_what_cannot_be_is_refused_whole(change: dict[str, object], where: str) -> None:
    """A session that is half changed would surprise everybody."""
    settings = fresh()
    before = settings.shown(beta=False)
    with pytest.raises(BadMessage) as refused:
        settings.change({**change, "include": ["x"]})
    assert refused.value.code == where
    assert settings.shown(beta=False) == before


def test_one_language_of_a_list_is_a_choice_and_several_are_none() -> None:
    """Several candidates mean detection."""
    settings = fresh()
    settings.change(asked(transcription={"languages": ["fr"]}))
    assert settings.spec(UPGRADE).language == "fr"
    settings.change(asked(transcription={"languages": ["fr", "en"]}))
    assert settings.spec(UPGRADE).language is None
