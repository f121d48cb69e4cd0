"""The native protocol, ``/v1/stream``: one call on one WebSocket, as ``docs/protocol.md`` describes it."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto
from typing import Final as Constant

from server.auth import Keyring
from server.dialect import (
    Action,
    Audio,
    Close,
    Dialect,
    End,
    Event,
    Finalize,
    GoAway,
    Ill,
    Open,
    Opened,
    Pause,
    Rejoined,
    Resume,
    Send,
    Trouble,
    Upgrade,
)
from server.render import NativeView
from server.routes import Route
from server.settings import Limits
from streaming import messages
from streaming.call import CallSpec
from streaming.errors import BadMessage
from streaming.message_codec import dump, parse
from streaming.records import ALL_CHANNELS, UNTIMED, CallClosed, Final, Partial, Resumed

POLICY: Constant = 1008
"""Close code of what the peer did wrong."""

CLOSE_CODES: Constant[dict[Ill, int]] = {
    Ill.OVERLOADED: 1013,
    Ill.DUPLICATE_CALL: 4409,
    Ill.TAKEN_OVER: 4409,
    Ill.UNKNOWN_CALL: POLICY,
    Ill.TOO_FAST: POLICY,
    Ill.SLOW_READER: POLICY,
    Ill.START_TIMEOUT: 4408,
    Ill.IDLE: 4408,
    Ill.DRAINING: 1012,
    Ill.INTERNAL: 1011,
}
"""How each trouble closes the connection."""

_ENDS_CALMLY: Constant = frozenset({Ill.DRAINING, Ill.IDLE})
"""Troubles after which what was heard is still delivered before the close."""


def routes(keyring: Keyring, limits: Limits, models: Collection[str] = ()) -> list[Route]:
    """Serve the native protocol to callers with a key: where calls begin, and where they go on though all is full.

    Args:
        keyring: Knows the keys.
        limits: For the idle limit.
        models: Names of the models served, the default one first.
    """
    return [
        Route(
            pattern=pattern,
            identify=keyring.identify,
            build=lambda upgrade: NativeDialect(upgrade, models),
            idle_s=limits.idle_s,
            subprotocols=("trunkline.v1",),
            opens_call=opens_call,
        )
        for pattern, opens_call in (("/v1/stream", True), ("/v1/resume", False))
    ]


class _Stage(Enum):
    NEW = auto()
    """Nothing but ``start`` or ``resume`` is allowed."""
    REJOINING = auto()
    """What was missed is sent; audio waits for ``resumed``."""
    LIVE = auto()
    ENDING = auto()
    """No more audio is taken; finals still go out."""
    DONE = auto()


class NativeDialect(Dialect):
    """The native protocol on one connection.

    Args:
        upgrade: The request behind the connection.
        models: Names of the models served, the default one first; none given means any name is passed on.
    """

    name = "native"

    def __init__(self, upgrade: Upgrade, models: Collection[str] = ()) -> None:
        self._upgrade = upgrade
        self._models = tuple(models)
        self._stage = _Stage.NEW
        self._spec: CallSpec | None = None
        self._view = NativeView(())
        self._frame_bytes = 1
        self._known: tuple[int, ...] = ()  # finals of each channel that it has from an earlier connection
        self._close = Close()

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Act on one frame."""
        del now
        if self._stage is _Stage.DONE:
            return []
        if isinstance(message, bytes):
            return self._audio(message)
        if self._stage is not _Stage.NEW and not message.lstrip().startswith("{"):
            return self._fail("text_instead_of_audio", "audio must come in binary frames; text frames are JSON objects")
        try:
            return self._control(parse(message))
        except BadMessage as problem:
            if self._stage is _Stage.NEW:
                return self._fail(problem.code, str(problem))
            return [_send(messages.Error(problem.code, str(problem), fatal=False))]

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        del now
        if self._stage is _Stage.DONE:
            return []
        match event:
            case Opened(spec, token):
                self._stage = _Stage.LIVE
                self._adopt(spec)
                resume_s = spec.resume_s if token else None
                ready = messages.Ready(spec.call, spec.labels, self._model, resume_token=token, resume_s=resume_s)
                return [_send(ready)]
            case Rejoined(spec):
                self._stage = _Stage.REJOINING
                self._adopt(spec)
                return []
            case Resumed():
                return self._resumed(event)
            case GoAway(within_s):
                return [_send(messages.GoAway(within_s))]
            case Trouble():
                return self._trouble(event)
            case _:
                return self._render(event)

    def _adopt(self, spec: CallSpec) -> None:
        self._spec = spec
        self._view = NativeView(spec.labels, interim=spec.interim)
        self._frame_bytes = spec.audio.encoding.sample_bytes * spec.audio.channels
        self.resumable = spec.resume_s > 0

    @property
    def _model(self) -> str:
        wished = self._spec.model if self._spec is not None else None
        return wished or (self._models[0] if self._models else "default")

    def _resumed(self, resumed: Resumed) -> list[Action]:
        spec = self._spec
        if spec is None or self._stage is not _Stage.REJOINING:
            return []
        self._stage = _Stage.LIVE
        samples = max(resumed.heard)
        audio_s = samples / spec.audio.rate
        return [_send(messages.Resumed(spec.call, spec.labels, self._model, samples, audio_s, resumed.paused))]

    def _control(self, message: messages.ClientMessage) -> list[Action]:
        match message:
            case messages.Start():
                if self._stage is not _Stage.NEW:
                    raise BadMessage("bad_message", "the call was started already; open another connection for another")
                return [Open(self._spec_of(message), resumable=message.resumable)]
            case messages.Resume(call, token, finals):
                if self._stage is not _Stage.NEW:
                    raise BadMessage("bad_message", "a call is resumed on a connection of its own")
                self._known = finals
                return [Resume(call, token)]
            case _ if self._stage is _Stage.NEW:
                raise BadMessage("bad_message", "the first message must be 'start' or 'resume'")
            case messages.Pause() if self._stage is _Stage.LIVE:
                return [Pause(paused=True)]
            case messages.Unpause() if self._stage is _Stage.LIVE:
                return [Pause(paused=False)]
            case messages.Finalize(marker, channel):
                if channel is not None and self._spec is not None and channel >= self._spec.sides:
                    raise BadMessage("bad_option", f"'channel' must be below {self._spec.sides}")
                return [Finalize(channel, marker)]
            case messages.Close() if self._stage is _Stage.LIVE:
                self._stage = _Stage.ENDING
                return [End("hangup")]
            case _:
                return []

    def _spec_of(self, start: messages.Start) -> CallSpec:
        if start.model is not None and self._models and start.model not in self._models:
            raise BadMessage("unknown_model", f"'model' must be one of {', '.join(self._models)}")
        return CallSpec(
            call=start.call or self._upgrade.request_id,
            tenant=self._upgrade.tenant,
            audio=start.audio,
            labels=start.labels or default_labels(start.audio.channels),
            language=start.language,
            hotwords=start.hotwords,
            model=start.model,
            interim=start.interim,
            endpoint_ms=start.endpoint_ms,
            utterance_end_ms=start.utterance_end_ms,
            metadata=start.metadata,
        )

    def _audio(self, payload: bytes) -> list[Action]:
        if self._stage is _Stage.NEW:
            return self._fail("audio_before_start", "the first message must be 'start', then audio may come")
        if self._stage is _Stage.REJOINING:
            return self._fail("audio_before_start", "audio may come once the server has said 'resumed'")
        if self._stage is not _Stage.LIVE or not payload:
            return []
        if len(payload) % self._frame_bytes:
            return self._fail(
                "bad_audio",
                f"a frame of {len(payload)} bytes does not hold whole samples of {self._frame_bytes} bytes each",
            )
        return [Audio(ALL_CHANNELS, UNTIMED, payload)]

    def _render(self, event: Event) -> list[Action]:
        message = self._view.render(event)
        if message is None or self._is_known(event):
            return []
        if isinstance(event, Partial):
            return [_send(message, f"partial {event.channel}")]
        if isinstance(event, CallClosed):
            self._stage = _Stage.DONE
            return [_send(message), self._close]
        return [_send(message)]

    def _is_known(self, event: Event) -> bool:
        """Whether the client has an event already, or is not to be told before the finals it missed."""
        if isinstance(event, Final):
            return event.channel < len(self._known) and event.number < self._known[event.channel]
        return self._stage is _Stage.REJOINING and not isinstance(event, CallClosed)

    def _trouble(self, trouble: Trouble) -> list[Action]:
        close = Close(CLOSE_CODES[trouble.ill], trouble.ill)
        error = _send(messages.Error(trouble.ill, trouble.message, True, trouble.retry_after_s))
        if self._stage in (_Stage.LIVE, _Stage.ENDING) and trouble.ill in _ENDS_CALMLY:
            ended: list[Action] = [End(trouble.ill)] if self._stage is _Stage.LIVE else []
            self._stage = _Stage.ENDING
            self._close = close
            return [error, *ended]
        self._stage = _Stage.DONE
        return [error, close]

    def _fail(self, code: str, message: str) -> list[Action]:
        self._stage = _Stage.DONE
        return [_send(messages.Error(code, message, fatal=True)), Close(POLICY, code)]


def default_labels(channels: int) -> tuple[str, ...]:
    """Name the sides of a call whose caller did not."""
    return tuple(f"channel {number}" for number in range(channels))


def _send(message: messages.ServerMessage, replaces: str | None = None) -> Send:
    return Send(dump(message), replaces)
