"""What is known about a call before its first sample: who, in which format, with which wishes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

SAMPLE_RATE: Final = 16_000
"""Hz of everything behind the front end: media positions in the core are counted in these samples."""

SUPPORTED_RATES: Final = (8_000, 16_000, 24_000, 44_100, 48_000)
"""Hz a caller may send."""

MAX_CHANNELS: Final = 20
"""Sides a call may have (Deepgram's limit, which clients of that protocol know)."""


KEPT_S: Final = 10.0
"""Seconds without anything to write after which a call's writer says that it is still there."""

LOST_S: Final = 30.0
"""Seconds without a word of a writer that keeps its call after which it counts as gone; a caller may have ``resume_s``
more to come back."""


class Encoding(StrEnum):
    """How one sample travels."""

    MULAW = "mulaw"
    """G.711 mu-law, one byte a sample."""
    ALAW = "alaw"
    """G.711 A-law, one byte a sample."""
    L16 = "linear16"
    """Signed 16-bit little-endian, two bytes a sample."""
    L16BE = "linear16be"
    """Signed 16-bit big-endian (RTP's and MIME's audio/L16), two bytes a sample."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of one channel."""
        return 1 if self in (Encoding.MULAW, Encoding.ALAW) else 2


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """The call's own codec, as it crosses the log.

    Raises:
        ValueError: If the rate or the number of channels is not supported.
    """

    encoding: Encoding
    rate: int
    """Hz."""
    channels: int = 1
    """Interleaved channels of one payload, or the number of tracks sent one by one."""

    def __post_init__(self) -> None:
        if self.rate not in SUPPORTED_RATES:
            rates = ", ".join(str(rate) for rate in SUPPORTED_RATES)
            raise ValueError(f"sample rate {self.rate} Hz is not supported; send one of {rates}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ValueError(f"{self.channels} channels are not supported; send 1 to {MAX_CHANNELS}")


@dataclass(frozen=True, slots=True)
class CallSpec:
    """All that a call's caller chose; the first record of a call carries it."""

    call: str
    """Unique id."""
    tenant: str
    """Whose call it is: the owner of the API key, or ``local`` where no keys are set."""
    audio: AudioFormat
    labels: tuple[str, ...]
    """One name per side, such as ``customer`` and ``agent``."""
    language: str | None = None
    """ISO 639-1 code, or None to have it detected once and pinned."""
    hotwords: tuple[str, ...] = ()
    """Words to listen for; they bias the decoder and never appear in the text unless spoken."""
    model: str | None = None
    """A model the caller insists on, or None for the rung's."""
    interim: bool = True
    """Whether partials are wanted."""
    endpoint_ms: int | None = None
    """Silence that ends an utterance, in ms; None for the server's default."""
    utterance_end_ms: int | None = None
    """Gap after the last word that is reported as the utterance's end, in ms; None for no report."""
    protocol: str = "native"
    """The wire protocol it came by, for logs and metrics."""
    opened_at: float = 0.0
    """Unix time in seconds."""
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """What the bridge told about the call (its own ids, custom parameters); stored, never interpreted."""
    mixed: bool = False
    """Whether the interleaved channels are mixed down to one side."""
    resume_s: float = 0.0
    """Seconds a caller that lost its connection has to come back; 0 where the call ends with its connection."""
    kept: bool = False
    """Whether its writer says every ``KEPT_S`` that it is there, so that silence means that it is gone."""

    def __post_init__(self) -> None:
        if len(self.labels) != self.sides:
            raise ValueError(f"{self.sides} sides need as many labels, got {len(self.labels)}")

    @property
    def sides(self) -> int:
        """Channels that are transcribed: one if mixed, else all that are sent."""
        return 1 if self.mixed else self.audio.channels

    @property
    def side_encoding(self) -> Encoding:
        """How the samples of one side travel on: as they came, but for sides that are mixed here."""
        return Encoding.L16 if self.mixed else self.audio.encoding
