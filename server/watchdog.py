"""How far a connection is, and what should have come by now and did not. Told the time."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from server.settings import Limits

ASK_AGAIN_S: Final = 3.0
"""Seconds after which a call that nobody handed over is asked for again: its shard may have been lost meanwhile."""

HAND_OVER_S: Final = 15.0
"""Seconds after which a peer is told to come back later: a lost shard's calls are served again within 10."""


class Stage(Enum):
    """How far a connection is."""

    NEW = "new"
    """No call yet."""
    LIVE = "live"
    """A call in progress."""
    REJOINING = "rejoining"
    """A call that another connection had is asked for."""
    HELD = "held"
    """The peer is gone and may come back, here or elsewhere."""
    WATCHING = "watching"
    """Reads a call that others make."""
    ENDING = "ending"
    """No more audio; the last finals are awaited."""
    CLOSED = "closed"
    """The close is decided; nothing counts any more."""


class Overdue(Enum):
    """What should have come."""

    START = auto()
    """A call, on a new connection."""
    FRAMES = auto()
    """Anything at all from the peer of a call."""
    ANSWER = auto()
    """The call that was asked for: ask again."""
    HANDOVER = auto()
    """The same, after so long that nobody seems to serve it."""
    PEER = auto()
    """The peer of a call that is kept for it."""
    FINALS = auto()
    """The last of a call that ended."""


class Watchdog:
    """Watches one connection.

    Args:
        start_s: Seconds a new connection may go without a call.
        idle_s: Seconds a call's peer may be silent.
        limits: Of the gateway.
        now: Monotonic seconds.
    """

    def __init__(self, start_s: float, idle_s: float, limits: Limits, now: float) -> None:
        self.stage = Stage.NEW
        """How far the connection is."""
        self.since = now
        """When it came there."""
        self.heard_at = now
        """When the peer sent something last."""
        self._asked_at = now
        self._start_s = start_s
        self._idle_s = idle_s
        self._limits = limits

    def enter(self, stage: Stage, now: float) -> None:
        """Note that the connection is at a stage, from now on."""
        self.stage = stage
        self.since = self._asked_at = now

    def overdue(self, now: float) -> Overdue | None:
        """Return what should have come; of an ``ANSWER`` this is told once for each time that it is worth asking."""
        here_s = now - self.since
        match self.stage:
            case Stage.LIVE if now - self.heard_at >= self._idle_s:
                return Overdue.FRAMES
            case Stage.NEW if here_s >= self._start_s:
                return Overdue.START
            case Stage.REJOINING if here_s >= HAND_OVER_S:
                return Overdue.HANDOVER
            case Stage.REJOINING if now - self._asked_at >= ASK_AGAIN_S:
                self._asked_at = now
                return Overdue.ANSWER
            case Stage.HELD if here_s >= self._limits.resume_s:
                return Overdue.PEER
            case Stage.ENDING if here_s >= self._limits.closing_s:
                return Overdue.FINALS
            case _:
                return None
