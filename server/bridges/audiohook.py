"""Genesys Cloud AudioHook, ``/bridges/audiohook``: monitor and transcription connector.

Whatever decides the life of a session lies in ``TRANSITIONS``. Both sides count their messages, and the peer ends the
session over a gap. The peer closes the connection: we answer its ``close`` with ``closed`` once all text is out, or ask
for it with ``disconnect``, and close ourselves only where it does not.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from server.auth import Keyring
from server.bridge import Transcripts, audio_format, bridge_routes, call_spec, digit_of, scalars, transcripts_of
from server.bridges.audiohook_parts import ENCODINGS, best_of, seconds_of, transcript
from server.bridges.audiohook_signature import Signatures
from server.dialect import Action, Audio, Close, Dialect, Dtmf, End, Event, Ill, Open, Opened, Send, Trouble, Upgrade
from server.errors import BadSetting
from server.json_frames import Fields, json_object, objects, section, string, texts
from server.native import CLOSE_CODES
from server.routes import Route
from server.settings import AudioHook
from streaming.call import CallSpec
from streaming.errors import BadMessage
from streaming.records import ALL_CHANNELS, CallClosed, Partial
from streaming.records import Final as FinalText

MAX_TEXT: Final = 65_535
"""Characters of the longest message the protocol has."""
FINALS_S: Final = 8.0
"""Seconds that the last text may take after ``close``; the peer waits 10 s for ``closed``."""
PEER_CLOSES_S: Final = 5.0
"""Seconds the peer has to close, after ``closed`` or ``disconnect``."""
RECONNECT_S: Final = 15.0
"""Seconds the peer has to go elsewhere after ``reconnect``."""
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""The conversation of a probe: it must be answered and is no call."""


class State(StrEnum):
    """How far a session is."""

    NEW = "new"
    """Nothing but ``open`` counts."""
    PROBING = "probing"
    """Open without a call: a probe, or a session that offered no media."""
    LIVE = "live"
    """Audio may come."""
    PAUSED = "paused"
    """No audio may come until ``resumed``."""
    CLOSING = "closing"
    """The peer said ``close``; the last text is awaited."""
    LEAVING = "leaving"
    """We said ``disconnect``; the peer's ``close`` is awaited."""
    CLOSED = "closed"
    """We said ``closed``; the peer closes the connection."""


_ALWAYS: Final = ("ping", "error", "update")
_TYPES: Final = ("open", "close", "discarded", "paused", "resumed", "dtmf", "audio", *_ALWAYS)

TRANSITIONS: Final[Mapping[State, Mapping[str, State]]] = {
    State.NEW: {"open": State.LIVE, "close": State.CLOSING, "ping": State.NEW, "error": State.NEW},
    State.PROBING: {**dict.fromkeys((*_ALWAYS, "open"), State.PROBING), "close": State.CLOSING},
    State.LIVE: {
        **dict.fromkeys((*_ALWAYS, "open", "audio", "discarded", "resumed", "dtmf"), State.LIVE),
        "paused": State.PAUSED,
        "close": State.CLOSING,
    },
    State.PAUSED: {
        **dict.fromkeys((*_ALWAYS, "open", "discarded", "paused", "dtmf"), State.PAUSED),
        "resumed": State.LIVE,
        "close": State.CLOSING,
    },
    State.CLOSING: dict.fromkeys(_TYPES, State.CLOSING),
    State.LEAVING: {**dict.fromkeys(_TYPES, State.LEAVING), "close": State.CLOSING},
    State.CLOSED: dict.fromkeys(_TYPES, State.CLOSED),
}
"""What each state takes and leads to; what it does not take is the peer's error. ``audio`` is a binary frame, and an
``open`` without a call leads to PROBING."""


_OPEN: Final = (State.LIVE, State.PAUSED)


def routes(keyring: Keyring, chosen: AudioHook, idle_s: float) -> list[Route]:
    """Serve AudioHook to callers with an API key, signed where the key has a client secret.

    Args:
        keyring: Knows the keys.
        chosen: The settings.
        idle_s: Silence on the wire after which a call counts as gone, in seconds; pings count as sound.

    Raises:
        BadSetting: If a client secret is not base64.
    """
    try:
        secrets = {
            key: base64.b64decode(secret.get_secret_value(), validate=True) for key, secret in chosen.secrets.items()
        }
    except ValueError as problem:
        raise BadSetting("audiohook.secrets: a client secret must be base64, as Genesys shows it") from problem
    identify = Signatures(keyring, secrets, time.time).identify

    def build(upgrade: Upgrade) -> AudioHookDialect:
        return AudioHookDialect(upgrade, transcripts_of(upgrade, Transcripts.ALL))

    return [
        Route(route.pattern, identify, build, idle_s) for route in bridge_routes("audiohook", keyring, build, idle_s)
    ]


