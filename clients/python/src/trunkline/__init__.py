"""Client of Trunkline, self-hosted streaming transcription of live calls."""

from __future__ import annotations

from trunkline.client import Call, connect
from trunkline.errors import CallFailed, ConnectionLost, Refused, TrunklineError, Unreachable
from trunkline.messages import (
    Ack,
    Audio,
    Closed,
    Dtmf,
    Error,
    Event,
    Final,
    Finalized,
    GoAway,
    Partial,
    Paused,
    Quality,
    Ready,
    Reconnecting,
    Resumed,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Unpaused,
    UtteranceEnd,
    Watching,
    Word,
)
from trunkline.transcript import Transcript
from trunkline.watch import WatchedCall, watch

__all__ = [
    "Ack",
    "Audio",
    "Call",
    "CallFailed",
    "Closed",
    "ConnectionLost",
    "Dtmf",
    "Error",
    "Event",
    "Final",
    "Finalized",
    "GoAway",
    "Partial",
    "Paused",
    "Quality",
    "Ready",
    "Reconnecting",
    "Refused",
    "Resumed",
    "ServerMessage",
    "SpeechEnded",
    "SpeechStarted",
    "Transcript",
    "TrunklineError",
    "Unpaused",
    "Unreachable",
    "UtteranceEnd",
    "WatchedCall",
    "Watching",
    "Word",
    "connect",
    "watch",
]
