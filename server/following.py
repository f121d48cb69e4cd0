"""All calls of a tenant, brought to one listener: those in progress, and each that begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from server.delivery import Delivery, Told
from server.dialect import Appeared, Followed
from server.directory import Directory, Place
from streaming.records import CallClosed

LAST_FINALS: Final = 4
"""Finals of each call in progress that are told at the start: who looks at many calls wants their last lines."""


class Following:
    """One listener to many calls.

    Args:
        directory: Knows the calls.
        delivery: Knows what they say.
        tenant: Whose calls.
        tell: Takes everything; it must not wait.
    """

    def __init__(
        self,
        directory: Directory,
        delivery: Delivery,
        tenant: str,
        tell: Callable[[Told | Followed | Appeared], None],
    ) -> None:
        self._directory = directory
        self._delivery = delivery
        self._tenant = tenant
        self._tell = tell
        self._calls: set[str] = set()

    def start(self) -> None:
        """Tell which calls there are and their last finals, and then everything as it happens."""
        places = tuple(self._directory.calls_of(self._tenant))
        self._tell(Followed(places))
        for place in places:
            for record in self._delivery.so_far(place.call, last=LAST_FINALS):
                self._hear(record)
            self._listen(place)
        self._directory.follow(self._tenant, self._appeared)

    def stop(self) -> None:
        """Hear nothing more."""
        self._directory.unfollow(self._tenant, self._appeared)
        for call in self._calls:
            self._delivery.ignore(call, self._hear)
        self._calls.clear()

    def _appeared(self, place: Place) -> None:
        if place.call not in self._calls:
            self._listen(place)
            self._tell(Appeared(place))

    def _listen(self, place: Place) -> None:
        self._calls.add(place.call)
        self._delivery.listen(place.call, self._hear)

    def _hear(self, record: Told) -> None:
        self._tell(record)
        if isinstance(record, CallClosed):
            self._calls.discard(record.call)
            self._delivery.ignore(record.call, self._hear)
