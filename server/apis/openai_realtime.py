"""OpenAI's Realtime API as far as it transcribes, ``/v1/realtime``: today's event names, and the beta's.

One item is one turn. Its deltas only ever append, so they carry words that will not change; what a final corrects is
in ``completed``. Words are put to items in the order of the log: those of a final belong to the first item that is
not completed and whose speech ended where the final's did.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final as Constant

from server.apis.openai_session import SessionSettings
from server.auth import Keyring
from server.dialect import (
    Action,
    Audio,
    Close,
    Dialect,
    End,
    Event,
    Finalize,
    Ill,
    Open,
    Opened,
    Send,
    Trouble,
    Upgrade,
)
from server.errors import Refusal
from server.json_frames import Fields, json_object, section, string
from server.native import CLOSE_CODES
from server.render import text_of
from server.routes import Route
from streaming.call import SAMPLE_RATE, CallSpec
from streaming.decoding import Word
from streaming.errors import BadMessage
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    CallClosed,
    EndReason,
    Final,
    Finalized,
    Partial,
    Progress,
    SpeechEnded,
    SpeechStarted,
)

SUBPROTOCOL: Constant = "realtime"
"""The only one that is echoed: the others a browser offers are its key and its version."""

_BETA: Constant = "openai-beta.realtime-v1"
_CALM: Constant = frozenset({Ill.DRAINING, Ill.IDLE})


def route(keyring: Keyring, idle_s: float, models: Sequence[str] = ()) -> Route:
    """Serve the protocol to callers with a key.

    Args:
        keyring: Knows the keys.
        idle_s: Seconds without a message after which a connection is closed.
        models: Names of the models served, the default one first.
    """
    return Route(
        pattern="/v1/realtime",
        identify=keyring.identify,
        build=lambda upgrade: RealtimeDialect(upgrade, models),
        idle_s=idle_s,
        subprotocols=(SUBPROTOCOL,),
        refusal=refusal,
        reads=("openai-beta", "sec-websocket-protocol"),
    )


def refusal(refused: Refusal, _request_id: str) -> dict[str, object]:
    """Say what was wrong, as OpenAI does."""
    code = "invalid_api_key" if refused.status in (401, 403) else refused.code
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP
    return {"error": {"message": refused.message, "type": kind, "code": code, "param": None}}


@dataclass(slots=True)
class _Item:
    """One turn."""

    name: str
    from_s: float
    """Where it began; seconds from the call's start."""
    to_s: float | None = None
    """Where its speech ended, once that is known."""
    committed: bool = False
    marker: str | None = None
    """Of the finalize that completes it, where the client committed it."""
    words: list[Word] = field(default_factory=list[Word])
    """Final."""
    told: list[str] = field(default_factory=list[str])
    """Words since the last final that were sent as deltas."""
    began: bool = False
    """Whether a delta was sent."""


