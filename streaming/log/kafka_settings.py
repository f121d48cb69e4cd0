"""Where a Kafka cluster is, how it wants to be spoken to, and how the log is laid out in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from streaming.log import ONE_SLOT, Topic

MAX_RECORD_BYTES: Final = 1_000_000
"""Largest record."""

FRAMING_BYTES: Final = 48_588
"""What Kafka may put around it: together they are the broker's own default."""


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How a cluster wants to be spoken to; the default is plain text without names.

    Raises:
        ValueError: If a mechanism comes without a name and a password, or a certificate without its key.
    """

    tls: bool = False
    """Encrypt, and check the brokers' certificates and host names."""
    ca_file: str | None = None
    """PEM file of the authority that signed the brokers' certificates, or None for the system's."""
    certificate_file: str | None = None
    """PEM file of our own certificate, where brokers want one."""
    key_file: str | None = None
    """PEM file of its key."""
    mechanism: str | None = None
    """SASL mechanism: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``; None for no login."""
    username: str = ""
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.mechanism is not None and self.mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            raise ValueError(f"SASL mechanism {self.mechanism} is not supported; PLAIN, SCRAM-SHA-256/-512 are")
        if self.mechanism is not None and not (self.username and self.password):
            raise ValueError(f"SASL mechanism {self.mechanism} needs a user name and a password")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("a client certificate needs its key, and a key its certificate")

    @property
    def protocol(self) -> str:
        """Kafka's name for this combination."""
        return ("SASL_" if self.mechanism else "") + ("SSL" if self.tls else "PLAINTEXT")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the log is and how it is laid out; the same for every process of a cluster."""

    bootstrap: str
    """Brokers to ask first: ``host:port``, comma-separated."""
    prefix: str = "trunkline"
    """Beginning of every topic's name."""
    slots: int = 256
    """Slots of ``audio``, ``out`` and ``partials``; must not change while there are calls."""
    create_topics: bool = True
    """Whether topics that are not there are created."""
    audio_keep_s: float = 900.0
    """Seconds audio is kept: the longest a slot may be without an owner, with the time its replay starts earlier."""
    out_keep_s: float = 86_400.0
    """Seconds transcripts are kept."""
    linger_ms: int = 1
    """Most ms a record waits for others to share a request with."""
    request_timeout_s: float = 15.0
    """Seconds until a broker that does not answer is given up, and a record that no broker takes fails. Must be longer
    than a cluster needs to elect a new leader (about 10 s with Kafka's own defaults)."""
    security: KafkaSecurity = field(default_factory=KafkaSecurity)

    def topic(self, topic: Topic) -> str:
        """Return a topic's name in the cluster."""
        return f"{self.prefix}.{topic}"

    def is_own(self, name: str) -> bool:
        """Tell whether a topic is one of the log's, and nobody else's to write."""
        return name in {self.topic(topic) for topic in Topic}

    def slots_of(self, topic: Topic) -> int:
        """Return how many slots a topic has."""
        return 1 if topic in ONE_SLOT else self.slots

    def topic_settings(self, topic: Topic) -> dict[str, str]:
        """Return what a topic is created with."""
        hour_ms = 3_600_000
        kept: Mapping[Topic, tuple[str, float, int]] = {  # policy, seconds kept, ms until a file is closed
            Topic.AUDIO: ("delete", self.audio_keep_s, 300_000),
            Topic.OUT: ("delete", self.out_keep_s, hour_ms),
            Topic.PARTIALS: ("delete", 60.0, 60_000),
            Topic.CALLS: ("compact,delete", 86_400.0, hour_ms),
            # Forever: the newest claim of a slot must stay. Closed and compacted often: every process reads it all.
            Topic.CONTROL: ("compact", -0.001, 60_000),
            Topic.LOAD: ("delete", 60.0, 60_000),
        }
        policy, keep_s, close_ms = kept[topic]
        often = {"min.cleanable.dirty.ratio": "0.1"} if topic is Topic.CONTROL else {}
        return {
            **often,
            "cleanup.policy": policy,
            "retention.ms": str(round(keep_s * 1000)),
            "segment.ms": str(close_ms),
            # Every open file comes with two indexes mapped at their full size, 10 MiB unless told otherwise. With 256
            # slots that alone brought a small broker from 20 ms to 7 s; this is enough for 128 MiB of records.
            "segment.index.bytes": "262144",
            # A batch that the broker finds too large takes the records of other calls with it: the default of some
            # clusters is below ours.
            "max.message.bytes": str(MAX_RECORD_BYTES + FRAMING_BYTES),
            # The broker's clock decides what is old: a gateway whose clock is wrong must not cost anybody audio.
            "message.timestamp.type": "LogAppendTime",
        }
