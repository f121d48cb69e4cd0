"""A tenant's calls, ``/v1/calls``: as a WebSocket everything they say, as a plain GET the list of those in progress."""

from __future__ import annotations

import json

from server.auth import Keyring
from server.delivery import Told
from server.dialect import (
    Acked,
    Action,
    Appeared,
    Close,
    Dialect,
    Event,
    Follow,
    Followed,
    GoAway,
    Opened,
    Rejoined,
    Send,
    Trouble,
    Watched,
)
from server.directory import Directory, Place
from server.native import CLOSE_CODES
from server.render import NativeView
from server.routes import Resource, Route
from streaming import messages
from streaming.message_codec import dump, dump_of
from streaming.records import CallClosed, Fence, Partial

PATH = "/v1/calls"


def route(keyring: Keyring) -> Route:
    """Let every key follow the calls of its tenant.

    Args:
        keyring: Knows the keys.
    """
    return Route(
        pattern=PATH,
        identify=keyring.identify,
        build=lambda upgrade: CallsDialect(interim=("interim", "false") not in upgrade.query),
        idle_s=float("inf"),
        subprotocols=("trunkline.v1",),
        opens_call=False,
    )


def resource(keyring: Keyring, directory: Directory) -> Resource:
    """List the calls in progress of a key's tenant.

    Args:
        keyring: Knows the keys.
        directory: Knows the calls.
    """

    def answer(tenant: str) -> tuple[int, str, bytes]:
        calls = [_fields(place) for place in directory.calls_of(tenant)]
        return 200, "application/json", json.dumps({"calls": calls}).encode()

    return Resource(keyring.identify, answer)


def _fields(place: Place) -> dict[str, object]:
    return {"call": place.call, "labels": place.labels, "opened_at": place.opened_at}


class CallsDialect(Dialect):
    """The sending half of the native protocol, for all calls of a tenant at once.

    Args:
        interim: Whether partials are wanted.
    """

    name = "calls"

    def __init__(self, *, interim: bool = True) -> None:
        self._interim = interim
        self._views: dict[str, NativeView] = {}

    def begin(self, now: float) -> list[Action]:
        """Ask for the calls."""
        del now
        return [Follow()]

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Ignore what a watcher says: nothing is expected."""
        del message, now
        return []

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Pass on what happened to any of the calls."""
        del now
        match event:
            case Followed(places):
                for place in places:
                    self._views[place.call] = NativeView(place.labels, interim=self._interim)
                return [Send(dump(messages.Calls(tuple(map(_summary, places)))))]
            case Appeared(place):
                self._views[place.call] = NativeView(place.labels, interim=self._interim)
                return [Send(dump(messages.CallOpened(place.call, place.labels, place.opened_at)))]
            case Trouble(ill, text, retry_after_s):
                error = messages.Error(ill, text, fatal=True, retry_after_s=retry_after_s)
                return [Send(dump(error)), Close(CLOSE_CODES[ill], ill)]
            case Opened() | Rejoined() | GoAway() | Watched() | Acked() | Fence():
                return []
            case _:
                return self._pass_on(event)

    def hung_up(self) -> list[Action]:
        """A watcher who goes ends nothing."""
        return []

    def _pass_on(self, event: Told) -> list[Action]:
        call = event.call
        view = self._views.get(call)
        message = None if view is None else view.render(event)
        if message is None:
            return []
        if isinstance(event, CallClosed):
            del self._views[call]
        replaces = f"partial {event.channel} {call}" if isinstance(event, Partial) else None
        return [Send(dump_of(call, message), replaces)]


def _summary(place: Place) -> messages.CallSummary:
    return messages.CallSummary(place.call, place.labels, place.opened_at)
