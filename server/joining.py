"""Calls whose channels come over connections of their own: the first opens the call, the others feed it too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from server.dialect import Audio
from server.feed import CallFeed
from streaming.audio import silence
from streaming.call import CallSpec
from streaming.records import UNTIMED

STEP_S: Final = 20.0
"""Seconds between marks of silence before a late channel: the media clock fills no gap longer than 30 s."""


class Joint:
    """One call and the channels that are connected to it.

    Args:
        feed: The call, whose opener runs it until ``over``.
        began: Monotonic seconds of the call's beginning.
        keep_s: How long the call is kept, in seconds, where the connection of its last channel broke.
        forget: Called once nobody can join any more.
    """

    def __init__(self, feed: CallFeed, began: float, keep_s: float, forget: Callable[[], None]) -> None:
        self.feed = feed
        self.over = asyncio.Event()
        """Set once every channel has left for good, or the opener failed."""
        self._began = began
        self._keep_s = keep_s
        self._forget = forget
        self._connected: set[int] = set()
        self._placed: set[int] = set()  # channels whose audio follows itself
        self._kept_until: float | None = None  # while nobody is connected

    @property
    def kept(self) -> bool:
        """Whether nobody is connected and somebody may still come back."""
        return self._kept_until is not None

    def fits(self, spec: CallSpec, channel: int) -> bool:
        """Tell whether a connection may be this channel of the call: same tenant and format, and nobody else is it."""
        ours = self.feed.spec
        return (ours.tenant, ours.audio) == (spec.tenant, spec.audio) and channel not in self._connected

    def take(self, channel: int) -> Part:
        """Connect a channel."""
        self._connected.add(channel)
        self._kept_until = None
        return Part(self, channel)

    def leave(self, channel: int, reason: str) -> None:
        """Disconnect a channel; with the last one the call ends."""
        self._disconnect(channel)
        if not self._connected:
            self._end(reason)

    def lose(self, channel: int, now: float) -> None:
        """Disconnect a channel whose connection broke; if it was the last one, somebody has a while to come back."""
        self._disconnect(channel)
        if not self._connected:
            self._kept_until = now + self._keep_s

    def pulse(self, now: float) -> None:
        """End the call if nobody came back in time."""
        if self._kept_until is not None and now >= self._kept_until:
            self.give_up()

    def give_up(self) -> None:
        """Wait for nobody to come back."""
        if self._kept_until is not None:
            self._kept_until = None
            self._end("disconnected")

    def close(self) -> None:
        """Let nobody in any more."""
        self._forget()
        self.over.set()

    def placed(self, channel: int, audio: Audio, now: float) -> list[Audio]:
        """Return a connection's audio as this channel of the call's; the first of it is placed by the clock."""
        if channel in self._placed:
            return [Audio(channel, UNTIMED, audio.payload)]
        self._placed.add(channel)
        form, heard_s = self.feed.spec.audio, self.feed.heard_s(channel)
        at_s = max(now - self._began, heard_s)  # what came faster than it was spoken is ahead of the clock
        marks = range(1, 1 + int((at_s - heard_s) / STEP_S))
        quiet = silence(form.encoding.sample_bytes, form.encoding)
        before = [Audio(channel, round((heard_s + mark * STEP_S) * form.rate), quiet) for mark in marks]
        return [*before, Audio(channel, round(at_s * form.rate), audio.payload)]

    def _disconnect(self, channel: int) -> None:
        self._connected.discard(channel)
        self._placed.discard(channel)  # who comes back is placed anew

    def _end(self, reason: str) -> None:
        self.close()
        if not self.feed.ended:
            self.feed.end(reason)


@dataclass(slots=True)
class Part:
    """One connection's channel of a call; takes what the call's feed takes, and passes it on as this channel's."""

    joint: Joint
    channel: int
    connected: bool = True

    @property
    def ended(self) -> bool:
        """Whether nothing of this channel comes any more, or the whole call is over."""
        return self.joint.feed.ended or not self.connected

    @property
    def broken(self) -> bool:
        """Whether the connection that writes the call is gone while the call goes on."""
        return self.joint.over.is_set() and not self.joint.feed.ended

    def audio(self, audio: Audio, now: float) -> bool:
        """Take audio; see ``CallFeed.audio``."""
        return all(self.joint.feed.audio(placed, now) for placed in self.joint.placed(self.channel, audio, now))

    def finalize(self, channel: int | None, marker: str) -> None:
        """Ask for everything of this channel before this to become final."""
        del channel
        self.joint.feed.finalize(self.channel, marker)

    def dtmf(self, channel: int, digit: str) -> None:
        """Note a key pressed on this channel."""
        del channel
        self.joint.feed.dtmf(self.channel, digit)

    def pause(self, *, paused: bool) -> None:
        """Pause the whole call, or go on with it."""
        self.joint.feed.pause(paused=paused)

    def end(self, reason: str) -> None:
        """Leave, once; the last one to leave ends the call."""
        if self.connected:
            self.connected = False
            self.joint.leave(self.channel, reason)

    def lose(self, now: float) -> None:
        """Leave because the connection broke: the call goes on for a while, so that another can be this channel."""
        if self.connected:
            self.connected = False
            self.joint.lose(self.channel, now)


class Joining:
    """The calls of this gateway that further connections may join."""

    def __init__(self) -> None:
        self._joints: dict[str, Joint] = {}

    def find(self, call: str) -> Joint | None:
        """Return a call that can be joined; None where there is none of this id."""
        return self._joints.get(call)

    def open(self, feed: CallFeed, channel: int, now: float, *, keep_s: float) -> Part:
        """Let others join a call; its opener is one of its channels."""
        call = feed.spec.call
        joint = self._joints[call] = Joint(feed, now, keep_s, lambda: self._forget(call))
        return joint.take(channel)

    def _forget(self, call: str) -> None:
        self._joints.pop(call, None)
