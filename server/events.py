"""Watching a call, ``/v1/calls/{id}/events``: every final so far, then everything as it happens."""

from __future__ import annotations

from urllib.parse import unquote

from server.auth import Keyring
from server.dialect import Action, Close, Dialect, Event, Send, Trouble, Upgrade, Watch, Watched
from server.directory import Directory
from server.errors import Refusal
from server.native import CLOSE_CODES
from server.render import NativeView
from server.routes import Route
from streaming import messages
from streaming.message_codec import dump
from streaming.records import CallClosed, Partial


def route(keyring: Keyring, directory: Directory) -> Route:
    """Let the keys of a call's tenant watch it.

    Args:
        keyring: Knows the keys.
        directory: Knows the calls.
    """

    def build(upgrade: Upgrade) -> EventsDialect:
        call = unquote(upgrade.captured["id"])
        place = directory.find(call)
        if place is None or place.tenant != upgrade.tenant:  # the same answer, so that ids cannot be guessed
            raise Refusal(404, "unknown_call", "no call of this id is known to this key")
        return EventsDialect(call)

    return Route(
        pattern="/v1/calls/{id}/events",
        identify=keyring.identify,
        build=build,
        idle_s=float("inf"),
        subprotocols=("trunkline.v1",),
        opens_call=False,
    )


class EventsDialect(Dialect):
    """The sending half of the native protocol.

    Args:
        call: Id of the call to watch.
    """

    name = "events"

    def __init__(self, call: str) -> None:
        self._call = call
        self._view = NativeView(())

    def begin(self, now: float) -> list[Action]:
        """Ask for the call."""
        del now
        return [Watch(self._call)]

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Ignore what a watcher says: nothing is expected."""
        del message, now
        return []

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Pass on what happened."""
        del now
        match event:
            case Watched(call, labels):
                self._view = NativeView(labels)
                return [Send(dump(messages.Watching(call, labels)))]
            case Trouble(ill, text, retry_after_s):
                error = messages.Error(ill, text, fatal=True, retry_after_s=retry_after_s)
                return [Send(dump(error)), Close(CLOSE_CODES[ill], ill)]
            case _:
                return self._pass_on(event)

    def hung_up(self) -> list[Action]:
        """A watcher who goes ends nothing."""
        return []

    def _pass_on(self, event: Event) -> list[Action]:
        message = self._view.render(event)
        if message is None:
            return []
        sent = Send(dump(message), f"partial {event.channel}" if isinstance(event, Partial) else None)
        return [sent, Close()] if isinstance(event, CallClosed) else [sent]
