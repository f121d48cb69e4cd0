"""Twilio Media Streams, ``/bridges/twilio``: both kinds of stream, and the emitters that imitate them.

Nothing is ever sent: an unidirectional stream has no use for it. Closing early would move a bidirectional call on to
its next instruction, so the bridge hangs up first wherever nothing is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from server.auth import Keyring
from server.bridges.tracks import TRACKS, payload_of
from server.dialect import Action, Audio, Close, Dialect, Dtmf, End, Event, Ill, Open, Opened, Trouble, Upgrade
from server.errors import BadSetting, Refusal
from server.json_frames import Fields, integer, json_object, section, string, strings, texts
from server.native import CLOSE_CODES
from server.routes import Caller, Route
from server.settings import Twilio
from streaming.call import SUPPORTED_RATES, AudioFormat, CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.messages import check_call_id, language_of
from streaming.records import CallClosed

GAP_MS: Final = 20
"""A media timestamp farther than this from where the audio before it ended means lost audio."""

ENCODINGS: Final = {"audio/x-mulaw": Encoding.MULAW, "audio/x-alaw": Encoding.ALAW, "audio/x-l16": Encoding.L16}
"""What ``mediaFormat.encoding`` may say; Twilio says the first."""

DIGITS: Final = frozenset("0123456789*#ABCD")
"""Keys a telephone has."""

_DIGESTS: Final = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}


def routes(keyring: Keyring, chosen: Twilio, idle_s: float) -> list[Route]:
    """Serve Twilio's streams: signed ones where the auth token is known, else those that show a key.

    Twilio drops the query of a stream's address, so a key goes into its path: ``/bridges/twilio/KEY``.

    Args:
        keyring: Knows the keys.
        chosen: The settings.
        idle_s: Silence on the wire after which a call counts as gone, in seconds.

    Raises:
        BadSetting: If the auth token is set and the public address is not.
    """
    if not chosen.auth_token:
        patterns = ("/bridges/twilio", "/bridges/twilio/{key}")
        return [Route(pattern, keyring.identify, TwilioDialect, idle_s) for pattern in patterns]
    if not chosen.public_url:
        raise BadSetting("twilio.public_url is needed with twilio.auth_token: Twilio signs the address TwiML names")
    identify = _signed(chosen.auth_token.get_secret_value(), chosen.public_url, chosen.tenant)
    return [Route("/bridges/twilio", identify, TwilioDialect, idle_s)]


def _signed(token: str, url: str, tenant: str) -> Callable[[Caller], str]:
    def identify(caller: Caller) -> str:
        algorithm = _algorithm(caller.headers.get("X-Twilio-Webhooks-Signature-Settings") or "")
        shown = caller.headers.get("X-Twilio-Signature") or ""
        if algorithm in _DIGESTS and hmac.compare_digest(shown.encode(), signature(token, url, algorithm).encode()):
            return tenant
        raise Refusal(
            403,
            "bad_signature",
            "X-Twilio-Signature does not fit twilio.auth_token and twilio.public_url; compare both",
        )

    return identify


def _algorithm(settings: str) -> str:
    for part in settings.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm":
            return value.strip()
    return "HMAC_SHA1"


def signature(token: str, url: str, algorithm: str = "HMAC_SHA1") -> str:
    """Sign an address as Twilio does.

    Args:
        token: The account's auth token.
        url: The address as TwiML names it.
        algorithm: ``HMAC_SHA1`` or ``HMAC_SHA256``.
    """
    return base64.b64encode(hmac.new(token.encode(), url.encode(), _DIGESTS[algorithm]).digest()).decode()


class TwilioDialect(Dialect):
    """A media stream on one connection.

    Args:
        upgrade: The request behind the connection.
    """

    name = "twilio"

    def __init__(self, upgrade: Upgrade) -> None:
        self._upgrade = upgrade
        self._channels: dict[str, int] = {}
        self._rate = 8000
        self._sample_bytes = 1
        self._expected: dict[int, int] = {}  # where each track's next payload should begin, in samples
        self._live = False
        self._done = False
        self._close = Close(1000)

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Act on one frame."""
        del now
        if self._done:
            return []
        try:
            return self._act(_parse(message))
        except BadMessage as problem:
            self._done = True
            return [Close(1008, f"{problem.code}: {problem}"[:120])]

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call: only its end matters to the bridge."""
        del now
        match event:
            case Opened():
                self._live = True
            case CallClosed():
                return [self._close]
            case Trouble(ill=Ill.DRAINING) if self._live:
                self._close = Close(CLOSE_CODES[Ill.DRAINING], Ill.DRAINING)
                self._done = True
                return [End(Ill.DRAINING)]
            case Trouble(ill):
                self._done = True
                return [Close(CLOSE_CODES[ill], ill)]
            case _:
                pass
        return []

    def _act(self, message: Fields) -> list[Action]:
        match message.get("event"):
            case "media":
                return self._media(section(message, "media"))
            case "start" if not self._live:
                return [Open(self._start(message))]
            case "dtmf" if self._live:
                digit = string(section(message, "dtmf"), "digit")
                return [Dtmf(0, digit)] if digit in DIGITS else []  # keys of the caller, whose track is the first
            case "stop":
                self._done = True
                return [End("hangup")] if self._live else [self._close]
            case _:
                return []

    def _start(self, message: Fields) -> CallSpec:
        start = section(message, "start")
        wishes = strings(section(start, "customParameters"), 500)
        audio = self._format(section(start, "mediaFormat"), tuple(dict.fromkeys(texts(start, "tracks"))) or TRACKS)
        stream = string(message, "streamSid") or string(start, "streamSid") or self._upgrade.request_id
        ids = {
            "twilio.stream_sid": stream,
            "twilio.call_sid": string(start, "callSid"),
            "twilio.account_sid": string(start, "accountSid"),
        }
        labels = _list(wishes.pop("labels", ""))
        language = wishes.pop("language", "")
        return CallSpec(
            call=check_call_id(wishes.pop("call", "") or stream),
            tenant=self._upgrade.tenant,
            audio=audio,
            labels=labels if len(labels) == audio.channels else tuple(self._channels),
            language=language_of(language) if language else None,
            hotwords=_list(wishes.pop("hotwords", "")),
            model=wishes.pop("model", "") or None,
            endpoint_ms=_milliseconds(wishes.pop("endpoint_ms", "")),
            utterance_end_ms=_milliseconds(wishes.pop("utterance_end_ms", "")),
            metadata={**wishes, **{name: value for name, value in ids.items() if value}},
        )

    def _format(self, media: Fields, tracks: tuple[str, ...]) -> AudioFormat:
        encoding = ENCODINGS.get((string(media, "encoding") or "audio/x-mulaw").lower())
        if encoding is None:
            raise BadMessage("unknown_encoding", f"mediaFormat.encoding must be one of {', '.join(ENCODINGS)}")
        rate = integer(media.get("sampleRate", 8000))
        if rate not in SUPPORTED_RATES:
            raise BadMessage("unknown_sample_rate", f"mediaFormat.sampleRate must be one of {SUPPORTED_RATES}")
        self._channels = {track: number for number, track in enumerate(tracks)}
        self._rate = rate
        self._sample_bytes = encoding.sample_bytes
        return AudioFormat(encoding, rate, len(tracks))

    def _media(self, media: Fields) -> list[Action]:
        if not self._live:
            raise BadMessage("audio_before_start", "media came before start")
        channel = self._channels.get(string(media, "track") or TRACKS[0])
        if channel is None:
            return []
        samples = payload_of(media, self._sample_bytes)
        if not samples:
            return []
        position = self._position(channel, media.get("timestamp"))
        self._expected[channel] = position + len(samples) // self._sample_bytes
        return [Audio(channel, position, samples)]

    def _position(self, channel: int, timestamp: object) -> int:
        """Return where a payload begins; timestamps are rounded, so only a real gap moves it off the track's end."""
        expected = self._expected.get(channel)
        milliseconds = integer(timestamp)
        if milliseconds is None:
            return expected or 0
        stamped = milliseconds * self._rate // 1000
        if expected is None or abs(stamped - expected) > GAP_MS * self._rate // 1000:
            return stamped
        return expected


def _parse(message: str | bytes) -> Fields:
    if isinstance(message, bytes):
        raise BadMessage("bad_message", "every frame must be a text frame")
    fields = json_object(message)
    if fields is None:
        raise BadMessage("bad_json", "the frame is not a JSON object")
    return fields


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _milliseconds(text: str) -> int | None:
    number = integer(text)
    return number if number is not None and number >= 0 else None
