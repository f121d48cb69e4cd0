"""The signature of AudioHook requests: HTTP Message Signatures (draft 11) with HMAC-SHA256, as Genesys uses them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Final

from server.auth import Keyring
from server.errors import Refusal
from server.routes import Caller, Headers

COVERED: Final = frozenset(
    {
        "@request-target",
        "@authority",
        "audiohook-organization-id",
        "audiohook-session-id",
        "audiohook-correlation-id",
        "x-api-key",
    }
)
"""What a signature must cover."""

SKEW_S: Final = 3
"""Seconds the signer's clock and ours may differ."""
MAX_AGE_S: Final = 10
"""Seconds after which a signature is too old."""
NONCE_CHARACTERS: Final = 22
"""The least a nonce may have: 128 bits in base64."""

_INPUT: Final = re.compile(r"\s*([a-z][\w.*-]*)=((\([^()]*\))((?:;[a-z]+=(?:\"[^\"\\]*\"|\d{1,15}))*))\s*")
_PARAMETER: Final = re.compile(r";([a-z]+)=(?:\"([^\"\\]*)\"|(\d{1,15}))")
_SIGNATURE: Final = re.compile(r"\s*([a-z][\w.*-]*)=:([A-Za-z0-9+/=]*):\s*")


class Signatures:
    """Checks who calls, by API key and, where the key has a client secret, by signature.

    Args:
        keyring: Knows the keys.
        secrets: API key to client secret.
        wall_clock: Unix seconds.
    """

    def __init__(self, keyring: Keyring, secrets: Mapping[str, bytes], wall_clock: Callable[[], float]) -> None:
        self._keyring = keyring
        self._secrets = secrets
        self._wall_clock = wall_clock
        self._seen: dict[str, float] = {}  # nonce to when it may be forgotten

    def identify(self, caller: Caller) -> str:
        """Return the tenant of a request.

        Raises:
            Refusal: 401 if the key is not known or the signature does not fit; see ``Keyring.tenant_of``.
        """
        key = caller.headers.get("X-API-KEY")
        tenant = (
            self._keyring.identify(caller) if key is None else self._keyring.tenant_of(key, loopback=caller.loopback)
        )
        secret = self._secrets.get(key or "")
        if secret is not None and key is not None:
            wrong = self._wrong(caller, key, secret)
            if wrong is not None:
                raise Refusal(401, "bad_signature", f"the request's signature is not valid: {wrong}")
        return tenant

    def _wrong(self, caller: Caller, key: str, secret: bytes) -> str | None:
        now = self._wall_clock()
        stated = _INPUT.fullmatch(caller.headers.get("Signature-Input") or "")
        shown = _SIGNATURE.fullmatch(caller.headers.get("Signature") or "")
        if stated is None or shown is None or stated[1] != shown[1]:
            return "Signature-Input and Signature must hold one signature"
        names = re.findall(r'"([^"]*)"', stated[3])
        parameters = {name: text or number for name, text, number in _PARAMETER.findall(stated[4])}
        if not set(names) >= COVERED:
            return f"it must cover {', '.join(sorted(COVERED))}"
        if parameters.get("keyid") != key or parameters.get("alg", "hmac-sha256") != "hmac-sha256":
            return "keyid must be the API key, and alg hmac-sha256"
        ours = hmac.new(secret, signed_text(names, stated[2], caller).encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(base64.b64encode(ours).decode(), shown[2]):
            return "it does not fit the client secret in audiohook.secrets"
        return self._too_old(parameters, now)

    def _too_old(self, parameters: Mapping[str, str], now: float) -> str | None:
        created = int(parameters.get("created") or 0)
        nonce = parameters.get("nonce", "")
        if not now - MAX_AGE_S - SKEW_S <= created <= now + SKEW_S:
            return "it was not made just now; compare the clocks"
        if now > int(parameters.get("expires") or created + MAX_AGE_S) + SKEW_S:
            return "it has expired"
        self._seen = {seen: until for seen, until in self._seen.items() if until > now}
        if len(nonce) < NONCE_CHARACTERS or nonce in self._seen:
            return f"its nonce must have {NONCE_CHARACTERS} characters and be new"
        self._seen[nonce] = now + MAX_AGE_S + 2 * SKEW_S
        return None


def signed_text(names: list[str], inner_list: str, caller: Caller) -> str:
    """Return the text that a signature is made of.

    Args:
        names: What it covers, in order.
        inner_list: These names and the signature's parameters, exactly as Signature-Input has them.
        caller: The request.
    """
    lines = [f'"{name}": {_component(name, caller.target, caller.headers)}' for name in names]
    return "\n".join([*lines, f'"@signature-params": {inner_list}'])


def _component(name: str, target: str, headers: Headers) -> str:
    match name:
        case "@request-target":
            return target
        case "@authority":
            return (headers.get("Host") or "").strip().lower()
        case _:
            return (headers.get(name) or "").strip()
