"""What still has to be sent."""

from __future__ import annotations

from server.dialect import Close, Send
from server.outbox import Outbox


def drained(outbox: Outbox) -> list[Send | Close]:
    frames: list[Send | Close] = []
    while (frame := outbox.take()) is not None:
        frames.append(frame)
    return frames


def test_only_the_newest_partial_of_a_channel_waits_and_finals_all_do() -> None:
    """A slow reader gets the present, and every final."""
    outbox = Outbox(max_bytes=1000)
    for frame in (
        Send("partial 0 a", "partial 0"),
        Send("final 0"),
        Send("partial 1 a", "partial 1"),
        Send("partial 0 b", "partial 0"),
        Send("final 1"),
        Close(1000),
    ):
        assert outbox.put(frame)

    assert drained(outbox) == [
        Send("final 0"),
        Send("partial 1 a", "partial 1"),
        Send("partial 0 b", "partial 0"),
        Send("final 1"),
        Close(1000),
    ]


def test_what_waits_is_measured_and_the_bound_reported() -> None:
    outbox = Outbox(max_bytes=10)
    assert outbox.put(Send("12345", "partial 0"))
    assert outbox.put(Send("1234567890", "partial 0"))
    assert not outbox.put(Send("1"))
    assert outbox.size == 11
    drained(outbox)
    assert outbox.size == 0
