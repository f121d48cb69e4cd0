"""A connection that makes no call and reads what others say: one call, or all of a tenant's."""

from __future__ import annotations

from server.dialect import Watched
from server.following import Following
from server.seat import Seat
from server.watchdog import Stage


class Watching:
    """Reads for one connection.

    Args:
        seat: Of the connection.
    """

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._following: Following | None = None

    def watch(self, call: str, now: float) -> None:
        """Tell one call: what it said so far, and everything as it happens."""
        seat, services = self._seat, self._seat.services
        place = services.directory.find(call)
        so_far = services.delivery.so_far(call)
        seat.listen(call)
        seat.move(Stage.WATCHING, now)
        seat.carrier.tell(Watched(call, place.labels if place else ()), now)
        seat.hear(so_far)

    def follow(self, now: float) -> None:
        """Tell all calls of the tenant."""
        seat, services = self._seat, self._seat.services
        seat.move(Stage.WATCHING, now)
        self._following = Following(services.directory, services.delivery, seat.tenant, seat.carrier.hear)
        self._following.start()

    def stop(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.stop()
