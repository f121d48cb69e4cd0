"""Bridges we do not know, ``/bridges/generic``: raw samples in binary frames, all else in the address.

``?encoding=mulaw&sample_rate=8000&channels=2&labels=customer,agent&transcripts=finals``. An empty binary frame, a text
frame that says stop in any of the usual words, or the close ends the call.
"""

from __future__ import annotations

from typing import Final

from server.bridge import BridgeDialect, Transcripts, audio_format, call_spec, digit_of, transcripts_of
from server.dialect import Acked, Action, Event, Send, Upgrade
from server.errors import Refusal
from server.json_frames import Fields, integer
from server.native import default_labels
from server.render import NativeView
from streaming import messages
from streaming.call import CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.message_codec import dump
from streaming.records import Partial

ENCODINGS: Final = {
    **dict.fromkeys(("mulaw", "ulaw", "pcmu"), Encoding.MULAW),
    **dict.fromkeys(("alaw", "pcma"), Encoding.ALAW),
    **dict.fromkeys(("linear16", "l16", "slin", "pcm", "pcm_s16le"), Encoding.L16),
    **dict.fromkeys(("linear16be", "l16be", "pcm_s16be"), Encoding.L16BE),
}
"""What an encoding may be called."""

_ABOUT_AUDIO: Final = frozenset({"encoding", "sample_rate", "rate", "channels", "transcripts"})
_STOP_WORDS: Final = frozenset({"stop", "end", "close", "hangup", "closestream", "terminate", "end_of_stream", "eos"})
_MOST_CHANNELS: Final = 99


def build(upgrade: Upgrade) -> GenericDialect:
    """Make a dialect from what the address says.

    Raises:
        Refusal: 400 if it says something that we do not have.
    """
    try:
        return GenericDialect(upgrade, transcripts_of(upgrade, Transcripts.NONE))
    except BadMessage as problem:
        raise Refusal(400, problem.code, str(problem)) from problem


class GenericDialect(BridgeDialect):
    """A call on one connection.

    Args:
        upgrade: The request behind the connection.
        transcripts: What of the text goes back, in the native protocol's words.

    Raises:
        BadMessage: If the query says something that we do not have.
    """

    name = "generic"
    hangs_up_by_closing = True

    def __init__(self, upgrade: Upgrade, transcripts: Transcripts = Transcripts.NONE) -> None:
        super().__init__(upgrade)
        self._transcripts = transcripts
        self.spec = _spec_of(upgrade)
        self._view = NativeView(self.spec.labels, interim=transcripts is Transcripts.ALL)

    def begin(self, now: float) -> list[Action]:
        """Open the call at once: everything is known."""
        del now
        return self.open(self.spec) if self.spec is not None else []

    def act(self, fields: Fields) -> list[Action]:
        """Act on a JSON text frame: a stop, or a key; others mean nothing here."""
        word = next((fields[name] for name in ("type", "event", "message") if name in fields), None)
        if isinstance(word, str) and word.lower() in _STOP_WORDS:
            return self.finish()
        if word == "dtmf" and digit_of(fields.get("digit")):
            return self.pressed(fields.get("digit"), max(0, integer(fields.get("channel", 0)) or 0))
        return []

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples."""
        return self.interleaved(payload) if payload else self.finish()

    def told(self, event: Event) -> list[Action]:
        """Pass on what the call says, where it is wanted."""
        if self._transcripts is Transcripts.NONE or isinstance(event, Acked):
            return []
        message = self._view.render(event)
        if message is None:
            return []
        return [Send(dump(message), f"partial {event.channel}" if isinstance(event, Partial) else None)]

    def complaint(self, code: str, message: str) -> list[Action]:
        """Say what is wrong, where anything is read."""
        if self._transcripts is Transcripts.NONE:
            return []
        return [Send(dump(messages.Error(code, message, fatal=True)))]


def _spec_of(upgrade: Upgrade) -> CallSpec:
    asked = dict(upgrade.query)
    channels = integer(asked.get("channels", "1"))
    if channels is None or not 1 <= channels <= _MOST_CHANNELS:
        raise BadMessage("bad_channels", "'channels' must be a number from 1")
    rate = asked.get("sample_rate") or asked.get("rate") or "8000"
    audio = audio_format(ENCODINGS, asked.get("encoding", "mulaw"), rate, channels)
    rest = tuple((name, value) for name, value in upgrade.query if name not in _ABOUT_AUDIO)
    known = Upgrade(upgrade.tenant, upgrade.request_id, upgrade.path, rest)
    return call_spec(known, audio, default_labels(channels), call=None, given={}, ids={})
