"""What everything that carries calls in one gateway shares: connections, recordings and ingestion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from server.admission import Admission
from server.delivery import Delivery
from server.directory import Directory
from server.joining import Joining
from server.metrics import Metrics
from server.settings import Limits
from streaming.log import Log


@dataclass(frozen=True, slots=True)
class Services:
    """The shared parts of one gateway."""

    log: Log
    directory: Directory
    delivery: Delivery
    admission: Admission
    metrics: Metrics
    limits: Limits
    clock: Callable[[], float]
    """Monotonic seconds."""
    wall_clock: Callable[[], float]
    """Unix seconds."""
    shared: bool = False
    """Whether other gateways share the log, so that calls can go on there when this one stops."""
    joining: Joining = field(default_factory=Joining)
    """Calls that further connections may join."""
