"""Speechmatics' real-time API as a translator."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from server.apis.speechmatics import SpeechmaticsDialect, routes
from server.auth import Keyring
from server.dialect import Close, Finalize, Ill, Trouble, Upgrade
from server.errors import Refusal
from streaming.call import AudioFormat, Encoding
from streaming.records import Finalized, UtteranceEnded
from tests.support.bridges import Frame, Line, fuzz
from tests.support.dialects import UPGRADE, final, partial

RAW = {"type": "raw", "encoding": "pcm_s16le", "sample_rate": 16_000}


def start(audio: dict[str, Any] | None = None, **config: Any) -> str:
    wanted = {"language": "en", "enable_partials": True, **config}
    return json.dumps({"message": "StartRecognition", "audio_format": audio or RAW, "transcription_config": wanted})


def line() -> Line:
    return Line(SpeechmaticsDialect(UPGRADE, ["tiny.en"]))


def kinds(call: Line) -> list[object]:
    return [message["message"] for message in call.messages]


def test_a_session_from_start_to_the_end_of_the_transcript() -> None:
    """Every frame is acknowledged by number: clients hold back audio otherwise."""
    call = line().say(start(), b"\1\0" * 160, b"\1", b"\0\1\0")
    call.tell(partial("hello", 0.0, 0.5), final("Hello, world.", 0.0, 1.0))
    call.say('{"message":"EndOfStream","last_seq_no":3}').finish()
    assert kinds(call) == [
        "RecognitionStarted",
        "AudioAdded",
        "AudioAdded",
        "AudioAdded",
        "AddPartialTranscript",
        "AddTranscript",
        "EndOfTranscript",
    ]
    assert [message["seq_no"] for message in call.messages[1:4]] == [1, 2, 3]
    assert call.samples() == b"\1\0" * 162
    told: Any = call.messages[5]
    assert told["format"] == "2.1"
    assert told["metadata"] == {"transcript": "Hello, world. ", "start_time": 0.0, "end_time": 1.0}
    shown = [(one["type"], one["alternatives"][0]["content"]) for one in told["results"]]
    assert shown == [("word", "Hello"), ("punctuation", ","), ("word", "world"), ("punctuation", ".")]
    assert [one.get("is_eos") for one in told["results"]] == [None, False, None, True]
    assert told["results"][1]["start_time"] == told["results"][1]["end_time"] == 0.5
    assert (call.ended, call.close) == ("hangup", Close(1000))


def test_a_mark_alone_is_no_word() -> None:
    """Models write dashes and dots of their own."""
    told: Any = line().say(start()).tell(final("...", 0.0, 0.5)).messages[-1]
    assert {one["type"] for one in told["results"]} == {"punctuation"}


def test_everything_asked_for_is_in_the_call() -> None:
    """Vocabulary comes as words, or as objects with their sounds."""
    call = line().say(
        start(
            {"type": "raw", "encoding": "mulaw", "sample_rate": 8000},
            language="de",
            enable_partials=False,
            operating_point="tiny.en",
            additional_vocab=["Rösti", {"content": "Gnocchi", "sounds_like": ["nyohki"]}, {}],
            conversation_config={"end_of_utterance_silence_trigger": 0.75},
        )
    )
    spec = call.spec
    assert spec is not None
    assert spec.audio == AudioFormat(Encoding.MULAW, 8000)
    assert (spec.language, spec.hotwords, spec.model) == ("de", ("Rösti", "Gnocchi"), "tiny.en")
    assert (spec.interim, spec.utterance_end_ms) == (False, 750)
    assert call.tell(partial("x", 0.0, 0.5)).messages[-1]["message"] == "RecognitionStarted"
    other = line().say(start(language="auto", conversation_config={"end_of_utterance_silence_trigger": 0}))
    assert other.spec is not None
    assert (other.spec.language, other.spec.utterance_end_ms) == (None, None)


def test_the_path_may_name_the_language() -> None:
    """Older clients have it there."""
    served = routes(Keyring({}), 300)[1]
    captured = served.match("/v2/fr")
    assert captured is not None
    dialect = served.build(Upgrade("acme", "r", "/v2/fr", captured=captured))
    spec = Line(dialect).say(start(language=None)).spec
    assert spec is not None
    assert spec.language == "fr"


def test_what_is_no_language_is_no_address_of_ours() -> None:
    """Deepgram has a /v2/listen, which is another protocol."""
    with pytest.raises(Refusal) as refused:
        routes(Keyring({}), 300)[1].build(Upgrade("acme", "r", "/v2/listen", captured={"language": "listen"}))
    assert refused.value.status == 404


def test_floats_are_made_16_bit() -> None:
    """Browsers have nothing else."""
    call = line().say(start({"type": "raw", "encoding": "pcm_f32le", "sample_rate": 48_000}))
    call.say(struct.pack("<f", 0.5) + b"\0", b"\0\0\0")
    assert call.samples() == struct.pack("<2h", 16_384, 0)


def test_ends_of_utterances_come_when_they_are_asked_for() -> None:
    """By silence, or at once."""
    call = line().say(start(), '{"message":"ForceEndOfUtterance"}', '{"message":"GetSpeakers"}')
    assert call.finalizes == [Finalize(None, "1")]
    call.tell(UtteranceEnded(0, "c", 0, 1.5), Finalized(0, "c", None, "1"))
    call.say('{"message":"SetRecognitionConfig"}')
    assert kinds(call)[1:] == ["SpeakersResult", "EndOfUtterance", "EndOfUtterance", "Warning"]


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([b"\0\0"], "invalid_message"),
        (['{"message":"EndOfStream"}'], "protocol_error"),
        ([start(), start()], "protocol_error"),
        ([start(), '{"message":"Dance"}'], "invalid_message"),
        ([start({"type": "file"})], "invalid_audio_type"),
        ([start({"type": "raw", "encoding": "opus", "sample_rate": 8000})], "invalid_audio_type"),
        ([start({"type": "raw", "encoding": "mulaw", "sample_rate": 1})], "invalid_audio_type"),
        ([start(language="?")], "invalid_config"),
        ([start(conversation_config={"end_of_utterance_silence_trigger": -1})], "invalid_config"),
    ],
)
def test_what_cannot_be_is_told_in_their_words(frames: list[Frame], kind: str) -> None:
    """An Error, then the close."""
    call = line().say(*frames)
    assert call.messages[-1]["type"] == kind
    assert call.close is not None
    assert call.close.code == 1008


def test_trouble_is_told_in_their_words() -> None:
    """Clients look at the type."""
    assert line().say(start()).tell(Trouble(Ill.OVERLOADED, "full")).messages[-1]["type"] == "quota_exceeded"


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    trigger = {"end_of_utterance_silence_trigger": 1}
    begin = start(additional_vocab=["a", {"content": "b"}], conversation_config=trigger)
    end = ['{"message":"ForceEndOfUtterance"}', '{"message":"EndOfStream"}']
    session: list[Frame] = [begin, *[b"\1\0" * 160] * 4, *end]
    fuzz(lambda: SpeechmaticsDialect(UPGRADE, ["tiny.en"]), [session])
