"""Whether a request may come in, whatever it wants: origin, key, a server that stops, room."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from websockets.datastructures import Headers

from server.admission import Admission
from server.auth import check_origin, is_loopback
from server.errors import Refusal
from server.metrics import Metrics
from server.routes import Caller
from server.settings import Auth


class Identifies(Protocol):
    """The part of an address that says who may."""

    @property
    def identify(self) -> Callable[[Caller], str]:
        """Return the tenant of a request, or raise ``Refusal``."""
        ...


class Gate:
    """Lets requests in.

    Args:
        auth: Which web pages may connect.
        admission: Knows whether there is room.
        metrics: Counts who was turned away.
        clock: Monotonic seconds.
    """

    def __init__(self, auth: Auth, admission: Admission, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._auth = auth
        self._admission = admission
        self._metrics = metrics
        self._clock = clock
        self.draining = False
        """Whether the server is about to stop."""

    def admit(self, address: Identifies, caller: Caller, *, opens_call: bool) -> str:
        """Return the tenant of a request that may come in.

        Args:
            address: What it wants.
            caller: The request.
            opens_call: Whether it brings a call, so that there must be room for one.

        Raises:
            Refusal: 401 or 403 if it may not, 429 or 503 if it may not now.
        """
        check_origin(caller.headers.get("Origin"), caller.headers.get("Host"), self._auth.origins)
        tenant = address.identify(caller)
        if self.draining:
            raise Refusal(503, "draining", "the server is about to stop; connect again", {"Retry-After": "1"})
        refused = self._admission.room(tenant, self._clock()) if opens_call else None
        if refused is not None:
            self._metrics.admission.labels("refused", refused.code).inc()
            wait = math.ceil(refused.retry_after_s or 1)
            raise Refusal(refused.status, refused.code, refused.message, {"Retry-After": str(wait)})
        return tenant


def read_caller(peer: str, headers: Headers, target: str, captured: Mapping[str, str]) -> Caller:
    """Return a request before anybody knows whose it is.

    Args:
        peer: Address of the other end.
        headers: Of the request.
        target: Path and query as they came.
        captured: What stood at the named places of the address's pattern.
    """
    offered = ",".join(headers.get_all("Sec-WebSocket-Protocol"))
    address = urlsplit(target)
    return Caller(
        path=address.path,
        query=tuple(parse_qsl(address.query, keep_blank_values=True)),
        headers=headers,
        subprotocols=tuple(name.strip() for name in offered.split(",") if name.strip()),
        captured=captured,
        loopback=is_loopback(peer),
        target=target,
    )
