"""What the dialects of telephony bridges share: the life of their call, what its caller wished, how samples are cut.

A bridge sends audio and seldom reads. Closing early often hangs up on people or moves their call on, so a bridge that
did nothing wrong is left to hang up first.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from enum import Enum, StrEnum, auto
from typing import Final

from server.auth import Keyring
from server.dialect import (
    Action,
    Audio,
    Close,
    Dialect,
    Dtmf,
    End,
    Event,
    Ill,
    Open,
    Opened,
    Trouble,
    Upgrade,
)
from server.errors import Refusal
from server.json_frames import Fields, integer, json_object
from server.native import CLOSE_CODES, POLICY, default_labels
from server.routes import Route
from streaming.call import MAX_CHANNELS, SUPPORTED_RATES, AudioFormat, CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.messages import MAX_NAME, check_call_id, language_of
from streaming.records import ALL_CHANNELS, UNTIMED, CallClosed

CLOSE_REASON_BYTES: Final = 123
"""The longest reason a WebSocket close can carry."""

MAX_METADATA: Final = 64
"""Facts about a call that are kept; bridges send a handful."""

MAX_FACT: Final = 500
"""Characters of one of them."""

_DIGITS: Final = frozenset("0123456789*#ABCD")
_NOT_IN_IDS: Final = re.compile(r"[^\w.:@+-]")
_CALM: Final = frozenset({Ill.DRAINING, Ill.IDLE})
_CHANNEL: Final = "trunkline.channel"
"""Where a spec remembers which channel its connection is."""

_SECRETS: Final = frozenset({"token", "key"})


class Stage(Enum):
    """How far a bridge's call is."""

    NEW = auto()
    """Nothing said which call it is."""
    LIVE = auto()
    """Audio may come."""
    ENDING = auto()
    """No more audio is taken; finals may still go out."""
    DONE = auto()
    """The close is decided."""


class Transcripts(StrEnum):
    """What of a call's text goes back over the bridge's own connection."""

    NONE = "none"
    FINALS = "finals"
    ALL = "all"


class BridgeDialect(Dialect):
    """A bridge on one connection.

    Subclasses read frames in ``act`` (a JSON text frame), ``text`` (any other) and ``binary``; what these raise as
    ``BadMessage`` closes the connection with 1008 and the reason.

    Args:
        upgrade: The request behind the connection.
    """

    hangs_up_by_closing = False
    """Whether the protocol's only way to end a call is to close the connection."""

    def __init__(self, upgrade: Upgrade) -> None:
        self.upgrade = upgrade
        self.stage = Stage.NEW
        self.spec: CallSpec | None = None
        self._close = Close(1000)
        self._rest = b""

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Act on one frame."""
        del now
        if self.stage not in (Stage.NEW, Stage.LIVE):
            return []
        try:
            return self.text(message) if isinstance(message, str) else self.binary(message)
        except BadMessage as problem:
            return self.refuse(problem.code, str(problem))

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        del now
        if self.stage is Stage.DONE:
            return []
        match event:
            case Opened():
                self.stage = Stage.LIVE
                return []
            case CallClosed():
                self.stage = Stage.DONE
                return [*self.told(event), self._close]
            case Trouble():
                return self._trouble(event)
            case _:
                return self.told(event)

    def hung_up(self) -> list[Action]:
        """Act on the peer having gone: the end of the call, or its loss."""
        last = self.held() if self.stage is Stage.LIVE else []
        return [*last, End("hangup" if self.hangs_up_by_closing else "disconnected")]

    # --- for subclasses ---

    def text(self, message: str) -> list[Action]:
        """Act on a text frame."""
        fields = json_object(message)
        if fields is None:
            raise BadMessage("bad_json", "the text frame is not a JSON object")
        return self.act(fields)

    def act(self, fields: Fields) -> list[Action]:
        """Act on a JSON text frame."""
        del fields
        return []

    def binary(self, payload: bytes) -> list[Action]:
        """Act on a binary frame."""
        del payload
        raise BadMessage("bad_message", "this protocol has text frames only")

    def told(self, event: Event) -> list[Action]:
        """Act on what the call says."""
        del event
        return []

    def complaint(self, code: str, message: str) -> list[Action]:
        """Say in the protocol's own words that the connection cannot go on, where it has such words."""
        del code, message
        return []

    def held(self) -> list[Action]:
        """Give out audio that was held back: none comes after it."""
        return []

    def refuse(self, code: str, message: str) -> list[Action]:
        """Close because of what the peer did."""
        self.stage = Stage.DONE
        return [*self.complaint(code, message), Close(POLICY, close_reason(f"{code}: {message}"))]

    def finish(self) -> list[Action]:
        """Take the peer's word that no more audio comes."""
        if self.stage is Stage.NEW:
            self.stage = Stage.DONE
            return [self._close]
        self.stage = Stage.ENDING
        return [*self.held(), End("hangup")]

    def interleaved(self, payload: bytes) -> list[Action]:
        """Pass samples of all channels on; a frame may end within a sample, whose rest begins the next."""
        spec = self.spec
        if spec is None:
            raise BadMessage("audio_before_start", "audio came before the message that says what it is")
        joined = self._rest + payload if self._rest else payload
        wide = spec.audio.channels if channel_of(spec) is None else 1
        over = len(joined) % (spec.audio.encoding.sample_bytes * wide)
        self._rest = joined[len(joined) - over :]
        whole = joined[: len(joined) - over]
        return [Audio(ALL_CHANNELS, UNTIMED, whole)] if whole else []

    def pressed(self, value: object, channel: int = 0) -> list[Action]:
        """Pass a key on; what is none is left out."""
        digit = digit_of(value)
        known = self.spec is not None and channel < self.spec.sides
        return [Dtmf(channel, digit)] if digit is not None and known else []

    def open(self, spec: CallSpec) -> list[Action]:
        """Ask for the call; what comes with the same frame may follow at once."""
        self.spec = spec
        return [Open(spec, channel=channel_of(spec))]

    def _trouble(self, trouble: Trouble) -> list[Action]:
        close = Close(CLOSE_CODES[trouble.ill], trouble.ill)
        if trouble.ill in _CALM and self.stage is Stage.LIVE:
            self.stage = Stage.ENDING
            self._close = close
            return [*self.held(), End(trouble.ill)]
        self.stage = Stage.DONE
        return [*self.complaint(trouble.ill, trouble.message), close]