class RealtimeDialect(Dialect):
    """A transcription session on one connection.

    Args:
        upgrade: The request behind the connection.
        models: Names of the models served, the default one first.
    """

    name = "openai-realtime"
    patient = True

    def __init__(self, upgrade: Upgrade, models: Sequence[str] = ()) -> None:
        self._upgrade = upgrade
        self._short = upgrade.request_id.replace("-", "")[:16]
        self._settings = SessionSettings(f"sess_{self._short}", models)
        offered = upgrade.headers.get("sec-websocket-protocol", "")
        self._beta = "openai-beta" in upgrade.headers or _BETA in offered
        self._spec: CallSpec | None = None
        self._items: deque[_Item] = deque()
        self._events = self._names = 0
        self._newest: str | None = None
        self._rest = b""
        self._bytes_per_s = 1
        self._received = 0  # bytes of whole samples
        self._uncommitted = 0
        self._finals = 0  # number of the next final
        self._cleared_s = 0.0
        self._ending = self._closed = False
        self._close = Close(1000)

    def begin(self, now: float) -> list[Action]:
        """Say that the session is there; clients wait for it."""
        del now
        name = "transcription_session.created" if self._beta else "session.created"
        return [self._event(name, session=self._settings.shown(beta=self._beta))]

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Act on one frame."""
        del now
        if self._closed or self._ending:
            return []
        fields = json_object(message) if isinstance(message, str) else None
        if fields is None:
            return [self._error("invalid_json", "frames must be text and hold a JSON object", None, None)]
        try:
            return self._act(fields)
        except BadMessage as problem:
            param = problem.code if "." in problem.code else None
            return [self._error("invalid_value", str(problem), param, string(fields, "event_id"))]

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        del now
        if self._closed:
            return []
        match event:
            case Opened(spec):
                self._spec = spec
                self._bytes_per_s = spec.audio.encoding.sample_bytes * spec.audio.rate
                return []
            case Trouble():
                return self._trouble(event)
            case CallClosed():
                self._closed = True
                return [*self._complete_all(), self._close]
            case SpeechStarted(_, _, _, at) if self._settings.finds_turns:
                return self._started(at)
            case SpeechEnded(_, _, _, at) if self._settings.finds_turns:
                return self._stopped(at)
            case Partial():
                return self._partial(event)
            case Final():
                return self._final(event)
            case Progress() if self._settings.finds_turns:
                return self._complete_until(event.to_sample / SAMPLE_RATE)
            case Finalized(_, _, _, marker):
                return self._finalized(marker)
            case _:
                return []

    def hung_up(self) -> list[Action]:
        """Act on the peer having gone, which is how these sessions end."""
        return [End("hangup")]

    # --- from the client ---

    def _act(self, fields: Fields) -> list[Action]:
        kind = string(fields, "type")
        match kind:
            case "input_audio_buffer.append":
                return self._append(string(fields, "audio") or "")
            case "input_audio_buffer.commit":
                return self._commit(string(fields, "event_id"))
            case "input_audio_buffer.clear":
                return self._clear()
            case "session.update" | "transcription_session.update":
                self._beta = self._beta or kind.startswith("transcription")
                self._change(section(fields, "session"))
                name = "transcription_session.updated" if kind.startswith("transcription") else "session.updated"
                return [self._event(name, session=self._settings.shown(beta=self._beta))]
            case _:
                text = "a transcription session takes session.update and input_audio_buffer.append, .commit and .clear"
                return [self._error("unknown_event", text, "type", string(fields, "event_id"))]

    def _change(self, asked: Fields) -> None:
        if self._spec is None:
            self._settings.change(asked)
            return
        before = self._settings.spec(self._upgrade)
        tried = self._settings.copy()
        tried.change(asked)
        if tried.spec(self._upgrade) != before:
            raise BadMessage("session.audio.input", "only turns and includes can change once audio came; reconnect")
        self._settings = tried

    def _append(self, text: str) -> list[Action]:
        try:
            payload = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as problem:
            raise BadMessage("audio", "must be base64") from problem
        begin: list[Action] = []
        if self._spec is None:
            spec = self._settings.spec(self._upgrade)
            self._spec = spec
            begin.append(Open(spec))
        over = (len(self._rest) + len(payload)) % self._spec.audio.encoding.sample_bytes
        joined = self._rest + payload
        self._rest = joined[len(joined) - over :]
        whole = joined[: len(joined) - over]
        self._received += len(whole)
        self._uncommitted += len(whole)
        return [*begin, *([Audio(ALL_CHANNELS, UNTIMED, whole)] if whole else [])]

    def _clear(self) -> list[Action]:
        self._uncommitted = 0
        self._cleared_s = self._received / self._bytes_per_s
        self._items = deque(item for item in self._items if item.committed)
        return [self._event("input_audio_buffer.cleared")]

    def _commit(self, event: str | None) -> list[Action]:
        if not self._uncommitted:
            return [self._error("input_audio_buffer_commit_empty", "append audio before you commit it", None, event)]
        self._uncommitted = 0
        item = next((item for item in self._items if not item.committed), None) or self._new(self._cleared_s)
        item.to_s = item.to_s if item.to_s is not None else self._received / self._bytes_per_s
        item.marker = item.name
        return [*self._committed(item), Finalize(None, item.name)]

    # --- to the client ---

    def _started(self, at: float) -> list[Action]:
        item = next((item for item in self._items if item.to_s is None), None) or self._new(at)
        return [self._event("input_audio_buffer.speech_started", audio_start_ms=round(at * 1000), item_id=item.name)]

    def _stopped(self, at: float) -> list[Action]:
        item = next((item for item in self._items if item.marker is not None or item.to_s is None), None)
        if item is None:
            return []
        item.to_s = at
        self._uncommitted = 0
        stopped = self._event("input_audio_buffer.speech_stopped", audio_end_ms=round(at * 1000), item_id=item.name)
        return [stopped, *self._committed(item)]

    def _partial(self, partial: Partial) -> list[Action]:
        words = [word for word in partial.words[: partial.stable] if word.start >= self._cleared_s]
        if partial.number != self._finals or not words:
            return []
        item = self._items[0] if self._items else self._new(partial.start)
        ended = item.to_s is not None and partial.start >= item.to_s
        return [] if ended else self._delta(item, words)  # partials may overtake what completes the item before

    def _final(self, final: Final) -> list[Action]:
        done: list[Action] = []
        if self._settings.finds_turns and final.reason is not EndReason.CUT:
            done = self._complete_until(final.speech_end, but=final.speech_end)
        self._finals = final.number + 1
        words = [word for word in final.words if word.start >= self._cleared_s]
        if not (self._items or words):
            return done
        item = self._items[0] if self._items else self._new(final.from_sample / SAMPLE_RATE)
        done += self._delta(item, words)
        item.words += words
        item.told = []
        if self._settings.finds_turns and final.reason is not EndReason.CUT:
            item.to_s = final.speech_end
            done += self._complete(item)
        return done

    def _finalized(self, marker: str) -> list[Action]:
        if not any(item.marker == marker for item in self._items):
            return []
        done: list[Action] = []
        while True:
            item = self._items[0]
            done += self._complete(item)
            if item.marker == marker:
                return done

    def _delta(self, item: _Item, words: Sequence[Word]) -> list[Action]:
        """Send what follows the words already sent; nothing where these turned out to be others."""
        texts = [word.text for word in words]
        if texts[: len(item.told)] != item.told or len(texts) == len(item.told):
            return []
        more = " ".join(texts[len(item.told) :])
        delta = f" {more}" if item.began else more
        item.told = texts
        item.began = True
        name = "conversation.item.input_audio_transcription.delta"
        return [self._event(name, item_id=item.name, content_index=0, delta=delta)]

    def _committed(self, item: _Item) -> list[Action]:
        if item.committed:
            return []
        item.committed = True
        before, self._newest = self._newest, item.name
        told: list[Action] = [self._event("input_audio_buffer.committed", item_id=item.name, previous_item_id=before)]
        content = {"type": "input_audio", "transcript": None}
        shown = {
            "id": item.name,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [content],
        }
        names = ("created",) if self._beta else ("added", "done")
        told += [self._event(f"conversation.item.{name}", previous_item_id=before, item=shown) for name in names]
        return told

    def _complete(self, item: _Item) -> list[Action]:
        self._items.remove(item)
        to_s = item.to_s if item.to_s is not None else self._received / self._bytes_per_s
        return [
            *self._committed(item),
            self._event(
                "conversation.item.input_audio_transcription.completed",
                item_id=item.name,
                content_index=0,
                transcript=text_of(tuple(item.words)),
                usage={"type": "duration", "seconds": round(max(0.0, to_s - item.from_s), 3)},
            ),
        ]

    def _complete_until(self, to_s: float, *, but: float | None = None) -> list[Action]:
        """Complete the turns that ended before a time, in which nothing was said."""
        done: list[Action] = []
        while self._items and self._items[0].marker is None:
            ended = self._items[0].to_s
            if ended is None or ended > to_s or ended == but:
                break
            done += self._complete(self._items[0])
        return done

    def _complete_all(self) -> list[Action]:
        done: list[Action] = []
        while self._items:
            done += self._complete(self._items[0])
        return done

    def _new(self, from_s: float) -> _Item:
        self._names += 1
        item = _Item(f"item_{self._short}_{self._names}", from_s)
        self._items.append(item)
        return item

    def _trouble(self, trouble: Trouble) -> list[Action]:
        close = Close(CLOSE_CODES[trouble.ill], trouble.ill)
        if trouble.ill in _CALM and self._spec is not None:
            self._close = close
            ended: list[Action] = [] if self._ending else [End(trouble.ill)]
            self._ending = True
            return ended
        self._closed = True
        return [self._error(trouble.ill, trouble.message, None, None, kind="server_error"), close]

    def _error(
        self, code: str, message: str, param: str | None, event: str | None, kind: str = "invalid_request_error"
    ) -> Send:
        about = {"type": kind, "code": code, "message": message, "param": param, "event_id": event}
        return self._event("error", error=about)

    def _event(self, kind: str, **fields: object) -> Send:
        self._events += 1
        named = {"type": kind, "event_id": f"event_{self._short}_{self._events}", **fields}
        return Send(json.dumps(named, separators=(",", ":")))
