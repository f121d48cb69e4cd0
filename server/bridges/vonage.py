"""Vonage Voice WebSockets, ``/bridges/vonage``, and Infobip's of the same shape, ``/bridges/infobip``.

One mixed track of raw samples, ended by the close alone. We never close first while all is well: that would raise a
fallback in the customer's application.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Final

from server.auth import Keyring, key_of
from server.bridge import BridgeDialect, Stage, audio_format, bridge_routes, call_spec, scalars
from server.dialect import Action
from server.errors import Refusal
from server.json_frames import Fields, integer, json_object, string
from server.routes import Caller, Route
from server.settings import Vonage
from streaming.call import Encoding
from streaming.errors import BadMessage

ENCODINGS: Final = {"audio/l16": Encoding.L16, "audio/x-private-pcm-16": Encoding.L16}
"""Little-endian, whatever MIME says about audio/L16."""

SKEW_S: Final = 60
"""Seconds the clocks of a signer and ours may differ."""

_RATE: Final = re.compile(r"rate=(\d{1,9})")
_ENVELOPE: Final = frozenset({"event", "content-type"})


def routes(keyring: Keyring, chosen: Vonage, idle_s: float) -> list[Route]:
    """Serve Vonage, by signed requests where the signature secret is known, else by a key; and Infobip by a key.

    Args:
        keyring: Knows the keys.
        chosen: The settings.
        idle_s: Silence on the wire after which a call counts as gone, in seconds.
    """
    infobip = bridge_routes("infobip", keyring, InfobipDialect, idle_s)
    if chosen.signature_secret is None:
        return [*bridge_routes("vonage", keyring, VonageDialect, idle_s), *infobip]
    identify = _signed(chosen.signature_secret.get_secret_value(), chosen.tenant, time.time)
    return [Route("/bridges/vonage", identify, VonageDialect, idle_s), *infobip]


def _signed(secret: str, tenant: str, wall_clock: Callable[[], float]) -> Callable[[Caller], str]:
    def identify(caller: Caller) -> str:
        shown = key_of(caller.headers.get("Authorization"), {}, ()) or ""
        if verified(shown, secret, wall_clock()):
            return tenant
        raise Refusal(401, "bad_signature", "the request's JWT does not fit vonage.signature_secret, or is too old")

    return identify


def verified(token: str, secret: str, now: float) -> bool:
    """Tell whether a JWT was signed with a secret (HS256) and is valid now.

    Args:
        token: As the request shows it.
        secret: The account's signature secret.
        now: Unix seconds.
    """
    signed, _, signature = token.rpartition(".")
    header = _part(signed.partition(".")[0])
    claims = _part(signed.partition(".")[2])
    ours = base64.urlsafe_b64encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()).rstrip(b"=")
    if header is None or claims is None or header.get("alg") != "HS256":
        return False
    if not hmac.compare_digest(signature.encode(), ours):
        return False
    expires, not_before = integer(claims.get("exp")), integer(claims.get("nbf"))
    return (expires is None or now < expires + SKEW_S) and (not_before is None or now > not_before - SKEW_S)


def _part(encoded: str) -> Fields | None:
    try:
        return json_object(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
    except ValueError:  # of the encoding, or of the text
        return None


class VonageDialect(BridgeDialect):
    """One leg of a conversation on one connection: the mix of all others."""

    name = "vonage"
    hangs_up_by_closing = True

    def act(self, fields: Fields) -> list[Action]:
        """Act on an event; very old accounts begin without naming theirs."""
        match fields.get("event"):
            case "websocket:connected" | None if self.stage is Stage.NEW and self.spec is None:
                return self._begin(fields)
            case "websocket:dtmf":
                return self.pressed(fields.get("digit"))
            case _:
                return []

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples."""
        return self.interleaved(payload)

    def _begin(self, fields: Fields) -> list[Action]:
        content = string(fields, "content-type") or ""
        rate = _RATE.search(content)
        if rate is None:
            raise BadMessage("unknown_sample_rate", "content-type must be like audio/l16;rate=16000")
        audio = audio_format(ENCODINGS, content.partition(";")[0].strip(), rate[1])
        given = {name: value for name, value in scalars(fields).items() if name not in _ENVELOPE}
        own = string(fields, "uuid") or string(fields, "callId")
        return self.open(call_spec(self.upgrade, audio, ("mixed",), call=own, given=given, ids={}))


class InfobipDialect(VonageDialect):
    """Infobip, which took Vonage's shape."""

    name = "infobip"
