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
    Final,
    Finalized,
    Partial,
    Quality,
    Ready,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
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
    "Final",
    "Finalized",
    "Partial",
    "Quality",
    "Ready",
    "Refused",
    "ServerMessage",
    "SpeechEnded",
    "SpeechStarted",
    "Transcript",
    "TrunklineError",
    "Unreachable",
    "UtteranceEnd",
    "WatchedCall",
    "Watching",
    "Word",
    "connect",
    "watch",
]