def call_spec(
    upgrade: Upgrade,
    audio: AudioFormat,
    labels: tuple[str, ...],
    *,
    call: str | None,
    given: Mapping[str, str],
    ids: Mapping[str, str | None],
) -> CallSpec:
    """Describe a bridge's call.

    Wishes come from the address's query and from what the bridge itself passes on, which wins: ``call``, ``labels``
    (with commas), ``language``, ``hotwords`` (with commas), ``model``, ``endpoint_ms``, ``utterance_end_ms``. With both
    ``channel`` and ``of`` the connection is one channel of a call of so many. All else is kept as metadata.

    Args:
        upgrade: The request behind the connection.
        audio: The call's codec.
        labels: Names of its sides where none are wished for.
        call: The bridge's id of the call.
        given: What the bridge passes on for its user.
        ids: The bridge's own ids, kept as metadata; None is left out.

    Raises:
        BadMessage: If a wish cannot be fulfilled.
    """
    asked = {name: value for name, value in upgrade.query if name not in _SECRETS} | dict(given)
    wishes = {_clean(name): _clean(value) for name, value in asked.items()}
    wished = wishes.pop("call", "")
    audio, part = _widened(audio, wishes)
    if part is not None and not wished:
        raise BadMessage("bad_option", "'channel' and 'of' need 'call', the same for every connection of the call")
    if part is not None:
        labels = default_labels(audio.channels)
    named = _names(wishes.pop("labels", ""))
    language = wishes.pop("language", "")
    hotwords = _names(wishes.pop("hotwords", ""))
    model = wishes.pop("model", "")
    endpoint = _milliseconds("endpoint_ms", wishes.pop("endpoint_ms", ""))
    utterance_end = _milliseconds("utterance_end_ms", wishes.pop("utterance_end_ms", ""))
    facts = (part or {}) | {name: _clean(value) for name, value in ids.items() if value} | wishes
    return CallSpec(
        call=check_call_id(wished) if wished else id_of(call) or upgrade.request_id,
        tenant=upgrade.tenant,
        audio=audio,
        labels=named if len(named) == audio.channels else tuple(_clean(label)[:MAX_NAME] for label in labels),
        language=language_of(language) if language else None,
        hotwords=hotwords,
        model=model or None,
        endpoint_ms=endpoint,
        utterance_end_ms=utterance_end,
        metadata={name[:MAX_NAME]: value[:MAX_FACT] for name, value in list(facts.items())[:MAX_METADATA]},
    )


