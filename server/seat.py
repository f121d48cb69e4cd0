"""A connection's place at the gateway: who sits there, how far it is, which call it is about, and why it will end.

What opens and ends a call (``server.leg``), what takes it over and keeps it (``server.resuming``) and what only reads
(``server.watching``) are about one seat.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Protocol

from prometheus_client import Gauge

from server.dialect import Appeared, Dialect, Event, Followed, Ill, Trouble
from server.feed import CallFeed
from server.services import Services
from server.watchdog import Stage, Watchdog
from streaming.records import OutRecord, Partial


class Carrier(Protocol):
    """A connection, as its leg sees it."""

    def hear(self, event: OutRecord | Partial | Followed | Appeared) -> None:
        """Take what the log says, and pass it on to the leg."""
        ...

    def tell(self, event: Event, now: float) -> None:
        """Tell the peer what happened, in the words of its protocol."""
        ...

    def start(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run something for as long as the connection lasts, and the connection for as long as that does."""
        ...


class Seat:
    """One connection's.

    Args:
        carrier: The connection.
        dialect: Its protocol: the name, and whether its peer may come back.
        tenant: Who connected.
        services: What all connections share.
        watchdog: Knows how far it is.
    """

    def __init__(self, carrier: Carrier, dialect: Dialect, tenant: str, services: Services, watchdog: Watchdog) -> None:
        self.carrier = carrier
        self.dialect = dialect
        self.tenant = tenant
        self.services = services
        self.reason: str = "no_call"
        """Why it ends, as far as that is known."""
        self.call: str | None = None
        """The call it makes, joins, takes over or watches."""
        self.feed: CallFeed | None = None
        """What it writes to the call; None before it may."""
        self._watchdog = watchdog
        self._gauge().inc()

    @property
    def stage(self) -> Stage:
        """How far the connection is."""
        return self._watchdog.stage

    def move(self, stage: Stage, now: float) -> None:
        """Note that the connection is at a stage, from now on."""
        self._gauge().dec()
        self._watchdog.enter(stage, now)
        self._gauge().inc()

    def listen(self, call: str) -> None:
        """Hear everything about a call from now on: the one that the connection is about."""
        self.call = call
        self.services.delivery.listen(call, self.carrier.hear)

    def hear(self, records: Iterable[OutRecord | Partial]) -> None:
        """Hear what was said before."""
        for record in records:
            self.carrier.hear(record)

    def trouble(self, ill: Ill, message: str, now: float, retry_after_s: float | None = None) -> None:
        """Tell the peer that the connection cannot go on, unless that is decided already."""
        if self.stage is Stage.CLOSED:
            return
        self.reason = ill
        self.carrier.tell(Trouble(ill, message, retry_after_s), now)

    def leave(self) -> None:
        """Hear nothing more, and be counted no more."""
        if self.call is not None:
            self.services.delivery.ignore(self.call, self.carrier.hear)
        self._gauge().dec()

    def _gauge(self) -> Gauge:
        return self.services.metrics.sessions.labels(self.dialect.name, self.stage.value)
