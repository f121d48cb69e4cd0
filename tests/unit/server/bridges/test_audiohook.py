"""Genesys' AudioHook as a translator."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from server.auth import Keyring
from server.bridge import Transcripts
from server.bridges.audiohook import (
    FINALS_S,
    NOBODY,
    PEER_CLOSES_S,
    RECONNECT_S,
    TRANSITIONS,
    AudioHookDialect,
    State,
    routes,
)
from server.dialect import Close, Dtmf, Ill, Trouble
from server.errors import BadSetting, Refusal
from server.settings import AudioHook
from streaming.call import AudioFormat, Encoding
from streaming.records import CallClosed, SpeechStarted
from tests.support.audiohook import CONVERSATION, MONO, ORGANIZATION, SECOND, SESSION, STEREO, Client, session
from tests.support.bridges import Frame, Line, fuzz, upgrade
from tests.support.dialects import final, partial


def line(transcripts: Transcripts = Transcripts.ALL, refuse: Trouble | None = None) -> Line:
    return Line(AudioHookDialect(upgrade(), transcripts), refuse)


def types(call: Line) -> list[object]:
    return [message["type"] for message in call.messages]


def state_of(call: Line) -> State:
    assert isinstance(call.dialect, AudioHookDialect)
    return call.dialect.state


def info_of(call: Line) -> str:
    """Return why the last message disconnects."""
    message = call.messages[-1]
    assert message["type"] == "disconnect"
    parameters = message["parameters"]
    assert isinstance(parameters, dict)
    return f"{parameters['reason']}: {parameters['info']}"


def test_an_open_is_answered_and_becomes_a_call_with_both_sides() -> None:
    """Exactly one of the media offered comes back, as it was offered."""
    call = line().say(Client().open(supportedLanguages=True))
    assert call.messages == [
        {
            "version": "2",
            "id": SESSION,
            "type": "opened",
            "seq": 1,
            "clientseq": 1,
            "parameters": {"startPaused": False, "media": [STEREO], "supportedLanguages": ["en-us"]},
        }
    ]
    assert call.spec is not None
    assert (call.spec.call, call.spec.labels, call.spec.language) == (SESSION, ("external", "internal"), "en")
    assert (call.spec.audio, call.spec.hotwords) == (AudioFormat(Encoding.MULAW, 8000, 2), ("Trunkline",))
    assert call.spec.metadata == {
        "audiohook.session_id": SESSION,
        "audiohook.conversation_id": CONVERSATION,
        "audiohook.organization_id": ORGANIZATION,
        "audiohook.participant_id": "883e",
        "audiohook.ani": "+15555550100",
        "audiohook.aniName": "John",
        "audiohook.dnis": "+18005550100",
    }


def test_a_whole_session_keeps_its_clock_and_its_count() -> None:
    """Discarded and paused time is silence, every answer has the next number, and closed comes after the text."""
    call = line().say(*session())
    assert [(one.position, len(one.payload)) for one in call.audio] == [(0, 6400), (8000, 1600), (32800, 1600)]
    assert (call.keys, call.ended, types(call)) == ([Dtmf(0, "3")], "hangup", ["opened", "pong", "updated"])
    call.tell(final("hello", 0.0, 1.0, channel=1)).finish()
    assert types(call) == ["opened", "pong", "updated", "event", "closed"]
    assert [message["seq"] for message in call.messages] == [1, 2, 3, 4, 5]
    assert [message["clientseq"] for message in call.messages] == [1, 2, 7, 8, 8]
    assert call.close is None
    call.say(Client().open(), b"\xff\xff").wait(PEER_CLOSES_S)
    assert call.close == Close(1000)


def test_text_goes_back_as_transcript_events() -> None:
    """Partials and the final of one utterance share an id; times are on the call's clock."""
    call = line().say(Client().open()).tell(SpeechStarted(0, "x", 0, 0.0), partial("hello", 1.25, 2.0))
    call.tell(final("hello there", 1.25, 2.25), final("next", 3.0, 4.0, number=1))
    found = [message["parameters"] for message in call.messages[1:]]
    data = [json.loads(json.dumps(parameters))["entities"][0]["data"] for parameters in found]
    assert (data[0]["id"] == data[1]["id"], data[1]["id"] == data[2]["id"]) == (True, False)
    assert data[1] | {"id": ""} == {
        "id": "",
        "channelId": 0,
        "isFinal": True,
        "offset": "PT1.25S",
        "duration": "PT1S",
        "alternatives": [
            {
                "confidence": 0.9,
                "languages": ["en-us"],
                "interpretations": [
                    {
                        "type": "display",
                        "transcript": "hello there",
                        "tokens": [
                            {
                                "type": "word",
                                "value": word,
                                "confidence": 0.9,
                                "offset": offset,
                                "duration": "PT0.5S",
                            }
                            for word, offset in (("hello", "PT1.25S"), ("there", "PT1.75S"))
                        ],
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize(("chosen", "count"), [(Transcripts.NONE, 0), (Transcripts.FINALS, 1), (Transcripts.ALL, 2)])
def test_as_much_text_goes_back_as_is_wanted(chosen: Transcripts, count: int) -> None:
    """A monitor reads none."""
    call = line(chosen).say(Client().open()).tell(partial("hello", 0, 1), final("hello", 0, 1))
    assert types(call).count("event") == count


def test_a_probe_is_answered_and_is_no_call() -> None:
    """Genesys probes a connector when it is configured."""
    client = Client(conversation=NOBODY)
    call = line().say(client.open(), client.say("ping"), client.say("close", reason="end"))
    assert (types(call), call.spec, call.close) == (["opened", "pong", "closed"], None, None)


def test_a_session_without_media_is_no_call_either() -> None:
    """An empty list means that no audio will come."""
    call = line().say(Client(media=[]).open())
    assert call.messages[0]["parameters"] == {"startPaused": False, "media": []}
    assert call.spec is None
    call.tell(Trouble(Ill.START_TIMEOUT, "late"), Trouble(Ill.START_TIMEOUT, "late"))
    assert (types(call), call.close) == (["opened", "disconnect"], None)
    assert call.wait(PEER_CLOSES_S).close == Close(1000)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([MONO], MONO),
        ([MONO | {"format": "L16"}, MONO], MONO),
        ([STEREO | {"format": "L16"}, MONO], STEREO | {"format": "L16"}),
        ([MONO | {"format": "OPUS"}, MONO | {"rate": 16000}, MONO | {"channels": 5}, MONO], MONO),
    ],
)
def test_both_sides_are_chosen_before_one_and_mulaw_before_pcm(
    offered: list[dict[str, object]], chosen: dict[str, object]
) -> None:
    """Half the bandwidth, the same words."""
    (opened,) = line().say(Client(media=offered).open()).messages
    parameters = opened["parameters"]
    assert isinstance(parameters, dict)
    assert parameters["media"] == [chosen]


def test_media_we_do_not_have_are_refused() -> None:
    """In the protocol's words."""
    call = line().say(Client(media=[MONO | {"format": "OPUS"}]).open())
    assert info_of(call) == "error: Client Error: send one of pcmu, l16"


def test_a_session_that_continues_another_says_which() -> None:
    """After a reconnect the parts belong together."""
    continued = [{"id": "older", "serverseq": 5, "clientseq": 9}]
    call = line().say(Client().open(continuedSessions=continued, language=None, participant=None))
    assert call.spec is not None
    assert call.spec.metadata["audiohook.continues"] == "older"
    assert call.spec.language is None
    assert line().say(Client().open(supportedLanguages=True, language=None)).messages[0]["parameters"] == {
        "startPaused": False,
        "media": [STEREO],
        "supportedLanguages": [],
    }


def changed(**fields: object) -> str:
    return json.dumps(json.loads(Client().open()) | fields)


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        (["{"], "version 2 JSON object"),
        (["[]"], "version 2 JSON object"),
        ([changed(version="1")], "version 2 JSON object"),
        ([changed(x="x" * 65536)], "version 2 JSON object"),
        ([changed(seq=2)], "seq must be 1"),
        ([changed(seq="1")], "seq must be 1"),
        ([changed(serverseq=1)], "serverseq must be 0 to 0"),
        ([changed(serverseq=None)], "serverseq must be 0 to 0"),
        ([changed(), changed(seq=2, id="other")], "id changed"),
        ([changed(type="paused")], "'paused' cannot come in state new"),
        ([b"\xff"], "'audio' cannot come in state new"),
        ([changed(), b"\xff"], "whole samples"),
        ([changed(), changed(seq=2, type="paused"), SECOND], "'audio' cannot come in state paused"),
        ([changed(), changed(seq=2, type="discarded", parameters={"start": "PT1S"})], "durations"),
        ([changed(), changed(seq=2, type="discarded", parameters={"start": 1, "discarded": "1"})], "durations"),
    ],
)
def test_a_peer_that_breaks_the_rules_is_told_and_asked_to_close(frames: list[Frame], problem: str) -> None:
    """It closes; only if it does not, we do."""
    call = line().say(*frames)
    assert info_of(call).startswith("error: Client Error: ")
    assert problem in info_of(call)
    assert call.close is None
    call.say("nonsense", b"\xff")
    assert types(call).count("disconnect") == 1
    assert call.wait(PEER_CLOSES_S).close == Close(1000)


def test_words_of_the_connector_that_talks_back_mean_nothing_here() -> None:
    """They come with numbers all the same."""
    client = Client()
    call = line().say(client.open(), client.say("playback_started"), client.say("ping"))
    assert types(call) == ["opened", "pong"]


def test_a_key_before_the_call_or_none_at_all_is_left_out() -> None:
    """There is nothing it belongs to."""
    client = Client()
    call = line().say(client.open(), client.say("dtmf", digit="?"), client.say("dtmf"))
    assert call.keys == []


def test_text_that_comes_too_late_is_not_waited_for() -> None:
    """The peer waits ten seconds for closed, then counts an error."""
    client = Client()
    call = line().say(client.open(), client.say("close", reason="end"), client.say("ping"))
    assert call.wait(FINALS_S).tell(final("late", 0, 1)).messages[-1]["type"] == "closed"
    assert call.finish().wait(PEER_CLOSES_S).close == Close(1000)


def test_a_drain_asks_the_peer_to_go_elsewhere_and_to_close() -> None:
    """A call need not end because a server does."""
    client = Client()
    call = line().say(client.open()).tell(Trouble(Ill.DRAINING, "draining"))
    assert (types(call), call.ended) == (["opened", "reconnect"], None)
    call.say(SECOND, client.say("close", reason="reconnect")).finish()
    assert types(call) == ["opened", "reconnect", "closed"]


def test_a_peer_that_does_not_go_is_disconnected() -> None:
    """A drain has an end."""
    call = line().say(Client().open()).tell(Trouble(Ill.DRAINING, "draining")).wait(RECONNECT_S)
    assert (info_of(call), call.ended) == ("completed: the server is about to stop", "draining")


def test_a_call_that_ends_by_itself_is_disconnected() -> None:
    """Whoever serves it may end it."""
    call = line().say(Client().open()).tell(CallClosed(0, SESSION, "gone", 1.0, 0.0))
    assert info_of(call) == "completed: the call was ended"
    assert call.tell(CallClosed(0, SESSION, "gone", 1.0, 0.0), final("late", 0, 1)).messages[-1]["type"] == "disconnect"


@pytest.mark.parametrize("ill", [Ill.OVERLOADED, Ill.DUPLICATE_CALL])
def test_a_call_that_finds_no_room_is_told(ill: Ill) -> None:
    """And its close is answered."""
    client = Client()
    call = line(refuse=Trouble(ill, "no room", 5.0)).say(client.open())
    assert info_of(call) == "error: no room"
    assert types(call.say(client.say("close", reason="error")))[-1] == "closed"


def test_trouble_ends_the_call_and_a_second_one_the_connection() -> None:
    """A peer that reads nothing cannot be told anything."""
    call = line().say(Client().open()).tell(Trouble(Ill.SLOW_READER, "slow"))
    assert (info_of(call), call.ended) == ("error: slow", "slow_reader")
    assert call.tell(Trouble(Ill.INTERNAL, "broken")).close == Close(1011, "internal")


def test_a_connection_that_breaks_ends_its_call() -> None:
    """Nothing heard is lost."""
    assert line().say(Client().open(), SECOND).hang_up().ended == "disconnected"


@pytest.mark.parametrize("state", list(State))
def test_the_table_knows_every_state_and_only_such(state: State) -> None:
    """A state that is left out would be a hole."""
    assert set(TRANSITIONS[state].values()) <= set(State)


def test_settings_are_checked_and_the_address_chooses_the_text() -> None:
    """A secret that is not base64 would refuse every call."""
    with pytest.raises(BadSetting, match="base64"):
        routes(Keyring({}), AudioHook(secrets={"key": SecretStr("not base64!")}), 300)
    plain, _ = routes(Keyring({}), AudioHook(secrets={"key": SecretStr("c2VjcmV0")}), 300)
    assert plain.pattern == "/bridges/audiohook"
    assert isinstance(plain.build(upgrade(transcripts="none")), AudioHookDialect)
    with pytest.raises(Refusal):
        plain.build(upgrade(transcripts="some"))


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    made: Callable[[], AudioHookDialect] = lambda: AudioHookDialect(upgrade())  # noqa: E731 - typed
    fuzz(made, [session()])
    assert state_of(line().say(Client().open())) is State.LIVE