def channel_of(spec: CallSpec) -> int | None:
    """Return which channel of its call a connection is; None where it is the whole call."""
    return integer(spec.metadata.get(_CHANNEL))


def id_of(bridges_own: str | None) -> str | None:
    """Make a bridge's id one that can stand in an address."""
    return _NOT_IN_IDS.sub("_", bridges_own)[:MAX_NAME] if bridges_own else None


def digit_of(value: object) -> str | None:
    """Return the key of a telephone that a value names; None if it names none."""
    text = str(value).upper() if isinstance(value, str | int) else ""
    return text if text in _DIGITS else None


def scalars(fields: Fields) -> dict[str, str]:
    """Return all fields that are words or numbers, as text; lists and objects are left out."""
    return {name: str(value)[:MAX_FACT] for name, value in fields.items() if isinstance(value, str | int | float)}


def audio_format(
    known: Mapping[str, Encoding], encoding: str, rate: object, channels: int = 1, *, hint: str = ""
) -> AudioFormat:
    """Read a bridge's words for a codec.

    Args:
        known: Its names, in lower case, of the encodings we have.
        encoding: Its name of this one.
        rate: Hz, as number or text.
        channels: 1 and up.
        hint: What to set, and where, to get an encoding we have.

    Raises:
        BadMessage: If we do not have it.
    """
    ours = known.get(encoding.lower())
    if ours is None:
        raise BadMessage("unknown_encoding", hint or f"send one of {', '.join(known)}")
    hertz = integer(rate)
    if hertz not in SUPPORTED_RATES:
        raise BadMessage("unknown_sample_rate", f"send one of {', '.join(map(str, SUPPORTED_RATES))} Hz")
    try:
        return AudioFormat(ours, hertz, channels)
    except ValueError as problem:
        raise BadMessage("bad_channels", str(problem)) from problem


def transcripts_of(upgrade: Upgrade, default: Transcripts) -> Transcripts:
    """Return what text the address asks for: ``?transcripts=none``, ``finals`` or ``all``.

    Raises:
        Refusal: 400 if it asks for something else.
    """
    wished = dict(upgrade.query).get("transcripts", default)
    try:
        return Transcripts(wished)
    except ValueError as problem:
        raise Refusal(400, "bad_option", "'transcripts' must be none, finals or all") from problem


def close_reason(text: str) -> str:
    """Cut a text so that a WebSocket close can carry it."""
    return text.encode()[:CLOSE_REASON_BYTES].decode(errors="ignore")


def bridge_routes(
    name: str,
    keyring: Keyring,
    build: Callable[[Upgrade], Dialect],
    idle_s: float,
    subprotocols: tuple[str, ...] = (),
) -> list[Route]:
    """Serve a bridge at ``/bridges/NAME``, and at ``/bridges/NAME/KEY`` for bridges that drop headers and queries."""
    return [Route(f"/bridges/{name}{key}", keyring.identify, build, idle_s, subprotocols) for key in ("", "/{key}")]


def _clean(text: str) -> str:
    """Replace what JSON can hold and UTF-8 cannot: halves of surrogate pairs."""
    return text.encode(errors="replace").decode()


def _widened(audio: AudioFormat, wishes: dict[str, str]) -> tuple[AudioFormat, dict[str, str] | None]:
    """Take ``channel`` and ``of`` from the wishes; return the whole call's format, and what remembers the channel."""
    wishes.pop(_CHANNEL, None)  # ours alone
    if not {"channel", "of"} <= wishes.keys():
        return audio, None
    channel, of = integer(wishes.pop("channel")), integer(wishes.pop("of"))
    if audio.channels != 1:
        raise BadMessage("bad_option", "'channel' and 'of' are for connections of one channel")
    if channel is None or of is None or not 0 <= channel < of <= MAX_CHANNELS:
        raise BadMessage("bad_option", f"'channel' must be from 0 and below 'of', which is at most {MAX_CHANNELS}")
    return dataclasses.replace(audio, channels=of), {_CHANNEL: str(channel)}


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip()[:MAX_NAME] for part in text.split(",") if part.strip())


def _milliseconds(name: str, text: str) -> int | None:
    if not text:
        return None
    number = integer(text)
    if number is None or number < 0:
        raise BadMessage("bad_option", f"'{name}' must be a whole number of milliseconds")
    return number
