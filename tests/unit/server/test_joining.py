"""Channels of one call that come over connections of their own."""

from __future__ import annotations

from dataclasses import replace

from server.dialect import Audio
from server.feed import CallFeed
from server.joining import Joining, Part
from server.settings import Limits
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.log.memory import MemoryLog
from streaming.records import ALL_CHANNELS, UNTIMED

SPEC = CallSpec("call-1", "acme", AudioFormat(Encoding.MULAW, 8000, 2), ("customer", "agent"))
SOUND = Audio(ALL_CHANNELS, UNTIMED, b"\x01" * 160)


def opened(joining: Joining) -> Part:
    return joining.open(CallFeed(MemoryLog(slots=1), SPEC, 0, Limits(), 10.0), 0, 10.0, keep_s=60.0)


def test_a_late_channel_is_placed_by_the_clock_and_follows_itself_from_there() -> None:
    """What both sides said at a time must lie at one time of the call."""
    joint = opened(Joining()).joint
    part = joint.take(1)
    assert part.joint.placed(1, SOUND, 15.0) == [Audio(1, 40_000, SOUND.payload)]
    assert part.joint.placed(1, SOUND, 15.02) == [Audio(1, UNTIMED, SOUND.payload)]


def test_a_very_late_channel_leaves_no_gap_longer_than_the_media_clock_fills() -> None:
    """A longer one would count as a jump, and the channel would lie too early for the rest of the call."""
    part = opened(Joining()).joint.take(1)
    placed = part.joint.placed(1, SOUND, 55.0)
    assert [audio.position / 8000 for audio in placed] == [20.0, 40.0, 45.0]


def test_only_the_same_tenant_and_format_may_be_a_channel_that_nobody_is() -> None:
    """Ids are chosen by callers: another tenant's call must stay closed to a guess."""
    joint = opened(Joining()).joint
    assert joint.fits(SPEC, 1)
    assert not joint.fits(SPEC, 0)
    assert not joint.fits(replace(SPEC, tenant="other"), 1)
    assert not joint.fits(replace(SPEC, audio=AudioFormat(Encoding.ALAW, 8000, 2)), 1)


def test_the_last_channel_to_leave_ends_the_call_and_nobody_can_join_behind_it() -> None:
    """Until then the others go on."""
    joining = Joining()
    first = opened(joining)
    second = first.joint.take(1)
    first.end("hangup")
    first.end("hangup")
    assert joining.find("call-1") is first.joint
    assert not first.joint.feed.ended
    second.end("hangup")
    assert joining.find("call-1") is None
    assert first.joint.feed.ended


def test_a_call_whose_last_connection_broke_is_kept_until_somebody_comes_back() -> None:
    """A network that fails for a second takes every connection of a call with it."""
    joining = Joining()
    first = opened(joining)
    joint = first.joint
    first.lose(100.0)
    joint.pulse(159.9)
    assert joining.find("call-1") is joint
    second = joint.take(1)
    joint.pulse(1000.0)
    assert not joint.feed.ended
    second.lose(1000.0)
    joint.pulse(1060.0)
    assert joint.feed.ended
    assert joining.find("call-1") is None


def test_a_gateway_that_stops_waits_for_nobody_to_come_back() -> None:
    """No other one could go on with the call, and its last words are still to become final."""
    part = opened(Joining())
    part.joint.give_up()
    assert not part.joint.feed.ended
    part.lose(100.0)
    part.joint.give_up()
    assert part.joint.feed.ended


def test_a_channel_that_comes_back_is_placed_by_the_clock_again() -> None:
    """Else all that it says would lie earlier in the call than what the other side answers."""
    part = opened(Joining())
    assert part.audio(SOUND, 10.0)
    part.lose(11.0)
    again = part.joint.take(0)
    assert [audio.position for audio in part.joint.placed(0, SOUND, 15.0)] == [40_000]
    assert again.audio(SOUND, 15.0)


def test_a_channel_that_was_ahead_of_the_clock_goes_on_where_it_stopped() -> None:
    """A bridge that sends what it stored sends it fast; to be placed earlier would drop what comes next."""
    part = opened(Joining())
    assert part.audio(Audio(ALL_CHANNELS, UNTIMED, b"\x01" * 16_000), 10.0)
    part.lose(10.5)
    part.joint.take(0)
    assert [audio.position for audio in part.joint.placed(0, SOUND, 11.0)] == [16_000]
