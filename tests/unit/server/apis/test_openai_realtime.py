"""OpenAI's Realtime transcription sessions as a translator."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

from server.apis.openai_realtime import RealtimeDialect, refusal, route
from server.auth import Keyring, key_of
from server.dialect import Acked, Close, Finalize, Ill, Trouble, Upgrade
from server.errors import Refusal
from streaming.call import AudioFormat, Encoding
from streaming.records import CallClosed, EndReason, Finalized, Progress, SpeechEnded, SpeechStarted
from tests.support.bridges import Frame, Line, fuzz
from tests.support.dialects import UPGRADE, final, partial

SECOND = base64.b64encode(b"\1\0" * 24_000).decode()
APPEND = json.dumps({"type": "input_audio_buffer.append", "audio": SECOND})
COMMIT = '{"type":"input_audio_buffer.commit","event_id":"c1"}'
CLEAR = '{"type":"input_audio_buffer.clear"}'
MANUAL = '{"type":"session.update","session":{"type":"transcription","audio":{"input":{"turn_detection":null}}}}'
BETA = (
    '{"type":"transcription_session.update","session":{"input_audio_format":"g711_ulaw",'
    '"input_audio_transcription":{"model":"whisper-1"},"turn_detection":{"type":"server_vad"}}}'
)


def line(**headers: str) -> Line:
    return Line(RealtimeDialect(Upgrade("acme", "request-1", "/v1/realtime", headers=headers), ["tiny.en"]))


def types(call: Line) -> list[str]:
    return [str(message["type"]).removeprefix("conversation.item.") for message in call.messages]


def only(call: Line, ending: str) -> list[dict[str, Any]]:
    return [message for message in call.messages if str(message["type"]).endswith(ending)]


def settled(number: int = 0, at: float = 1.0, text: str = "good morning") -> list[Any]:
    return [SpeechEnded(0, "c", 0, at), final(text, at - 1.0, at, number=number)]


def test_a_turn_in_the_documented_order() -> None:
    """Speech, deltas, its end, the commit, the item, and last the whole text with its usage."""
    call = line().say(APPEND)
    call.tell(SpeechStarted(0, "c", 0, 0.25), partial_of("good", 1), partial_of("good morning", 1))
    call.tell(partial_of("good morning all", 2), *settled(text="good morning, all."))
    assert types(call) == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_transcription.delta",
        "input_audio_transcription.delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "added",
        "done",
        "input_audio_transcription.completed",
    ]
    assert [message["delta"] for message in only(call, "delta")] == ["good", " morning"]
    assert len({message["event_id"] for message in call.messages}) == len(call.messages)
    done = only(call, "completed")[0]
    assert done["transcript"] == "good morning, all."
    assert done["usage"] == {"type": "duration", "seconds": 0.75}
    assert {message["item_id"] for message in call.messages if "item_id" in message} == {done["item_id"]}


def partial_of(text: str, stable: int, number: int = 0) -> Any:
    return dataclasses.replace(partial(text, 0.0, 0.9, number=number), stable=stable)


def test_deltas_only_append_and_the_rest_of_a_final_comes_as_one() -> None:
    """A client that joins deltas gets the transcript wherever no word was taken back."""
    call = line().say(APPEND)
    call.tell(SpeechStarted(0, "c", 0, 0.0), partial_of("one two", 1), *settled(text="one two three"))
    assert "".join(message["delta"] for message in only(call, "delta")) == "one two three"
    call.tell(SpeechStarted(0, "c", 0, 1.2), partial_of("for", 1, number=1), *settled(1, 2.0, "four five"))
    assert [message["delta"] for message in only(call, "delta")][2:] == ["for"]
    assert only(call, "completed")[1]["transcript"] == "four five"
    items = only(call, "committed")
    assert items[1]["previous_item_id"] == items[0]["item_id"]
    assert items[0]["previous_item_id"] is None


def test_an_utterance_that_was_cut_stays_one_turn() -> None:
    """People may speak for minutes; a turn ends where they pause."""
    call = line().say(APPEND).tell(SpeechStarted(0, "c", 0, 0.0))
    call.tell(final("one", 0.0, 0.5, reason=EndReason.CUT), *settled(1, text="two"))
    assert [message["delta"] for message in only(call, "delta")] == ["one", " two"]
    assert [message["transcript"] for message in only(call, "completed")] == ["one two"]


def test_turns_without_words_are_completed_empty_and_in_order() -> None:
    """A cough opens an item too, and clients wait for its end."""
    call = line().say(APPEND).tell(SpeechStarted(0, "c", 0, 0.0), SpeechEnded(0, "c", 0, 0.2))
    call.tell(SpeechStarted(0, "c", 0, 0.5), *settled())
    assert [message["transcript"] for message in only(call, "completed")] == ["", "good morning"]
    call.tell(SpeechStarted(0, "c", 0, 2.0), SpeechEnded(0, "c", 0, 2.2), Progress(0, "c", 0, 0, 48_000))
    assert len(only(call, "completed")) == 3
    call.tell(SpeechStarted(0, "c", 0, 4.0)).hang_up()
    assert call.ended == "hangup"
    assert call.tell(CallClosed(0, "c", "hangup", 5.0, 0.0)).close == Close(1000)
    assert len(only(call, "completed")) == 4


def test_without_turn_detection_the_client_commits() -> None:
    """Push to talk: pauses end nothing."""
    call = line().say(MANUAL, APPEND)
    call.tell(
        SpeechStarted(0, "c", 0, 0.0), SpeechEnded(0, "c", 0, 0.4), final("one", 0.0, 0.4), Progress(0, "c", 0, 0, 1)
    )
    call.say(COMMIT)
    item = only(call, "committed")[0]["item_id"]
    assert call.finalizes == [Finalize(None, item)]
    call.tell(partial_of("later", 1, number=0), final("two", 0.4, 1.0, number=1, reason=EndReason.FINALIZE))
    assert only(call, "completed") == []
    call.tell(Finalized(0, "c", None, item), Finalized(0, "c", None, "unknown"))
    assert [(message["item_id"], message["transcript"]) for message in only(call, "completed")] == [(item, "one two")]
    call.say(APPEND).tell(final("three", 1.0, 2.0, number=2)).say(COMMIT)
    second = only(call, "committed")[1]
    assert second["previous_item_id"] == item
    call.tell(Finalized(0, "c", None, second["item_id"]))
    assert only(call, "completed")[1]["usage"]["seconds"] == 1.0


def test_a_partial_that_overtakes_the_end_of_the_turn_before_is_left_out() -> None:
    """Partials come by a way of their own; their words would land in the wrong turn."""
    call = line().say(MANUAL, APPEND, COMMIT)
    late = partial("next", 1.0, 1.5)
    call.tell(dataclasses.replace(late, stable=1))
    assert only(call, "delta") == []


def test_a_commit_in_a_turn_that_was_found_ends_it_there() -> None:
    """Voice agents end turns themselves although the server would, too."""
    call = line().say(APPEND).tell(SpeechStarted(0, "c", 0, 0.0)).say(COMMIT)
    item = only(call, "committed")[0]["item_id"]
    call.tell(SpeechEnded(0, "c", 0, 0.9), final("one", 0.0, 1.0, reason=EndReason.FINALIZE))
    call.tell(Finalized(0, "c", None, item))
    assert len(only(call, "committed")) == len(only(call, "completed")) == 1
    call.say(APPEND, COMMIT).tell(SpeechEnded(0, "c", 0, 1.5))
    call.tell(Finalized(0, "c", None, call.finalizes[1].marker))
    assert [message["transcript"] for message in only(call, "completed")] == ["one", ""]
    call.tell(SpeechStarted(0, "c", 0, 2.0), SpeechEnded(0, "c", 0, 2.1)).say(APPEND, COMMIT)
    call.tell(Finalized(0, "c", None, call.finalizes[2].marker))
    assert len(only(call, "completed")) == 4


def test_speech_that_was_cleared_is_in_no_turn() -> None:
    """Its words may still be on their way."""
    call = line().say(MANUAL, CLEAR, APPEND).tell(partial_of("one", 1)).say(CLEAR)
    assert len(only(call, "cleared")) == 2
    call.tell(final("one two", 0.0, 1.0)).say(COMMIT)
    assert only(call, "error")[0]["error"]["code"] == "input_audio_buffer_commit_empty"
    call.say(APPEND).tell(final("three", 1.0, 2.0, number=1)).say(COMMIT)
    call.tell(Finalized(0, "c", None, call.finalizes[0].marker))
    assert [message["transcript"] for message in only(call, "completed")] == ["three"]


def test_speech_ends_that_were_cleared_are_not_told() -> None:
    """Their item is gone."""
    call = line().say(APPEND).tell(SpeechStarted(0, "c", 0, 0.0)).say(CLEAR).tell(SpeechEnded(0, "c", 0, 0.9))
    assert types(call)[-1] == "input_audio_buffer.cleared"


@pytest.mark.parametrize("how", ["header", "subprotocol", "message"])
def test_the_beta_hears_its_own_names(how: str) -> None:
    """Its clients look for conversation.item.created."""
    headers = {"header": {"openai-beta": "realtime=v1"}, "message": {}}.get(
        how, {"sec-websocket-protocol": "realtime, openai-insecure-api-key.k, openai-beta.realtime-v1"}
    )
    call = line(**headers).say(BETA)
    assert types(call)[1] == "transcription_session.updated"
    assert types(call)[0] == ("session.created" if how == "message" else "transcription_session.created")
    call.say(json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\xff" * 8000).decode()}))
    assert call.spec is not None
    assert call.spec.audio == AudioFormat(Encoding.MULAW, 8000)
    call.tell(SpeechStarted(0, "c", 0, 0.0), *settled())
    assert "created" in types(call)
    assert "added" not in types(call)


def test_samples_may_be_split_anywhere() -> None:
    """Base64 of any length is allowed."""
    call = line()
    for piece in (b"\1", b"\0\2", b"\0"):
        call.say(json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(piece).decode()}))
    assert call.samples() == b"\1\0\2\0"


def test_what_is_fixed_once_audio_came_is_refused_and_the_rest_changes() -> None:
    """The codec of a call cannot change, and a client must not believe that it did."""
    call = line().say(APPEND, BETA, MANUAL)
    assert [message["error"]["param"] for message in only(call, "error")] == ["session.audio.input"]
    assert only(call, "session.updated")[0]["session"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("frame", "code", "param"),
    [
        ("[]", "invalid_json", None),
        (b"\0\0", "invalid_json", None),
        ('{"type":"response.create","event_id":"e9"}', "unknown_event", "type"),
        ('{"type":"input_audio_buffer.append","audio":"?"}', "invalid_value", None),
        (
            '{"type":"session.update","session":{"input_audio_format":"opus"}}',
            "invalid_value",
            "session.input_audio_format",
        ),
    ],
)
def test_what_cannot_be_done_is_one_error_and_the_session_goes_on(frame: Frame, code: str, param: str | None) -> None:
    """Clients treat every error as the end, so none is sent for what does no harm."""
    call = line().say(frame)
    error = only(call, "error")[0]["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert call.close is None


def test_events_that_clients_are_not_told_are_not_told() -> None:
    """Acknowledgements are ours."""
    call = line().say(APPEND).tell(Acked(1.0), SpeechEnded(0, "c", 0, 0.5), partial_of("x", 0), partial_of("x", 1, 7))
    assert types(call) == ["session.created"]


def test_trouble_is_told_and_a_drain_lets_the_last_words_out() -> None:
    """A server that stops still owes what it heard."""
    full = line().say(APPEND).tell(Trouble(Ill.TOO_FAST, "slower"))
    assert only(full, "error")[0]["error"]["type"] == "server_error"
    assert full.close == Close(1008, "too_fast")
    calm = line().say(APPEND).tell(Trouble(Ill.DRAINING, "soon"), Trouble(Ill.DRAINING, "soon")).say(COMMIT)
    assert (calm.ended, calm.close) == ("draining", None)
    assert calm.tell(final("one", 0.0, 1.0)).finish().close == Close(1012, "draining")
    assert line().tell(Trouble(Ill.DRAINING, "soon")).close == Close(1012, "draining")
    closed = RealtimeDialect(UPGRADE)
    closed.deliver(Trouble(Ill.INTERNAL, "oh"), 0.0)
    assert closed.receive(APPEND, 0.0) == closed.deliver(Acked(1.0), 0.0) == []


def test_keys_hide_in_subprotocols_and_refusals_are_openais() -> None:
    """Browsers cannot set headers."""
    assert key_of(None, {}, ["realtime", "openai-insecure-api-key.k1", "openai-beta.realtime-v1"]) == "k1"
    assert refusal(Refusal(401, "unauthorized", "no"), "r")["error"] == {
        "message": "no",
        "type": "invalid_request_error",
        "code": "invalid_api_key",
        "param": None,
    }
    assert refusal(Refusal(503, "overloaded", "full"), "r")["error"] == {
        "message": "full",
        "type": "server_error",
        "code": "overloaded",
        "param": None,
    }
    assert isinstance(route(Keyring({}), 1.0).build(UPGRADE), RealtimeDialect)


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    fuzz(
        lambda: RealtimeDialect(UPGRADE, ["tiny.en"]),
        [[APPEND, APPEND, COMMIT, CLEAR, APPEND], [MANUAL, APPEND, COMMIT, APPEND, COMMIT], [BETA, APPEND, COMMIT]],
    )
