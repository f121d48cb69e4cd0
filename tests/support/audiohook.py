"""Genesys' side of AudioHook: a client that counts as Genesys does, and signs as Genesys does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Final

from server.bridges.audiohook import NOBODY
from tests.support.bridges import Frame

SESSION: Final = "30b0e395-84d3-4570-ac13-9a62d8f514c0"
ORGANIZATION: Final = "d7934305-0972-4844-938e-9060eef73d05"
CONVERSATION: Final = "090eaa2f-72fa-480a-83e0-8667ff89c0ec"
STEREO: Final[dict[str, object]] = {
    "type": "audio",
    "format": "PCMU",
    "channels": ["external", "internal"],
    "rate": 8000,
}
MONO: Final[dict[str, object]] = {**STEREO, "channels": ["external"]}
SECOND: Final = b"\xff\x7f" * 8000
"""One second of both sides."""


class Client:
    """Makes Genesys' messages, each with the next number.

    Args:
        media: What it offers.
        conversation: The conversation's id; ``NOBODY`` for a probe.
    """

    def __init__(self, media: list[dict[str, object]] | None = None, conversation: str = CONVERSATION) -> None:
        self._media = [MONO, STEREO] if media is None else media
        self._conversation = conversation
        self._seq = 0
        self.serverseq = 0

    def say(self, kind: str, position: object = "PT0S", **parameters: object) -> str:
        """Return a message."""
        self._seq += 1
        message = {
            "version": "2",
            "id": SESSION,
            "type": kind,
            "seq": self._seq,
            "serverseq": self.serverseq,
            "position": position,
            "parameters": parameters,
        }
        return json.dumps(message)

    def open(self, **more: object) -> str:
        """Return the first message."""
        participant = {"id": NOBODY if self._conversation == NOBODY else "883e", "ani": "+15555550100"}
        parameters: dict[str, object] = {
            "organizationId": ORGANIZATION,
            "conversationId": self._conversation,
            "participant": participant | {"aniName": "John", "dnis": "+18005550100"},
            "media": self._media,
            "language": "en-US",
            "customConfig": {"hotwords": "Trunkline"},
        }
        return self.say("open", **(parameters | more))


def session() -> list[Frame]:
    """Return all that a call of a second sends, with everything that may happen in it."""
    client = Client()
    return [
        client.open(),
        client.say("ping", rtt="PT0.02S"),
        SECOND[:6400],
        client.say("discarded", "PT0.4S", start="PT0.4S", discarded="PT0.6S"),
        SECOND[:1600],
        client.say("dtmf", "PT1.1S", digit="3"),
        client.say("paused", "PT1.1S"),
        client.say("resumed", "PT1.1S", start="PT1.1S", discarded="PT3S"),
        client.say("update", "PT4.1S", language="es-US"),
        SECOND[:1600],
        client.say("close", "PT4.2S", reason="end"),
    ]


def sign(
    headers: dict[str, str], target: str, *, key: str, secret: bytes, created: int, nonce: str, lasts_s: int = 10
) -> dict[str, str]:
    """Return a request's headers, signed."""
    names = ["@request-target", "@authority", *sorted(name for name in headers if name.startswith("audiohook-"))]
    values = {"@request-target": target, "@authority": headers["host"]} | headers | {"x-api-key": key}
    covered = [*names, "x-api-key"]
    listed = " ".join(f'"{name}"' for name in covered)
    inner = f'({listed});keyid="{key}";nonce="{nonce}";alg="hmac-sha256";created={created};expires={created + lasts_s}'
    text = "\n".join([*(f'"{name}": {values[name]}' for name in covered), f'"@signature-params": {inner}'])
    signature = base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()
    signed = {"x-api-key": key, "signature-input": f"sig1={inner}", "signature": f"sig1=:{signature}:"}
    return {name: value for name, value in headers.items() if name != "host"} | signed
