"""What a session asks its shell to do."""

from __future__ import annotations

from dataclasses import dataclass

from streaming.decoding import Float32Array, Window
from streaming.records import OutRecord, Partial


@dataclass(frozen=True, slots=True)
class ScoreSpeech:
    """Judge these frames; the answer is ``SpeechScored``, in the order asked."""

    channel: int
    frames: Float32Array
    """float32, shape ``(k, 256)``, 8 kHz."""


@dataclass(frozen=True, slots=True)
class Decode:
    """Decode this window; the answer is ``Decoded`` or ``DecodeFailed``."""

    channel: int
    request: int
    """Unique within the call."""
    window: Window
    deadline: float
    """Monotonic seconds."""
    lead_s: float = 0.0
    """Seconds at the window's start that are earlier speech."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Append this record; records of a session keep their order."""

    record: OutRecord | Partial


Effect = ScoreSpeech | Decode | Publish
