"""WhisperLive's client as seen by a translator."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from server.apis.whisper_live import WhisperLiveDialect, route
from server.auth import Keyring
from server.dialect import Close, Ill, Trouble
from server.errors import Refusal
from server.routes import Caller
from server.settings import WhisperLive
from streaming.call import AudioFormat, Encoding
from tests.support.bridges import Frame, Line, fuzz
from tests.support.dialects import UPGRADE, final, partial

UID = "5f0c5d7e"
FLOATS = struct.pack("<2f", 0.5, -0.5)


def hello(**options: Any) -> str:
    return json.dumps(
        {"uid": UID, "language": None, "task": "transcribe", "model": "small", "use_vad": True, **options}
    )


def line(**options: Any) -> Line:
    return Line(WhisperLiveDialect(UPGRADE, ["tiny.en"])).say(hello(**options))


def test_a_session_from_hello_to_disconnect() -> None:
    """Every message names the client, and only completed segments of this backend are kept."""
    call = line().say(FLOATS, FLOATS[:3], FLOATS[3:])
    call.tell(partial("hel", 0.0, 0.5), final("Hello", 0.0, 1.0), partial("wor", 1.0, 1.5), final("world", 1.0, 2.0))
    call.say(b"END_OF_AUDIO").finish()
    assert call.spec is not None
    assert call.spec.audio == AudioFormat(Encoding.L16, 16_000)
    assert call.samples() == struct.pack("<4h", 16_384, -16_384, 16_384, -16_384)
    assert {message["uid"] for message in call.messages} == {UID}
    told: Any = call.messages
    ready, first, language, second, third, fourth, last = told
    assert (ready["message"], ready["backend"]) == ("SERVER_READY", "faster_whisper")
    assert first["segments"] == [{"start": "0.000", "end": "0.500", "text": " hel", "completed": False}]
    assert (language["language"], language["language_prob"]) == ("en", 1.0)
    assert second["segments"] == [{"start": "0.000", "end": "0.500", "text": " Hello", "completed": True}]
    assert [segment["completed"] for segment in third["segments"]] == [True, False]
    assert [segment["text"] for segment in fourth["segments"]] == [" Hello", " world"]
    assert last["message"] == "DISCONNECT"
    assert (call.ended, call.close) == ("hangup", Close(1000))


def test_only_so_many_segments_are_repeated() -> None:
    """As many as the client wants."""
    call = line(send_last_n_segments=2, language="en").tell(*(final(str(n), n, n + 1.0) for n in range(4)))
    call.tell(partial("", 4.0, 5.0), partial("x", 4.0, 5.0))
    assert call.messages[-1]["segments"] == [
        {"start": "3.000", "end": "3.500", "text": " 3", "completed": True},
        {"start": "4.000", "end": "4.500", "text": " x", "completed": False},
    ]


def test_wishes_are_in_the_call_and_samples_may_be_16_bit() -> None:
    """Hotwords and a prompt both bias."""
    call = line(audio_format="int16", hotwords="Trunkline", initial_prompt="calls", model="tiny.en", language="en")
    assert call.spec is not None
    assert (call.spec.hotwords, call.spec.model, call.spec.language) == (("Trunkline", "calls"), "tiny.en", "en")
    assert call.say(b"\1\0\2", b"\0", "{}").samples() == b"\1\0\2\0"


@pytest.mark.parametrize("options", [{"task": "translate"}, {"audio_format": "uint8"}, {"language": "?"}])
def test_what_cannot_be_is_an_error_status(options: dict[str, str]) -> None:
    """The client shows it."""
    call = line(**options)
    assert call.messages[-1]["status"] == "ERROR"
    assert call.close is not None


def test_a_full_server_lets_wait() -> None:
    """In minutes, as the client shows it."""
    call = Line(WhisperLiveDialect(UPGRADE), Trouble(Ill.OVERLOADED, "full")).say(hello())
    assert (call.messages[-1]["status"], call.messages[-1]["message"]) == ("WAIT", 1)
    assert Line(WhisperLiveDialect(UPGRADE)).say(FLOATS).close is not None


def test_a_client_without_a_key_comes_in_only_where_that_is_set() -> None:
    """It has no way to show one."""
    keyring = Keyring({"acme": ["k"]})
    caller = Caller("/", (), {}, (), {}, loopback=True)
    assert route(keyring, WhisperLive(tenant="lab"), 300).identify(caller) == "lab"
    with pytest.raises(Refusal):
        route(keyring, WhisperLive(), 300).identify(caller)
    assert isinstance(route(keyring, WhisperLive(), 300).build(UPGRADE), WhisperLiveDialect)


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    session: list[Frame] = [hello(send_last_n_segments=3), *[FLOATS * 100] * 5, b"END_OF_AUDIO"]
    fuzz(lambda: WhisperLiveDialect(UPGRADE, ["tiny.en"]), [session])
