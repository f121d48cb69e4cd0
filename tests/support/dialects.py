"""What dialects are told in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence

from server.dialect import Action, Close, Dialect, Open, Opened, Send, Upgrade
from streaming.call import SAMPLE_RATE, CallSpec
from streaming.decoding import Word
from streaming.records import EndReason, Final, Partial

UPGRADE = Upgrade(tenant="acme", request_id="request-1", path="/")


def spec_of(actions: Sequence[Action]) -> CallSpec:
    """Return the call that a dialect asked for."""
    return next(action.spec for action in actions if isinstance(action, Open))


def admit(dialect: Dialect, actions: Sequence[Action], now: float = 0.0) -> list[Action]:
    """Admit the call that a dialect asked for; return what it does then."""
    return dialect.deliver(Opened(spec_of(actions)), now)


def sent(actions: Sequence[Action]) -> list[dict[str, object]]:
    """Return the messages among actions."""
    return [json.loads(action.payload) for action in actions if isinstance(action, Send)]


def close_of(actions: Sequence[Action]) -> Close | None:
    """Return the close among actions."""
    return next((action for action in actions if isinstance(action, Close)), None)


def words(text: str, start: float = 0.0) -> tuple[Word, ...]:
    """Return words of half a second each."""
    return tuple(
        Word(word, start + number / 2, start + number / 2 + 0.5, 0.9) for number, word in enumerate(text.split())
    )


def final(
    text: str, from_s: float, to_s: float, *, channel: int = 0, number: int = 0, reason: EndReason = EndReason.ENDPOINT
) -> Final:
    """Return a final of a stretch of audio."""
    return Final(
        epoch=0,
        call="call-1",
        channel=channel,
        number=number,
        from_sample=round(from_s * SAMPLE_RATE),
        to_sample=round(to_s * SAMPLE_RATE),
        words=words(text, from_s),
        language="en",
        language_confidence=1.0,
        model="tiny.en",
        reason=reason,
        speech_end=to_s,
        latency_s=0.2,
    )


def partial(text: str, from_s: float, to_s: float, *, channel: int = 0, number: int = 0) -> Partial:
    """Return a partial of a stretch of audio."""
    return Partial(0, "call-1", channel, number, 0, words(text, from_s), 0, from_s, to_s, "en", "tiny.en")
