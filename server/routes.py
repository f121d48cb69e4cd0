"""What a gateway serves at an address: who may, and which dialect is spoken."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from server.dialect import Dialect, Upgrade
from server.errors import Refusal
from server.http_exchange import HttpExchange


class Headers(Protocol):
    """Header fields whose names are compared without case."""

    def get(self, key: str, /) -> str | None:
        """Return a field's value, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """A request before anybody knows whose it is."""

    path: str
    query: tuple[tuple[str, str], ...]
    """Decoded, in order."""
    headers: Headers
    subprotocols: tuple[str, ...]
    captured: Mapping[str, str]
    """What stood at the named places of the route's pattern."""
    loopback: bool
    """Whether the peer is on this machine."""
    target: str = ""
    """Path and query exactly as they came; some signatures cover them."""


def _no_headers(_request_id: str) -> Mapping[str, str]:
    return {}


def native_refusal(refusal: Refusal, _request_id: str) -> dict[str, object]:
    """Say what was wrong, as the native protocol does."""
    return {"error": {"code": refusal.code, "message": refusal.message}}


@dataclass(frozen=True, slots=True)
class Route:
    """One address.

    Attributes:
        pattern: Path whose ``{name}`` places match one segment each.
        identify: Returns the tenant of a request, or raises ``Refusal``.
        build: Makes the connection's dialect, or raises ``Refusal``.
        idle_s: Silence on the wire after which a call counts as gone, in seconds.
        subprotocols: Those that may be selected; a browser's key is never echoed.
        opens_call: Whether a connection brings a call, so that there must be room for one.
        headers: Further headers of every answer, by the request's id.
        refusal: The JSON body of an error.
        reads: Headers that the dialect wants to see, in lower case.
    """

    pattern: str
    identify: Callable[[Caller], str]
    build: Callable[[Upgrade], Dialect]
    idle_s: float
    subprotocols: tuple[str, ...] = ()
    opens_call: bool = True
    headers: Callable[[str], Mapping[str, str]] = field(default=_no_headers)
    refusal: Callable[[Refusal, str], dict[str, object]] = field(default=native_refusal)
    reads: tuple[str, ...] = ()

    def match(self, path: str) -> dict[str, str] | None:
        """Return what stands at the named places of a path, or None if the path is another one."""
        wanted, given = self.pattern.split("/"), path.split("/")
        if len(wanted) != len(given):
            return None
        captured: dict[str, str] = {}
        for want, part in zip(wanted, given, strict=True):
            if want.startswith("{") and part:
                captured[want[1:-1]] = part
            elif want != part:
                return None
        return captured

    def refusal_body(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an error."""
        return json.dumps(self.refusal(refusal, request_id)).encode()


@dataclass(frozen=True, slots=True)
class Post:
    """One address that takes a request with a body.

    Attributes:
        pattern: Path; it has no named places.
        identify: Returns the tenant of a request, or raises ``Refusal``.
        serve: Reads the body and answers, or raises ``Refusal`` as long as it began no answer.
        headers: Further headers of every answer, by the request's id.
        refusal: The JSON body of an error.
    """

    pattern: str
    identify: Callable[[Caller], str]
    serve: Callable[[HttpExchange, Upgrade], Awaitable[None]]
    headers: Callable[[str], Mapping[str, str]] = field(default=_no_headers)
    refusal: Callable[[Refusal, str], dict[str, object]] = field(default=native_refusal)


@dataclass(frozen=True, slots=True)
class Resource:
    """One address that answers a plain GET to callers with a key."""

    identify: Callable[[Caller], str]
    answer: Callable[[str], tuple[int, str, bytes]]
    """Status, content type and body for a tenant."""
    refusal: Callable[[Refusal, str], dict[str, object]] = field(default=native_refusal)
