"""The golden messages of the native protocol, which the SDK reads and writes too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streaming import messages
from streaming.call import AudioFormat, Encoding
from streaming.decoding import Word
from streaming.message_codec import dump, parse

GOLDEN: list[dict[str, object]] = json.loads(
    (Path(__file__).parent / "golden" / "native.json").read_text(encoding="utf-8")
)
FROM_CLIENT = [example["message"] for example in GOLDEN if example["direction"] == "client"]
FROM_SERVER = [example["message"] for example in GOLDEN if example["direction"] == "server"]

SHOWN = "t0ken"
CLIENT_TYPES = "start, resume, finalize, pause, unpause, keepalive, close"

READ: list[messages.ClientMessage] = [
    messages.Start(AudioFormat(Encoding.MULAW, 8000, 1)),
    messages.Start(
        AudioFormat(Encoding.L16, 16000, 2),
        call="call-7",
        labels=("customer", "agent"),
        language="en",
        hotwords=("Trunkline", "Zürich"),
        model="tiny.en",
        interim=False,
        endpoint_ms=300,
        utterance_end_ms=1000,
        metadata={"queue": "support"},
    ),
    messages.Start(AudioFormat(Encoding.MULAW, 8000, 1), resumable=True),
    messages.Resume("call-7", SHOWN, (2, 1)),
    messages.Resume("call-7", SHOWN),
    messages.Pause(),
    messages.Unpause(),
    messages.Finalize("f1"),
    messages.Finalize("f2", 1),
    messages.KeepAlive(),
    messages.Close(),
]

GOOD_MORNING = (Word("Good", 0.32, 0.6, 0.97), Word("morning.", 0.6, 1.22, 0.95))
GREETING = (Word("Grüß", 2.0, 2.2, 0.8), Word("Gott", 2.2, 2.4, 0.6))
BEGINNING = (Word("good", 0.32, 0.6, 0.91), Word("mor", 0.6, 1.1, 0.44))

WRITTEN: list[messages.ServerMessage] = [
    messages.Ready("call-7", ("customer", "agent"), "tiny.en"),
    messages.Ready("call-7", ("customer", "agent"), "tiny.en", resume_token=SHOWN, resume_s=60.0),
    messages.Resumed("call-7", ("customer", "agent"), "tiny.en", 100_003, 12.500375, paused=False),
    messages.GoAway(20.0),
    messages.Paused(8.25),
    messages.Unpaused(9.5),
    messages.Watching("call-7", ("customer", "agent")),
    messages.Ack(1.5),
    messages.SpeechStarted(0, "customer", 0.32),
    messages.Partial(0, "customer", 0, 2, 0.32, 1.4, "good mor", 1, BEGINNING, "en", "tiny.en"),
    messages.Final(
        0, "customer", 0, 0.32, 1.22, "Good morning.", GOOD_MORNING, 0.96, "en", "tiny.en", "endpoint", 1.24, 0.31
    ),
    messages.Final(1, "agent", 0, 2.0, 2.4, "Grüß Gott", GREETING, 0.7, "de", "base", "end", 2.4, 0.25),
    messages.SpeechEnded(0, "customer", 1.24),
    messages.UtteranceEnd(0, "customer", 1.22),
    messages.Finalized("f1", None),
    messages.Finalized("f2", 1),
    messages.Dtmf(0, "customer", "5", 3.04),
    messages.Quality("tiny.en", "overload"),
    messages.Error("unknown_type", f"'type' must be one of {CLIENT_TYPES}", fatal=False),
    messages.Error("overloaded", "the server is full; try again", fatal=True, retry_after_s=5.0),
    messages.Closed("call-7", "hangup", 12.5, 0.04, 2),
]


@pytest.mark.parametrize(("golden", "expected"), list(zip(FROM_CLIENT, READ, strict=True)))
def test_a_golden_message_of_a_client_is_understood(golden: object, expected: messages.ClientMessage) -> None:
    """What the SDK writes must be what the server reads."""
    assert parse(json.dumps(golden)) == expected


@pytest.mark.parametrize(("golden", "message"), list(zip(FROM_SERVER, WRITTEN, strict=True)))
def test_a_golden_message_of_the_server_is_written(golden: object, message: messages.ServerMessage) -> None:
    """What the server writes must be what the SDK reads."""
    assert json.loads(dump(message)) == golden


def test_every_message_has_a_golden_example() -> None:
    """A message without an example is a message only one side knows."""
    assert {type(message) for message in READ} == set(messages.ClientMessage.__args__)
    assert {type(message) for message in WRITTEN} == set(messages.ServerMessage.__args__)
