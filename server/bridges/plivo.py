"""Plivo audio streaming, ``/bridges/plivo``, and two that took its shape, or Twilio's: Vobiz and Exotel.

Plivo ends a stream by closing the connection; its imitators send ``stop``. Nothing is ever sent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from server.auth import Keyring
from server.bridge import audio_format, bridge_routes, call_spec, scalars
from server.bridges.media_streams import ENCODINGS, MediaStreamDialect
from server.bridges.tracks import TRACKS
from server.dialect import Upgrade
from server.errors import BadSetting, Refusal
from server.json_frames import Fields, json_object, section, string, texts
from server.routes import Caller, Route
from server.settings import Plivo
from streaming.call import CallSpec, Encoding

HINT: Final = 'set contentType to "audio/x-mulaw;rate=8000" or "audio/x-l16;rate=8000"'
EXOTEL_ENCODINGS: Final = {"base64": Encoding.L16, "audio/x-l16": Encoding.L16, "raw/slin": Encoding.L16}
"""Exotel names the envelope, or its own word; what is inside is 16-bit little-endian PCM."""


def routes(keyring: Keyring, chosen: Plivo, idle_s: float) -> list[Route]:
    """Serve Plivo's streams, signed ones where the auth token is known, else those that show a key; and its imitators.

    Args:
        keyring: Knows the keys.
        chosen: The settings.
        idle_s: Silence on the wire after which a call counts as gone, in seconds.

    Raises:
        BadSetting: If the auth token is set and the public address is not.
    """
    others = [
        *bridge_routes("vobiz", keyring, VobizDialect, idle_s),
        *bridge_routes("exotel", keyring, ExotelDialect, idle_s),
    ]
    if chosen.auth_token is None:
        return [*bridge_routes("plivo", keyring, PlivoDialect, idle_s), *others]
    if not chosen.public_url:
        raise BadSetting("plivo.public_url is needed with plivo.auth_token: Plivo signs the address its XML names")
    identify = _signed(chosen.auth_token.get_secret_value(), chosen.public_url, chosen.tenant)
    return [Route("/bridges/plivo", identify, PlivoDialect, idle_s), *others]


def _signed(token: str, url: str, tenant: str) -> Callable[[Caller], str]:
    def identify(caller: Caller) -> str:
        shown = caller.headers.get("X-Plivo-Signature-V3") or ""
        nonce = caller.headers.get("X-Plivo-Signature-V3-Nonce") or ""
        good = [signature.encode() for signature in signatures(token, url, nonce)]
        fits = [hmac.compare_digest(one.strip().encode(), ours) for one in shown.split(",") for ours in good]
        if nonce and any(fits):
            return tenant
        raise Refusal(
            403,
            "bad_signature",
            "X-Plivo-Signature-V3 does not fit plivo.auth_token and plivo.public_url; compare both",
        )

    return identify


def signatures(token: str, url: str, nonce: str) -> list[str]:
    """Sign an address in each way Plivo does.

    Its SDK signs ``url.nonce``, its page on streaming ``GETurlnonce``; both are seen with either scheme.

    Args:
        token: The account's auth token.
        url: The address as the XML names it.
        nonce: What the request's nonce header says.
    """
    rest = url.partition("://")[2]
    addresses = [f"{scheme}://{rest}" for scheme in ("wss", "https")]
    signed = [f"{address}.{nonce}" for address in addresses] + [f"GET{address}{nonce}" for address in addresses]
    return [
        base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha256).digest()).decode() for text in signed
    ]


class PlivoDialect(MediaStreamDialect):
    """A media stream on one connection.

    Args:
        upgrade: The request behind the connection.
    """

    name = "plivo"
    hangs_up_by_closing = True

    def __init__(self, upgrade: Upgrade) -> None:
        super().__init__(upgrade, finds_byte_order=True)

    def begun(self, message: Fields) -> tuple[CallSpec, tuple[str, ...]]:
        """Read the message that starts the stream."""
        start = section(message, "start")
        media = section(start, "mediaFormat")
        tracks = tuple(dict.fromkeys(texts(start, "tracks"))) or TRACKS
        encoding = string(media, "encoding") or "audio/x-mulaw"
        audio = audio_format(ENCODINGS, encoding, media.get("sampleRate", 8000), len(tracks), hint=HINT)
        stream = string(start, "streamId")
        spec = call_spec(
            self.upgrade,
            audio,
            tracks,
            call=stream,
            given=_headers(message.get("extra_headers")),
            ids={
                f"{self.name}.stream_id": stream,
                f"{self.name}.call_id": string(start, "callId"),
                f"{self.name}.account_id": string(start, "accountId"),
            },
        )
        return spec, tracks


class VobizDialect(PlivoDialect):
    """Vobiz, which took Plivo's shape."""

    name = "vobiz"


class ExotelDialect(MediaStreamDialect):
    """Exotel, which took Twilio's shape, in snake case and with PCM inside.

    Args:
        upgrade: The request behind the connection.
    """

    name = "exotel"

    def begun(self, message: Fields) -> tuple[CallSpec, tuple[str, ...]]:
        """Read the message that starts the stream."""
        start = section(message, "start")
        media = section(start, "media_format")
        encoding = string(media, "encoding") or "base64"
        audio = audio_format(EXOTEL_ENCODINGS, encoding, media.get("sample_rate") or 8000)
        stream = string(message, "stream_sid") or string(start, "stream_sid")
        spec = call_spec(
            self.upgrade,
            audio,
            TRACKS[:1],
            call=stream,
            given=scalars(section(start, "custom_parameters")),
            ids={
                "exotel.stream_sid": stream,
                **{f"exotel.{name}": string(start, name) for name in ("call_sid", "account_sid", "from", "to")},
            },
        )
        return spec, TRACKS[:1]


def _headers(extra: object) -> dict[str, str]:
    """Read ``extra_headers``: an object, JSON of one, or pairs with ``=`` between ``;`` or ``,``."""
    if isinstance(extra, dict):
        return scalars(extra)  # pyright: ignore[reportUnknownArgumentType] - JSON
    text = extra if isinstance(extra, str) else ""
    fields = json_object(text)
    if fields is not None:
        return scalars(fields)
    pairs = [part.partition("=") for part in text.split(";" if ";" in text else ",")]
    return {name.strip(): value.strip() for name, equals, value in pairs if equals and name.strip()}