class AudioHookDialect(Dialect):
    """A session on one connection.

    Args:
        upgrade: The request behind the connection.
        transcripts: What of the text goes back; a monitor ignores it.
    """

    name = "audiohook"

    def __init__(self, upgrade: Upgrade, transcripts: Transcripts = Transcripts.ALL) -> None:
        self.state = State.NEW
        self.deadline = math.inf
        self._upgrade = upgrade
        self._transcripts = transcripts
        self._id = NOBODY
        self._heard_seq = 0
        self._sent_seq = 0
        self._spec: CallSpec | None = None
        self._media: Fields = {}
        self._language: str | None = None
        self._lists_languages = False
        self._position = 0  # of the next sample, on the call's clock
        self._live = False  # whether a call is in progress

    # --- the peer ---

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Act on one frame."""
        if self.state is State.CLOSED:
            return []
        try:
            if isinstance(message, bytes):
                self._move("audio")
                return self._audio(message)
            fields = self._checked(message)
            kind = string(fields, "type") or ""
            if kind not in _TYPES or kind == "audio":
                return []  # of the connector that talks back; nothing to a listener
            came_from = self.state
            self._move(kind)
            return self._act(kind, section(fields, "parameters"), came_from, now)
        except BadMessage as problem:
            return self._disconnect("error", f"Client Error: {problem}", now)

    def _move(self, kind: str) -> None:
        after = TRANSITIONS[self.state].get(kind)
        if after is None:
            raise BadMessage("bad_message", f"'{kind}' cannot come in state {self.state}")
        self.state = after

    def _checked(self, message: str) -> Fields:
        """Read the envelope; both sides count, and an answer cannot be to what was not sent."""
        fields = json_object(message) if len(message) <= MAX_TEXT else None
        if fields is None or fields.get("version") != "2":
            raise BadMessage("bad_json", f"a message must be a version 2 JSON object of up to {MAX_TEXT} characters")
        number, answered = fields.get("seq"), fields.get("serverseq")
        if not isinstance(number, int) or number != self._heard_seq + 1:
            raise BadMessage("bad_message", f"seq must be {self._heard_seq + 1}")
        self._heard_seq = number
        if not isinstance(answered, int) or not 0 <= answered <= self._sent_seq:
            raise BadMessage("bad_message", f"serverseq must be 0 to {self._sent_seq}")
        session = string(fields, "id") or NOBODY
        if self._id not in (NOBODY, session):
            raise BadMessage("bad_message", "id changed within the session")
        self._id = session.encode(errors="replace").decode()
        return fields

    def _act(self, kind: str, parameters: Fields, came_from: State, now: float) -> list[Action]:
        match kind:
            case "open" if came_from is State.NEW:
                return self._open(parameters)
            case "ping":
                return [self._say("pong")]
            case "discarded":
                return self._skip(parameters)
            case "resumed" if came_from is State.PAUSED:
                return self._skip(parameters)
            case "dtmf":
                digit = digit_of(parameters.get("digit"))
                return [Dtmf(0, digit)] if digit is not None and self._live else []
            case "update" if came_from in (State.LIVE, State.PAUSED):
                return [self._say("updated")]
            case "close" if came_from is not State.CLOSING:
                return self._end(now)
            case _:
                return []

    def _open(self, parameters: Fields) -> list[Action]:
        self._language = string(parameters, "language")
        self._lists_languages = parameters.get("supportedLanguages") is True
        offered = objects(parameters, "media")
        conversation = string(parameters, "conversationId")
        media = best_of(offered)
        self._media = media
        if conversation in (None, NOBODY) or not offered:
            self.state = State.PROBING
            return [self._opened()]
        self._spec = self._spec_of(parameters, media)
        return [Open(self._spec)]

    def _spec_of(self, parameters: Fields, media: Fields) -> CallSpec:
        channels = tuple(texts(media, "channels"))
        audio = audio_format(ENCODINGS, string(media, "format") or "", media.get("rate"), len(channels))
        participant = section(parameters, "participant")
        given = scalars(section(parameters, "customConfig"))
        if self._language is not None:
            given = {"language": self._language} | given
        continued = objects(parameters, "continuedSessions")
        return call_spec(
            self._upgrade,
            audio,
            channels,
            call=self._id,
            given=given,
            ids={
                "audiohook.session_id": self._id,
                "audiohook.conversation_id": string(parameters, "conversationId"),
                "audiohook.organization_id": string(parameters, "organizationId"),
                "audiohook.participant_id": string(participant, "id"),
                "audiohook.continues": string(continued[0], "id") if continued else None,
                **{f"audiohook.{name}": string(participant, name) for name in ("ani", "aniName", "dnis")},
            },
        )

    def _audio(self, payload: bytes) -> list[Action]:
        spec = self._spec
        if self.state is not State.LIVE or spec is None or not payload:
            return []
        whole = spec.audio.encoding.sample_bytes * spec.audio.channels
        if len(payload) % whole:
            raise BadMessage("bad_audio", f"a binary frame must hold whole samples of {whole} bytes")
        position = self._position
        self._position += len(payload) // whole
        return [Audio(ALL_CHANNELS, position, payload)]

    def _skip(self, parameters: Fields) -> list[Action]:
        """Move the clock over audio that will never come."""
        start, length = seconds_of(parameters.get("start")), seconds_of(parameters.get("discarded"))
        if start is None or length is None:
            raise BadMessage("bad_message", "'start' and 'discarded' must be durations such as PT1.5S")
        if self._spec is not None:
            self._position = max(self._position, round((start + length) * self._spec.audio.rate))
        return []

    def _end(self, now: float) -> list[Action]:
        if not self._live:
            return self._say_closed(now)
        self.deadline = now + FINALS_S
        return [End("hangup")]

    # --- the call ---

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        match event:
            case Opened():
                self._live = True
                return [self._opened()]
            case Trouble():
                return self._trouble(event, now)
            case CallClosed():
                return self._over(now)
            case FinalText() if self._transcripts is not Transcripts.NONE:
                return self._transcript(event, is_final=True)
            case Partial() if self._transcripts is Transcripts.ALL and event.words:
                return self._transcript(event, is_final=False)
            case _:
                return []

    def tick(self, now: float) -> list[Action]:
        """Act on somebody having taken too long."""
        match self.state:
            case State.CLOSING:
                return self._say_closed(now)
            case State.LIVE | State.PAUSED:
                return self._disconnect("completed", "the server is about to stop", now, Ill.DRAINING)
            case _:
                self.deadline = math.inf
                return [Close(1000)]

    def hung_up(self) -> list[Action]:
        """Act on the peer having gone without a ``close``."""
        return [End("disconnected")]

    def _over(self, now: float) -> list[Action]:
        self._live = False
        if self.state is State.CLOSING:
            return self._say_closed(now)
        return self._disconnect("completed", "the call was ended", now) if self.state in _OPEN else []

    def _trouble(self, trouble: Trouble, now: float) -> list[Action]:
        if trouble.ill is Ill.DRAINING and self.state in _OPEN and self._live:
            self.deadline = now + RECONNECT_S
            return [self._say("reconnect", {"info": trouble.message})]
        if self.state not in (State.CLOSED, State.LEAVING, State.CLOSING):
            return self._disconnect("error", trouble.message, now, trouble.ill)
        if trouble.ill is Ill.START_TIMEOUT:
            return []  # a session without a call; the deadline is set
        return [Close(CLOSE_CODES[trouble.ill], trouble.ill)]

    def _transcript(self, text: FinalText | Partial, *, is_final: bool) -> list[Action]:
        if self.state not in (State.LIVE, State.PAUSED, State.CLOSING):
            return []
        data = transcript(text, self._id, self._language or text.language, is_final=is_final)
        # numbered messages cannot replace one another: the peer ends the session over a gap
        return [self._say("event", {"entities": [{"type": "transcript", "data": data}]})]

    # --- our words ---

    def _opened(self) -> Send:
        parameters: dict[str, object] = {"startPaused": False, "media": [self._media] if self._media else []}
        if self._lists_languages:
            parameters["supportedLanguages"] = [self._language.lower()] if self._language else []
        return self._say("opened", parameters)

    def _disconnect(self, reason: str, info: str, now: float, ended_by: str = "protocol_error") -> list[Action]:
        if self.state in (State.CLOSING, State.LEAVING):
            return []
        self.state = State.LEAVING
        self.deadline = now + PEER_CLOSES_S
        ended: list[Action] = [End(ended_by)] if self._live else []
        return [self._say("disconnect", {"reason": reason, "info": info}), *ended]

    def _say_closed(self, now: float) -> list[Action]:
        self.state = State.CLOSED
        self.deadline = now + PEER_CLOSES_S
        return [self._say("closed")]

    def _say(self, kind: str, parameters: Mapping[str, object] | None = None) -> Send:
        self._sent_seq += 1
        message = {
            "version": "2",
            "id": self._id,
            "type": kind,
            "seq": self._sent_seq,
            "clientseq": self._heard_seq,
            "parameters": dict(parameters or {}),
        }
        return Send(json.dumps(message))
