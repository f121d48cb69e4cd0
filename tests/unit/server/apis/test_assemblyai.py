"""AssemblyAI's streaming as a translator."""

from __future__ import annotations

import dataclasses
import json

import pytest

from server.apis.assemblyai import AssemblyDialect, route
from server.auth import Keyring, key_of
from server.dialect import Acked, Close, Finalize, Ill, Trouble, Upgrade
from server.errors import Refusal
from streaming.call import AudioFormat, Encoding
from streaming.records import EndReason, SpeechStarted
from tests.support.bridges import Frame, Line, fuzz
from tests.support.dialects import final, partial

QUERY = {"sample_rate": "8000", "encoding": "pcm_mulaw", "format_turns": "True"}


def upgrade(**query: str) -> Upgrade:
    return Upgrade("acme", "request-1", "/v3/ws", tuple((QUERY | query).items()))


def line(**query: str) -> Line:
    return Line(AssemblyDialect(upgrade(**query), ["tiny.en"]))


def test_a_session_from_begin_to_termination() -> None:
    """Clients wait one second for Begin, and five for Termination."""
    call = line().say(b"\xff" * 800, b"\xff" * 800)
    assert call.messages[0] == {"type": "Begin", "id": "request-1", "expires_at": 10_800}
    call.tell(SpeechStarted(0, "c", 0, 0.25), Acked(1.0))
    call.tell(dataclasses.replace(partial("hello wor", 0.0, 0.9), stable=1), final("Hello, world.", 0.0, 1.0))
    call.say('{"type":"Terminate"}').finish()
    assert call.messages[1] == {"type": "SpeechStarted", "timestamp": 250}
    grows, done = call.messages[2:4]
    assert (grows["transcript"], grows["end_of_turn"], grows["turn_is_formatted"]) == ("hello", False, False)
    assert grows["words"] == [
        {"start": 0, "end": 500, "confidence": 0.9, "text": "hello", "word_is_final": True},
        {"start": 500, "end": 1000, "confidence": 0.9, "text": "wor", "word_is_final": False},
    ]
    assert (done["transcript"], done["end_of_turn"], done["turn_is_formatted"]) == ("Hello, world.", True, True)
    assert call.messages[4] == {"type": "Termination", "audio_duration_seconds": 1, "session_duration_seconds": 1}
    assert (call.ended, call.close) == ("hangup", Close(1000))


def test_a_turn_goes_on_over_cuts_and_its_number_counts_turns() -> None:
    """Whoever speaks for a minute has one turn."""
    call = line(format_turns="false").tell(final("one", 0.0, 1.0, reason=EndReason.CUT))
    call.tell(partial("two", 1.0, 1.5), partial("", 1.0, 1.5), final("two", 1.0, 2.0), final("three", 2.0, 3.0))
    turns = [(turn["turn_order"], turn["transcript"], turn["end_of_turn"]) for turn in call.messages[1:]]
    assert turns == [(0, "one", False), (0, "one", False), (0, "one two", True), (1, "three", True)]
    assert not any(turn["turn_is_formatted"] for turn in call.messages[1:])


def test_everything_asked_for_is_in_the_call() -> None:
    """Lists come as JSON."""
    spec = line(
        keyterms_prompt='["Trunkline", 3, ""]',
        speech_model="tiny.en",
        language_code="en",
        min_turn_silence="700",
        encoding="pcm_s16le",
        sample_rate="16000",
    ).spec
    assert spec is not None
    assert spec.audio == AudioFormat(Encoding.L16, 16_000)
    assert (spec.hotwords, spec.model, spec.language, spec.endpoint_ms) == (("Trunkline",), "tiny.en", "en", 700)
    english = line(speech_model="universal-streaming-english").spec
    assert english is not None
    assert (english.language, english.model) == ("en", None)


@pytest.mark.parametrize(
    "query",
    [
        {"encoding": "opus"},
        {"sample_rate": "11025"},
        {"keyterms_prompt": "{"},
        {"keyterms_prompt": "{}"},
        {"min_turn_silence": "soon"},
        {"min_turn_silence": "-1"},
        {"language_code": "?"},
    ],
)
def test_what_cannot_be_served_is_refused_before_the_upgrade(query: dict[str, str]) -> None:
    """The library reports the status."""
    served = route(Keyring({}), 300)
    with pytest.raises(Refusal) as refused:
        served.build(upgrade(**query))
    assert refused.value.status == 400
    assert served.refusal(refused.value, "r")["error_code"] == 400
    assert isinstance(served.build(upgrade()), AssemblyDialect)


def test_control_messages() -> None:
    """What cannot be done is a warning, what is unknown an error."""
    call = line().say('{"type":"ForceEndpoint"}', '{"type":"KeepAlive"}', '{"type":"UpdateConfiguration"}')
    assert call.finalizes == [Finalize(None, "1")]
    assert call.say('{"type":"Dance"}').close is not None
    assert [message["type"] for message in call.messages] == ["Begin", "Warning", "Error"]
    full = line().tell(Trouble(Ill.TOO_FAST, "slower"))
    assert (full.messages[-1], full.close) == ({"type": "Error", "error": "too_fast: slower"}, Close(1008, "too_fast"))


def test_the_key_comes_bare() -> None:
    """Without a scheme."""
    assert key_of("k-1", {}, ()) == "k-1"


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    session: list[Frame] = [b"\xff" * 800, json.dumps({"type": "ForceEndpoint"}), b"\xff" * 801, '{"type":"Terminate"}']
    fuzz(lambda: AssemblyDialect(upgrade(), ["tiny.en"]), [session])
