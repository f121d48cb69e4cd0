"""Who is calling: API keys, compared in constant time, and origins of web pages."""

from __future__ import annotations

import base64
import hmac
import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from server.errors import Refusal
from server.routes import Caller

LOCAL_TENANT = "local"
"""Tenant of everybody where no key is set."""

_OPENAI_KEY = "openai-insecure-api-key."
"""What OpenAI's browsers put before the key in a subprotocol of its own."""
_KEY_SUBPROTOCOLS = ("trunkline.v1", "token", "bearer")


class Keyring:
    """The API keys of all tenants.

    Args:
        keys: Tenant to its keys; none at all means that only callers of this machine are served.
    """

    def __init__(self, keys: Mapping[str, Iterable[str]]) -> None:
        self._keys = [(tenant, key.encode()) for tenant, of_tenant in keys.items() for key in of_tenant]

    def tenant_of(self, key: str | None, *, loopback: bool) -> str:
        """Return whose key this is.

        Args:
            key: What the caller showed, or None.
            loopback: Whether the caller is on this machine.

        Raises:
            Refusal: 401 if no key came or it is not known, 403 if no key is set and the caller is on another machine.
        """
        if not self._keys:
            if loopback:
                return LOCAL_TENANT
            raise Refusal(403, "forbidden", "no API key is set, so only this machine is served; set auth.keys")
        shown = (key or "").encode()
        found: str | None = None
        for tenant, known in self._keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(shown, known):
                found = tenant
        if found is None:
            raise Refusal(401, "unauthorized", "the API key is missing or not known", {"WWW-Authenticate": "Bearer"})
        return found

    def identify(self, caller: Caller) -> str:
        """Return the tenant of a request, by the key it shows; see ``tenant_of`` for what is raised.

        Where the route's pattern has a ``{key}`` place, what stands there is the key: many bridges can be given an
        address and nothing else.
        """
        placed = caller.captured.get("key")
        key = placed or key_of(caller.headers.get("Authorization"), dict(caller.query), caller.subprotocols)
        return self.tenant_of(key, loopback=caller.loopback)


def key_of(authorization: str | None, query: Mapping[str, str], subprotocols: Sequence[str]) -> str | None:
    """Return the key a request shows: as header, as ``token`` in the query, or, for browsers, as a subprotocol.

    Telephone switches know HTTP Basic: the key is the password, whoever the user.
    """
    if authorization is not None:
        scheme, _, key = authorization.strip().partition(" ")
        if scheme.lower() == "basic":
            return _password(key)
        if not key:  # AssemblyAI's clients send the bare key
            return scheme
        return key.strip() if scheme.lower() in ("bearer", "token") else None
    hidden = next((name for name in subprotocols if name.startswith(_OPENAI_KEY)), None)
    if hidden is not None:
        return hidden[len(_OPENAI_KEY) :]
    if len(subprotocols) > 1 and subprotocols[0].lower() in _KEY_SUBPROTOCOLS:
        return subprotocols[1]
    return query.get("token") or query.get("jwt")


def _password(credentials: str) -> str | None:
    try:
        decoded = base64.b64decode(credentials, validate=True).decode()
    except ValueError:  # of the encoding, or of the text
        return None
    return decoded.partition(":")[2]


def is_loopback(address: str) -> bool:
    """Tell whether a peer's address is of this machine."""
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return (mapped or peer).is_loopback


def check_origin(origin: str | None, host: str | None, allowed: Sequence[str]) -> None:
    """Refuse web pages of other sites.

    Args:
        origin: The request's ``Origin``; None for what is no browser.
        host: The request's ``Host``.
        allowed: Origins that may connect besides the gateway's own.

    Raises:
        Refusal: 403 if the page's origin is not allowed.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return
    if host is not None and origin.partition("://")[2] == host:
        return
    raise Refusal(403, "forbidden_origin", "pages of this origin may not connect; add it to auth.origins")
