"""The messages of the native protocol, read and written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from trunkline import messages
from trunkline.messages import Audio, Closed, Error, Finalized, Start

GOLDEN = Path(__file__).parents[3] / "tests" / "contract" / "golden" / "native.json"


def golden(direction: str) -> list[Mapping[str, object]]:
    """The messages both ends of the protocol are held to."""
    if not GOLDEN.exists():
        return []
    cases = cast("list[dict[str, object]]", json.loads(GOLDEN.read_text("utf-8")))
    return [cast("Mapping[str, object]", case["message"]) for case in cases if case["direction"] == direction]


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden messages are in the server's repository")
@pytest.mark.parametrize("message", golden("server"), ids=lambda message: str(message["type"]))
def test_what_the_server_sends_is_read_completely(message: Mapping[str, object]) -> None:
    """A field that is lost on the way in would be missing for every user."""
    read = messages.parse(json.dumps(message))

    assert read is not None
    assert json.loads(messages.dump(read)) == message


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden messages are in the server's repository")
@pytest.mark.parametrize("message", golden("client"), ids=lambda message: str(message["type"]))
def test_what_this_client_sends_is_what_the_server_knows(message: Mapping[str, object]) -> None:
    """Client and server are written apart; the golden file is where they meet."""
    read = messages.parse_client(json.dumps(message))

    assert read is not None
    assert json.loads(messages.dump(read)) == message


def test_every_message_of_the_protocol_has_a_golden_example() -> None:
    """A message without an example would be free to drift."""
    if not GOLDEN.exists():
        pytest.skip("the golden messages are in the server's repository")
    shown = {message["type"] for direction in ("client", "server") for message in golden(direction)}

    assert shown == set(messages.TYPES.values())


def test_unknown_fields_are_ignored() -> None:
    """A newer server may say more than this client knows."""
    read = messages.parse('{"type": "finalized", "id": "f1", "channel": 1, "mood": "good"}')

    assert read == Finalized("f1", 1)


def test_unknown_types_are_no_message() -> None:
    """A newer server may send messages that this client has no use for."""
    assert messages.parse('{"type": "weather"}') is None
    assert messages.parse_client('{"type": "weather"}') is None


def test_whole_numbers_serve_as_times() -> None:
    """JSON writes 2.0 as 2 where a server likes to."""
    text = '{"type": "closed", "call": "c", "reason": "hangup", "audio_s": 2, "padded_s": 0, "finals": 0}'

    assert messages.parse(text) == Closed("c", "hangup", 2.0, 0.0, 0)


@pytest.mark.parametrize(
    "frame",
    ["", "[]", "{", '{"type": 1}', '{"type": "ack"}', '{"type": "ack", "audio_s": true}', '{"type": "final"}'],
)
def test_what_is_no_message_is_refused(frame: str) -> None:
    """Guessing at half a message would put wrong words into a transcript."""
    with pytest.raises(ValueError, match=r"."):
        messages.parse(frame)


def test_an_error_without_a_hint_has_none() -> None:
    """Only refusals that pass say when to try again."""
    read = messages.parse('{"type": "error", "code": "internal", "message": "m", "fatal": true}')

    assert read == Error("internal", "m", fatal=True, retry_after_s=None)


def test_start_leaves_out_what_is_default() -> None:
    """The server's own choices apply where the user made none."""
    written = json.loads(messages.dump(Start(Audio("alaw", 8000))))

    assert written == {"type": "start", "audio": {"encoding": "alaw", "sample_rate": 8000, "channels": 1}}


@pytest.mark.parametrize(("encoding", "rate", "channels"), [("opus", 8000, 1), ("mulaw", 11025, 1), ("mulaw", 8000, 0)])
def test_audio_that_no_server_takes_is_refused_at_once(encoding: str, rate: int, channels: int) -> None:
    """The mistake shows where it was made, not after connecting."""
    with pytest.raises(ValueError, match="not"):
        Audio(encoding, rate, channels)


def test_audio_knows_its_size() -> None:
    """Framing and pacing count in these."""
    assert Audio("linear16", 16000, 2).frame_bytes == 4
    assert Audio("mulaw", 8000, 2).second_bytes == 16000


def test_messages_cannot_be_changed() -> None:
    """A transcript that a caller edits by accident is worth nothing."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Finalized("f1", None).id = "f2"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue] - the point
